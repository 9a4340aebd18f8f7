"""Brings a database's tables to this version, and tells how far they are.

The migrations stand in ``migrations/versions`` as ``NNNN_{pre|post}_slug.py``: ``pre``
may run while the version before is still serving, ``post`` once it is gone. Alembic
is imported only to run them; a start on tables that are current does without.

SQLite is upgraded in one transaction of Alembic's own. On a server, Alembic writes
the statements down and :mod:`.upgrade` carries them out: what ``--sql`` shows is what
runs.
"""

import asyncio
import io
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from coordinator.core.errors import PreconditionFailed
from coordinator.storage.sql.failure import explain, is_database_error
from coordinator.storage.sql.flavour import Flavour, ask_version, named_by
from coordinator.storage.sql.mysql import with_text_defaults, without_text_defaults
from coordinator.storage.sql.schema import (
    SchemaState,
    migration_names,
    migrations_folder,
    missing_migrations,
    state_of,
    stored_revision,
)
from coordinator.storage.sql.server import create_server_engine
from coordinator.storage.sql.sqlite import BUSY_TIMEOUT_MS, create_sqlite_engine
from coordinator.storage.sql.upgrade import (
    Step,
    run_as_one,
    run_one_by_one,
    sole_runner,
    steps_of,
)
from coordinator.storage.sql.url import DatabaseUrl, Kind, parse_url

T = TypeVar("T")

__all__ = [
    "SchemaState",
    "is_embedded",
    "migration_names",
    "preview",
    "state",
    "upgrade",
]


def is_embedded(url: str) -> bool:
    """Whether the database belongs to this node alone, tables and all."""
    return parse_url(url).kind is Kind.SQLITE


