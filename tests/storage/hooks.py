"""Where tests look at what a server's store asks its driver, or break it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from coordinator.ports import Change
from coordinator.storage.sql import write
from coordinator.storage.sql.database import Lane
from coordinator.storage.sql.server import ServerDatabase
from coordinator.storage.sql.store import SqlStore
from tests.servers import MariaDB, Server


def server_database(store: SqlStore) -> ServerDatabase:
    """What the store asks."""
    assert isinstance(store._database, ServerDatabase)
    return store._database


def writing(store: SqlStore, lane: Lane = Lane.FOREGROUND) -> Any:
    """The engine whose statements a test looks at, or breaks."""
    return server_database(store)._writing[lane].sync_engine


Hook = Callable[[str], None]


def when_sent(
    database: ServerDatabase, before: Hook | None = None, after: Hook | None = None
) -> None:
    """Call these with each statement that is a transaction of its own."""
    send = database._send

    async def hooked(driver: Any, text: str, parameters: Sequence[object]) -> None:
        if before:
            before(text)
        await send(driver, text, parameters)
        if after:
            after(text)

    database._send = hooked  # type: ignore[method-assign]


async def commit_step_by_step(store: SqlStore, *changes: Change) -> None:
    """As where a commit is not one statement, or has met a guard that failed."""
    work = partial(write.write, statements=store._statements, changes=changes)
    assert await store._database.write(work) == []


def injected(server: Server, code: str) -> Exception:
    """As the driver raises it."""
    if isinstance(server, MariaDB):
        from asyncmy.errors import OperationalError

        return OperationalError(int(code), "s3cret")
    import asyncpg

    kinds = {
        "40001": asyncpg.SerializationError,
        "40P01": asyncpg.DeadlockDetectedError,
        "08006": asyncpg.ConnectionFailureError,
    }
    return kinds[code]("s3cret")
