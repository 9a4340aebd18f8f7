"""SQLite: one file, one writer, and every answer synced to disk.

One connection writes, from one thread, in ``BEGIN IMMEDIATE`` transactions: SQLite
admits one writer at a time anyway, and so none ever waits for another one here. It
alone moves the log into the file (checkpoint). Readers have connections and threads
of their own; in WAL mode they see the last commit and wait for nobody.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from coordinator.core.errors import PreconditionFailed, StoreUnavailable
from coordinator.storage.sql.database import Database, Lane
from coordinator.storage.sql.failure import Failure, answered, classify
from coordinator.storage.sql.flavour import Flavour

T = TypeVar("T")

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a write waits for another process that holds the file."""

_READER_MAX: Final = 2
"""Reading threads; more would only compete with the writer for the interpreter."""

_COMMITS_AT_HAND: Final = 2
"""One is written, and the thread finds the next one when it is done: with large pages
8,160 sagas a second ended so, and 7,561 where it had to be handed over first, and was
made of half of what waited (256 in flight, means of four windows in turn)."""

_SHARE_MIN: Final = 128
"""With commits of 64 changes 7,620 ended, and 8,184 with these (two windows each)."""

_PAGE_BYTES: Final = 8_192
"""Of a file that is made here. Rows have a kilobyte and grow: on SQLite's own 4,096,
7,100 sagas a second ended, on 8,192 8,000, on 16,384 7,900 (256 in flight, means of
seven windows in turn), while one alone took as long on each."""

_CHECKPOINT_PAGES: Final = 2_000
"""The log is moved into the file every 16 MiB: rarely enough that its syncs weigh
little, often enough that the log stays in the page cache."""

_SYNCHRONOUS_FULL: Final = 2

_OLDEST: Final = (3, 24, 0)
"""Since then a row that collides with itself can be changed in its place."""


def create_sqlite_engine(
    path: Path, *, writer: bool, busy_timeout_ms: int = BUSY_TIMEOUT_MS
) -> Engine:
    """An engine whose connections are set up for writing, or for reading alone."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        # The store passes connections between threads, never shares them.
        connect_args={"check_same_thread": False, "timeout": busy_timeout_ms / 1000},
        hide_parameters=True,
        **(
            {"poolclass": NullPool}
            if writer
            else {"poolclass": QueuePool, "pool_size": _READER_MAX, "max_overflow": 0}
        ),
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        # Transactions begin where SQLAlchemy begins them, and nowhere else.
        connection.isolation_level = None
        if writer:
            _set_up_writer(connection)
        else:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA wal_autocheckpoint=0")

    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _set_up_writer(connection: sqlite3.Connection) -> None:
    if sqlite3.sqlite_version_info < _OLDEST:
        raise PreconditionFailed(
            f"the SQLite that this Python has, {sqlite3.sqlite_version}, is too old;"
            " expected 3.24 or later",
            field="database_url",
            reason="SERVER_VERSION",
        )
    # It is what an empty file gets; any other one keeps the size it has.
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    connection.execute("PRAGMA synchronous=FULL")
    # Where the system's plain sync does not reach the disk; elsewhere without effect.
    connection.execute("PRAGMA fullfsync=ON")
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    if mode != "wal" or synchronous < _SYNCHRONOUS_FULL:
        raise StoreUnavailable(
            "the database file cannot be written with a full sync at every commit;"
            " put it on a local disk"
        )


class SqliteDatabase(Database):
    """Runs plain functions over a connection, off the event loop.

    Whatever fails in the database is ``StoreUnavailable`` here, and the next call
    starts on a connection that is as good as new.
    """

    def __init__(self, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        self._writing = create_sqlite_engine(
            path, writer=True, busy_timeout_ms=busy_timeout_ms
        )
        self._reading = create_sqlite_engine(
            path, writer=False, busy_timeout_ms=busy_timeout_ms
        )
        self._writer = ThreadPoolExecutor(1, "tercet-store-write")
        self._readers = ThreadPoolExecutor(_READER_MAX, "tercet-store-read")
        self._connection: Connection | None = None
        self._closed = False
        self.dialect = self._writing.dialect
        self.flavour = Flavour.SQLITE
        self.writer_max = _COMMITS_AT_HAND
        self.share_min = _SHARE_MIN

    async def write(
        self,
        work: Callable[[Connection], T],
        lane: Lane = Lane.FOREGROUND,  # noqa: ARG002 - one file, one lane
    ) -> T:
        """Run on the writer; ``work`` begins and ends its own transactions."""
        return await self._run(self._writer, self._on_writer, work)

    async def read(
        self,
        work: Callable[[Connection], T],
        lane: Lane = Lane.FOREGROUND,  # noqa: ARG002 - one file, one lane
    ) -> T:
        """Run in one read transaction: one view of the data, however much is read."""
        return await self._run(self._readers, self._on_reader, work)

    async def close(self) -> None:
        """Release everything, the log moved into the file if nobody else needs it."""
        if self._closed:
            return
        self._closed = True
        # A read goes on in its thread when its caller has gone, and has a connection.
        await asyncio.to_thread(self._readers.shutdown)
        run = asyncio.get_running_loop().run_in_executor
        await run(self._writer, self._reading.dispose)
        await run(self._writer, self._close_writer)
        self._writer.shutdown()

    async def _run(
        self,
        pool: ThreadPoolExecutor,
        runner: Callable[[Callable[[Connection], T]], T],
        work: Callable[[Connection], T],
    ) -> T:
        run = asyncio.get_running_loop().run_in_executor

        def attempt() -> Awaitable[T]:
            if self._closed:
                raise StoreUnavailable("the store was closed")
            return run(pool, runner, work)

        return await answered(attempt, _may_run_again)

    def _on_writer(self, work: Callable[[Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._writing.connect()
            return work(self._connection)
        except BaseException:
            self._drop_writer()
            raise

    def _on_reader(self, work: Callable[[Connection], T]) -> T:
        with self._reading.connect() as connection:
            return work(connection)

    def _drop_writer(self) -> None:
        """Whatever state the connection is in, it ends here: closing rolls back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _close_writer(self) -> None:
        try:
            if self._connection is not None:
                self._connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except SQLAlchemyError:
            pass  # The log stays; the next start reads it. Nothing is lost.
        finally:
            self._drop_writer()


def _may_run_again(error: Exception) -> bool:
    return classify(error) is Failure.ROLLED_BACK
