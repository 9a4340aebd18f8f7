"""A SQLite database of one participant's own, as every example opens it."""

from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

LOCK_TIMEOUT_SECONDS = 30
"""Writers of one SQLite database stand in a queue; nobody waits this long."""


def open_database(path: Path) -> Engine:
    """An engine on ``path``; what it commits survives a kill and a power loss."""
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": LOCK_TIMEOUT_SECONDS}
    )
    event.listen(engine, "connect", _set_durable)
    return engine


def _set_durable(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
