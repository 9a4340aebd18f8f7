"""Which database answers, where statements and settings differ by that.

A URL names a language, PostgreSQL's or MySQL's; the server's own ``version()`` tells
who speaks it. PostgreSQL itself, MariaDB and MySQL get statements whose plans are
pinned by what is their own. All others get statements that need nothing of the kind.
"""

import re
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from coordinator.storage.sql.url import Kind

_POSTGRESQL_ITSELF: Final = re.compile(r"PostgreSQL \d+[\w.]*(?= |$)(?!.*openGauss)")


class Flavour(StrEnum):
    """Databases that are told apart; the value is for people."""

    SQLITE = "SQLite"
    POSTGRESQL = "PostgreSQL"
    COCKROACHDB = "CockroachDB"
    YUGABYTEDB = "YugabyteDB"
    POSTGRESQL_LIKE = "a database that speaks PostgreSQL's language"
    MYSQL = "MariaDB or MySQL"
    TIDB = "TiDB"

    @property
    def is_original(self) -> bool:
        """Whether it is what the URL names, and not one that speaks its language."""
        return self in _ORIGINALS.values()

    @property
    def changes_tables_in_transactions(self) -> bool:
        """Whether several changes of tables can be undone as one."""
        return self in (Flavour.SQLITE, Flavour.POSTGRESQL)


_ORIGINALS: Final = {
    Kind.SQLITE: Flavour.SQLITE,
    Kind.POSTGRESQL: Flavour.POSTGRESQL,
    Kind.MYSQL: Flavour.MYSQL,
}


def original(kind: Kind) -> Flavour:
    """Which database a URL names."""
    return _ORIGINALS[kind]


def named_by(kind: Kind, version: str) -> Flavour:
    """Who calls itself so."""
    if kind is Kind.MYSQL:
        return Flavour.TIDB if "-tidb-" in version.lower() else Flavour.MYSQL
    if version.startswith("CockroachDB"):
        return Flavour.COCKROACHDB
    if "-YB-" in version:
        return Flavour.YUGABYTEDB
    is_itself = _POSTGRESQL_ITSELF.match(version)
    return Flavour.POSTGRESQL if is_itself else Flavour.POSTGRESQL_LIKE


def ask_version(connection: Connection) -> str:
    """What the server calls itself."""
    return str(connection.exec_driver_sql("SELECT version()").scalar_one())
