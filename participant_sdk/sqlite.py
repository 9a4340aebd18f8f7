"""How a SQLite database has to be opened for a participant."""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import StaticPool

from participant_sdk.errors import InvalidRequest

IMMEDIATE = "tercet_immediate"
"""Execution option: take the write lock at once, so that it cannot be refused
half-way through a transaction."""

_BUSY_TIMEOUT_MS = 5_000


def prepare_sqlite(engine: Engine) -> None:
    """Open every connection of ``engine`` for safe and concurrent use.

    Sets WAL, ``synchronous=FULL`` (an answer survives power loss), a busy timeout,
    and explicit BEGIN (Python's driver would begin transactions by itself, too late
    for savepoints). ``Participant`` calls it; call it yourself where other processes
    open the same file. Twice does no harm.
    """
    if event.contains(engine, "connect", _configure):
        return
    is_shared = isinstance(engine.pool, StaticPool)
    if _is_in_memory(engine) and not is_shared:
        raise InvalidRequest(
            "an in-memory SQLite database is private to one thread: name a file, or "
            "make the engine with poolclass=StaticPool",
            field="database",
        )
    _listen(engine)
    if is_shared:
        with engine.connect() as connection:
            _configure(connection.connection.driver_connection, None)
    else:
        # Idle connections were opened before anybody listened.
        engine.dispose()


def prepare_async_sqlite(engine: Engine) -> None:
    """The same for the ``sync_engine`` of an ``AsyncEngine``.

    Connections that are open already are not configured: ``dispose`` them.
    """
    if _is_in_memory(engine):
        raise InvalidRequest(
            "an in-memory SQLite database cannot hold several calls' transactions "
            "apart: name a file",
            field="database",
        )
    if not event.contains(engine, "connect", _configure):
        _listen(engine)


def _is_in_memory(engine: Engine) -> bool:
    return engine.url.database in (None, "", ":memory:")


def _listen(engine: Engine) -> None:
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)


def _configure(driver_connection: Any, _record: object) -> None:
    # Of the driver's connection itself, or of SQLAlchemy's adapter around an async one.
    driver_connection.isolation_level = None
    cursor = driver_connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS:d}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
    finally:
        cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(IMMEDIATE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
