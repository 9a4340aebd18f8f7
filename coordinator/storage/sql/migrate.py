"""Brings a database's tables to this version, and tells how far they are.

The migrations stand in ``migrations/versions`` as ``NNNN_{pre|post}_slug.py``: ``pre``
may run while the version before is still serving, ``post`` once it is gone. Alembic
is imported only to run them; a start on tables that are current does without.
"""

import sqlite3
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError

import coordinator
from coordinator.core.errors import PreconditionFailed, StoreUnavailable
from coordinator.storage.sql.sqlite import (
    BUSY_TIMEOUT_MS,
    create_sqlite_engine,
    describe_failure,
    parse_sqlite_url,
)

_VERSION_TABLE = "alembic_version"


class SchemaState(StrEnum):
    """How the tables of a database stand to this version."""

    EMPTY = "EMPTY"
    CURRENT = "CURRENT"
    BEHIND = "BEHIND"
    AHEAD = "AHEAD"


def state(url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> SchemaState:
    """How far the database is; changes nothing, not even makes the file.

    Raises:
        InvalidRequest: the URL names nothing that is supported.
        StoreUnavailable: the database does not answer.
    """
    path = parse_sqlite_url(url)
    if not path.exists():
        return SchemaState.EMPTY
    engine = create_sqlite_engine(path, writer=False, busy_timeout_ms=busy_timeout_ms)
    try:
        with engine.connect() as connection:
            return _state_of(_revision(connection))
    except (SQLAlchemyError, sqlite3.Error) as error:
        failure = describe_failure(error)
    finally:
        engine.dispose()
    raise StoreUnavailable(failure)


def upgrade(url: str) -> list[str]:
    """Run the migrations that are missing, all or none; return their names.

    Raises:
        InvalidRequest: the URL names nothing that is supported.
        PreconditionFailed: the tables are newer than this version.
        StoreUnavailable: the database does not answer; nothing was changed.
    """
    engine = create_sqlite_engine(parse_sqlite_url(url), writer=True)
    try:
        with engine.begin() as connection:
            return _upgrade(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        failure = describe_failure(error)
    finally:
        engine.dispose()
    raise StoreUnavailable(failure)


def migrations_folder() -> Path:
    """Inside the package in a wheel, beside it in a checkout."""
    package = Path(coordinator.__file__).parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def migration_names() -> list[str]:
    """All migrations of this version, in order; a name's number is its revision."""
    versions = migrations_folder() / "versions"
    return sorted(path.stem for path in versions.glob("[0-9][0-9][0-9][0-9]_*.py"))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    row = connection.exec_driver_sql(
        f"SELECT version_num FROM {_VERSION_TABLE}"  # noqa: S608 - a constant
    ).first()
    return str(row[0]) if row else None


def _state_of(revision: str | None) -> SchemaState:
    known = [name.partition("_")[0] for name in migration_names()]
    if revision is None:
        return SchemaState.EMPTY
    if revision not in known:
        return SchemaState.AHEAD
    return SchemaState.CURRENT if revision == known[-1] else SchemaState.BEHIND


def _upgrade(connection: Connection) -> list[str]:
    from alembic import command  # noqa: PLC0415 - see the module's head
    from alembic.config import Config  # noqa: PLC0415

    revision = _revision(connection)
    if _state_of(revision) is SchemaState.AHEAD:
        raise PreconditionFailed(
            "the tables are newer than this version of Tercet; nothing was changed",
            field="database_url",
            reason="SCHEMA",
        )
    config = Config()
    # Alembic reads percent signs of an option as its own.
    folder = str(migrations_folder()).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return [
        name
        for name in migration_names()
        if revision is None or name.partition("_")[0] > revision
    ]
