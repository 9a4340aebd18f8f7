"""The limit program's databases: one row a transaction, written in groups.

No driver is told more than it must be: PostgreSQL gets one statement a commit, whatever
its size and without a BEGIN, SQLite the shortest transaction there is.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import asyncpg
from asyncpg import Record
from asyncpg.prepared_stmt import PreparedStatement

New = tuple[str, int, bytes, int]
"""gid, state, input, time."""
Moved = tuple[str, int, int]
"""gid, state, time."""

PINNED = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
"""A batch is joined to its rows by the key's index, however large the table is."""

_TABLE = """
CREATE TABLE limit_transactions (
    gid text COLLATE "C" PRIMARY KEY, state int NOT NULL, input bytea NOT NULL,
    at bigint NOT NULL
)
"""
_COMMIT = """
WITH new AS (
    INSERT INTO limit_transactions
    SELECT * FROM unnest($1::text[], $2::int[], $3::bytea[], $4::bigint[])
)
UPDATE limit_transactions AS t SET state = v.state, at = v.at
FROM unnest($5::text[], $6::int[], $7::bigint[]) AS v (gid, state, at)
WHERE t.gid = v.gid COLLATE "C"
"""


class LimitStore(Protocol):
    """What makes batches durable.

    Attributes:
        writer_max: commits at once.
    """

    writer_max: int

    async def commit(self, new: Sequence[New], moved: Sequence[Moved]) -> None:
        """All of it is durable when this returns."""


class PostgreSQLStore:
    """Over asyncpg alone."""

    writer_max = 2

    def __init__(self, free: "asyncio.Queue[PreparedStatement[Record]]") -> None:
        self._free = free

    @classmethod
    async def open(cls, url: str) -> "PostgreSQLStore":
        """With an empty table."""
        first = await asyncpg.connect(url)
        await first.execute(_TABLE)
        await first.close()
        free: asyncio.Queue[PreparedStatement[Record]] = asyncio.Queue()
        for _ in range(cls.writer_max):
            connection = await asyncpg.connect(url, server_settings=PINNED)
            free.put_nowait(await connection.prepare(_COMMIT))
        return cls(free)

    async def commit(self, new: Sequence[New], moved: Sequence[Moved]) -> None:
        """One statement is one transaction."""
        inserted = tuple(zip(*new, strict=True)) or ((),) * 4
        updated = tuple(zip(*moved, strict=True)) or ((),) * 3
        statement = await self._free.get()
        await statement.fetch(*inserted, *updated)
        self._free.put_nowait(statement)


class SqliteStore:
    """Over the standard library, in a thread of its own; synced at every commit."""

    writer_max = 1

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.isolation_level = None
        self._connection.execute("PRAGMA page_size=8192")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA wal_autocheckpoint=2000")
        self._connection.execute(
            "CREATE TABLE limit_transactions (gid TEXT PRIMARY KEY,"
            " state INT NOT NULL, input BLOB NOT NULL, at INT NOT NULL)"
        )

    async def commit(self, new: Sequence[New], moved: Sequence[Moved]) -> None:
        """Off the event loop."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._commit, new, moved)

    def _commit(self, new: Sequence[New], moved: Sequence[Moved]) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT INTO limit_transactions VALUES (?, ?, ?, ?)", new
        )
        self._connection.executemany(
            "UPDATE limit_transactions SET state = ?2, at = ?3 WHERE gid = ?1", moved
        )
        execute("COMMIT")


async def open_limit_store(url: str) -> LimitStore:
    """By its URL, as Tercet has it."""
    if url.startswith("sqlite:"):
        return SqliteStore(Path(url.removeprefix("sqlite:///")))
    return await PostgreSQLStore.open(url)
