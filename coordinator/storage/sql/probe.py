"""What a database must be before money is entrusted to it, asked once at start.

Each finding names the setting, its value, what it would cost and what to set instead.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from coordinator.core.errors import PreconditionFailed
from coordinator.storage.sql.failure import code_of
from coordinator.storage.sql.flavour import Flavour, ask_version, original
from coordinator.storage.sql.tables import METADATA
from coordinator.storage.sql.url import Kind

OVERRIDE: Final = "--unsafe-database-settings"

_POSTGRESQL_MIN: Final = 140_000
_MARIADB_MIN: Final = (10, 6)
_MYSQL_MIN: Final = (8, 0, 19)
_LIKE_MIN: Final[Mapping[Flavour, tuple[re.Pattern[str], tuple[int, ...]]]] = {
    Flavour.COCKROACHDB: (re.compile(r" v(\d+)\.(\d+)"), (23, 2)),
    Flavour.YUGABYTEDB: (re.compile(r"-YB-(\d+)\.(\d+)"), (2024, 1)),
    Flavour.TIDB: (re.compile(r"-TiDB-v(\d+)\.(\d+)", re.IGNORECASE), (7, 5)),
}
_NEW_ENOUGH: Final = (
    "PostgreSQL 14, MariaDB 10.6, MySQL 8.0.19, CockroachDB 23.2, YugabyteDB 2024.1,"
    " TiDB 7.5, or later"
)
_NO_RIGHT: Final = frozenset({"42501", "1142", "1143", "1044", "1370"})


@dataclass(frozen=True, slots=True)
class Finding:
    """A setting with which an acknowledged transaction can be lost."""

    name: str
    value: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}: {self.advice}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """``is_safe`` is told all settings, for one may make another harmless."""

    name: str
    advice: str
    is_safe: Callable[[str, Mapping[str, str]], bool]


def _is_on(value: str, _all: Mapping[str, str]) -> bool:
    return value.lower() in ("on", "1")


def _is_off(value: str, _all: Mapping[str, str]) -> bool:
    return value.lower() in ("off", "0", "")


_RULES: Final[Mapping[Flavour, tuple[_Rule, ...]]] = {
    Flavour.POSTGRESQL: (
        _Rule(
            "fsync", "a power cut would corrupt the database; set fsync = on", _is_on
        ),
        _Rule(
            "full_page_writes",
            "a power cut could tear pages; set full_page_writes = on",
            _is_on,
        ),
        _Rule(
            "synchronous_commit",
            "an acknowledged commit could be lost; set synchronous_commit = on",
            lambda value, all_: (
                value in ("on", "remote_apply", "remote_write")
                or (value == "local" and not all_.get("synchronous_standby_names"))
            ),
        ),
    ),
    Flavour.MYSQL: (
        _Rule(
            "innodb_flush_log_at_trx_commit",
            "an acknowledged commit could be lost; set it to 1",
            # 3 is MariaDB's, and syncs twice.
            lambda value, _: value in ("1", "3"),
        ),
        _Rule(
            "sync_binlog",
            "with the binary log on, an acknowledged commit could be lost or be missing"
            " on a replica; set it to 1",
            lambda value, all_: value == "1" or _is_off(all_.get("log_bin", ""), all_),
        ),
        _Rule(
            "innodb_doublewrite",
            "a power cut could tear pages; set innodb_doublewrite = ON",
            lambda value, _: value.lower() not in ("off", "0"),
        ),
        _Rule(
            "innodb_flush_method",
            "nothing would reach the disk; set another method",
            lambda value, _: value.lower() != "nosync",
        ),
        _Rule(
            "wsrep_on",
            "with Galera, two nodes may admit what excludes each other until they"
            " certify; send all writes to one node, and then accept it by name",
            _is_off,
        ),
        _Rule(
            "group_replication_single_primary_mode",
            "several primaries may admit what excludes each other until they certify;"
            " set it to ON",
            lambda value, all_: (
                _is_on(value, all_) or not all_.get("group_replication_group_name")
            ),
        ),
    ),
}
_ALSO_ASKED: Final = (
    "synchronous_standby_names",
    "log_bin",
    "group_replication_group_name",
    "read_only",
    "transaction_read_only",
    "server_version_num",
    "version",
)


def unsafe_settings(
    flavour: Flavour, settings: Mapping[str, str]
) -> tuple[Finding, ...]:
    """The settings that are there and are not safe.

    Databases that only speak a language show such settings for the sake of programs
    like this one, and write in their own way whatever they say. SQLite's are set and
    checked at each connection.
    """
    return tuple(
        Finding(rule.name, settings[rule.name], rule.advice)
        for rule in _RULES.get(flavour, ())
        if rule.name in settings and not rule.is_safe(settings[rule.name], settings)
    )


def read_settings(connection: Connection, kind: Kind) -> dict[str, str]:
    """What the rules look at, as far as the server has it."""
    names = [*(rule.name for rule in _RULES[original(kind)]), *_ALSO_ASKED]
    statement = (
        "SELECT name, setting FROM pg_settings"
        if kind is Kind.POSTGRESQL
        else "SHOW GLOBAL VARIABLES"
    )
    found = connection.exec_driver_sql(statement).all()
    settings = {name: str(value) for name, value in found if name in names}
    return {**settings, "version": ask_version(connection)}


def check_server(flavour: Flavour, settings: Mapping[str, str]) -> None:
    """Raises ``PreconditionFailed`` when the server is too old or read only."""
    if not _is_new_enough(flavour, settings):
        version = settings["version"].partition(" (")[0].partition(" on ")[0]
        raise PreconditionFailed(
            f"the database server's version, {version}, is too old; expected"
            f" {_NEW_ENOUGH}",
            field="database_url",
            reason="SERVER_VERSION",
        )
    if _is_on(settings.get("read_only", ""), {}) or _is_on(
        settings.get("transaction_read_only", ""), {}
    ):
        raise PreconditionFailed(
            "the database is read only, a standby perhaps; name the primary",
            field="database_url",
            reason="READ_ONLY",
        )


def check_rights(connection: Connection) -> None:
    """Raises ``PreconditionFailed`` when a table may not be read or written.

    Statements that touch no row are judged by their rights all the same.
    """
    for table in METADATA.sorted_tables:
        name, first = table.name, table.c.values()[0].name
        statements = {
            "SELECT": f"SELECT {first} FROM {name} WHERE 1 = 0",  # noqa: S608 - our names
            "INSERT": f"INSERT INTO {name} SELECT * FROM {name} WHERE 1 = 0",  # noqa: S608
            "UPDATE": f"UPDATE {name} SET {first} = {first} WHERE 1 = 0",  # noqa: S608
            "DELETE": f"DELETE FROM {name} WHERE 1 = 0",  # noqa: S608
        }
        for right, statement in statements.items():
            if not _is_allowed(connection, statement):
                raise PreconditionFailed(
                    f"the database account lacks {right} on table {name}; grant"
                    " SELECT, INSERT, UPDATE and DELETE on all tables of Tercet",
                    field="database_url",
                    reason="RIGHTS",
                )


def refuse(findings: tuple[Finding, ...]) -> PreconditionFailed:
    """Better no service than one that forgets."""
    return PreconditionFailed(
        f"unsafe database settings: {'; '.join(map(str, findings))}"
        f" (or accept the risk with {OVERRIDE})",
        field="database_url",
        reason="UNSAFE_SETTINGS",
    )


def _is_allowed(connection: Connection, statement: str) -> bool:
    try:
        connection.execute(text(statement))
    except DBAPIError as error:
        if code_of(error) not in _NO_RIGHT:
            raise
        return False
    return True


def _is_new_enough(flavour: Flavour, settings: Mapping[str, str]) -> bool:
    if flavour in _LIKE_MIN:
        pattern, least = _LIKE_MIN[flavour]
        match = pattern.search(settings["version"])
        return match is not None and tuple(map(int, match.groups())) >= least
    if flavour is not Flavour.MYSQL:
        return int(settings.get("server_version_num", "0")) >= _POSTGRESQL_MIN
    number, _, rest = settings["version"].partition("-")
    found = tuple(int(part) for part in number.split(".") if part.isdigit())
    return found >= (_MARIADB_MIN if "mariadb" in rest.lower() else _MYSQL_MIN)