def state(url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> SchemaState:
    """How far the database is; changes nothing, not even makes the file.

    Raises:
        InvalidRequest: the URL names nothing that is supported.
        PreconditionFailed: the database refuses this account.
        StoreUnavailable: the database does not answer.
    """
    where = parse_url(url)
    if where.kind is Kind.SQLITE and not where.path.exists():
        return SchemaState.EMPTY
    return state_of(_ask(where, stored_revision, busy_timeout_ms=busy_timeout_ms))


def upgrade(url: str) -> list[str]:
    """Run the migrations that are missing; return their names.

    On SQLite and PostgreSQL all of them or none take effect. Elsewhere, where each
    statement is its own transaction, an upgrade that was interrupted goes on where it
    ended. Of several that are started at once, one runs and the others
    wait for it.

    Raises:
        InvalidRequest: the URL names nothing that is supported.
        PreconditionFailed: the tables are newer than this version, or the database
            refuses this account.
        StoreUnavailable: the database does not answer.
    """
    where = parse_url(url)
    if where.kind is not Kind.SQLITE:
        return _guarded(where, partial(_run, _upgrade_server(where)))
    engine = create_sqlite_engine(where.path, writer=True)

    def run() -> list[str]:
        with engine.begin() as connection:
            return _upgrade_sqlite(connection)

    try:
        return _guarded(where, run)
    finally:
        engine.dispose()


def preview(url: str) -> str:
    """The statements that :func:`upgrade` would carry out. Raises like it."""
    where = parse_url(url)
    flavour, revision = (
        (Flavour.SQLITE, None)
        if where.kind is Kind.SQLITE and not where.path.exists()
        else _ask(where, partial(_situation, where), busy_timeout_ms=BUSY_TIMEOUT_MS)
    )
    _refuse_newer(revision)
    steps = _written_down(where, flavour, revision)
    return "\n\n".join(f"{step.statement};" for step in steps)


def _upgrade_sqlite(connection: Connection) -> list[str]:
    revision = stored_revision(connection)
    _refuse_newer(revision)
    _alembic("head", connection=connection)
    return missing_migrations(revision)


async def _upgrade_server(where: DatabaseUrl) -> list[str]:
    engine = create_server_engine(
        where, size=2, isolation="READ COMMITTED", has_patience=True
    )
    try:
        async with sole_runner(engine), engine.connect() as connection:
            flavour, revision = await connection.run_sync(partial(_situation, where))
            await connection.rollback()
            _refuse_newer(revision)
            steps = _written_down(where, flavour, revision)
            if flavour.changes_tables_in_transactions:
                await connection.run_sync(run_as_one, steps)
            else:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.run_sync(run_one_by_one, steps)
            return missing_migrations(revision)
    finally:
        await engine.dispose()


def _situation(
    where: DatabaseUrl, connection: Connection
) -> tuple[Flavour, str | None]:
    """Which database it is, and how far its tables are."""
    if where.kind is Kind.SQLITE:
        return Flavour.SQLITE, stored_revision(connection)
    flavour = named_by(where.kind, ask_version(connection))
    return flavour, stored_revision(connection)


def _written_down(
    where: DatabaseUrl, flavour: Flavour, revision: str | None
) -> list[Step]:
    missing = missing_migrations(revision)
    if not missing:
        return []
    dialect = "sqlite" if where.kind is Kind.SQLITE else where.server.drivername
    target = f"{revision}:head" if revision else "head"
    text = io.StringIO()
    _alembic(target, dialect=dialect.partition("+")[0], output=text)
    return steps_of(_spelled(text.getvalue(), flavour))


# How full a page gets at first, and what is compressed, is PostgreSQL's own.
_PAGES: Final = re.compile(r"^ALTER TABLE \w+ SET \(.*;\n*", re.MULTILINE)


def _spelled(text: str, flavour: Flavour) -> str:
    """As this database takes it."""
    match flavour:
        case Flavour.MYSQL:
            return with_text_defaults(text)
        case Flavour.TIDB:
            return without_text_defaults(text)
        case Flavour.COCKROACHDB:  # It has no name for its only order of text.
            return _PAGES.sub("", text).replace(' COLLATE "C"', "")
        case Flavour.YUGABYTEDB | Flavour.POSTGRESQL_LIKE:
            return _PAGES.sub("", text)
        case Flavour.SQLITE | Flavour.POSTGRESQL:
            return text


def _refuse_newer(revision: str | None) -> None:
    if state_of(revision) is SchemaState.AHEAD:
        raise PreconditionFailed(
            "the tables are newer than this version of Tercet; nothing was changed",
            field="database_url",
            reason="SCHEMA",
        )


def _alembic(
    target: str,
    *,
    connection: Connection | None = None,
    dialect: str = "",
    output: io.StringIO | None = None,
) -> None:
    """Run migrations on a connection, or write them down for a dialect."""
    from alembic import command  # noqa: PLC0415 - see the module's head
    from alembic.config import Config  # noqa: PLC0415

    config = Config(output_buffer=output) if output else Config()
    # Alembic reads percent signs of an option as its own.
    folder = str(migrations_folder()).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.attributes["connection"] = connection
    config.attributes["dialect"] = dialect
    command.upgrade(config, target, sql=connection is None)


def _ask(
    where: DatabaseUrl, question: Callable[[Connection], T], *, busy_timeout_ms: int
) -> T:
    if where.kind is not Kind.SQLITE:
        return _guarded(where, partial(_run, _ask_server(where, question)))
    engine = create_sqlite_engine(
        where.path, writer=False, busy_timeout_ms=busy_timeout_ms
    )

    def run() -> T:
        with engine.connect() as connection:
            return question(connection)

    try:
        return _guarded(where, run)
    finally:
        engine.dispose()


async def _ask_server(where: DatabaseUrl, question: Callable[[Connection], T]) -> T:
    engine = create_server_engine(where, size=1, isolation="READ COMMITTED")
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(question)
    finally:
        await engine.dispose()


def _run(asked: Coroutine[Any, Any, T]) -> T:
    """On a loop of its own, whoever calls."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asked).result()


def _guarded(where: DatabaseUrl, work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception as error:
        if not is_database_error(error):
            raise
        failure = explain(error, where.place)
    # Outside of the handler: a driver's error may carry values in its context.
    raise failure
