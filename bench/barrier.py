"""What the barrier costs a participant, database by database.

``python -m bench.barrier`` starts the servers that tests use, runs tries and their
confirms through a participant's executor, and the same business statement in bare
transactions of the same driver, and prints milliseconds and rows for each.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, func, select
from sqlalchemy.ext.asyncio import create_async_engine

from tests.sdk.bank import CONFIRM, OK, TRY, ask, call, told
from tests.sdk.databases.ledger import BARRIER, Ledger
from tests.servers import MariaDB, PostgreSQL

CALLS = 300
AT_ONCE = 8
_SERVERS = {
    "asyncpg": PostgreSQL,
    "psycopg": PostgreSQL,
    "asyncmy": MariaDB,
    "pymysql": MariaDB,
}


async def main() -> None:
    """One line a driver."""
    print(f"{'driver':10} {'at once':>8} {'bare ms':>8} {'barrier ms':>11} {'rows':>5}")
    servers = {kind: kind() for kind in set(_SERVERS.values())}
    try:
        for server in servers.values():
            server.initialize()
            server.start()
            server.create("bench")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bench.db"
            await measure("pysqlite", f"sqlite:///{file}")
        for driver, kind in _SERVERS.items():
            url = servers[kind].url("bench").replace("://", f"+{driver}://")
            await measure(driver, url)
    finally:
        for server in servers.values():
            server.remove()


async def measure(driver: str, url: str) -> None:
    """One at a time, then several at once."""
    is_async = driver.startswith("async")
    engine: Any = create_async_engine(url) if is_async else create_engine(url)
    ledger = Ledger(engine)
    for at_once in (1, AT_ONCE):
        await ledger.prepare()
        executor = ledger.executor()
        barrier = await timed(at_once, partial(both_sides, executor))
        await executor.close()
        rows = await ledger.run(
            lambda c: c.scalar(select(func.count()).select_from(BARRIER))
        )
        bare = await timed(at_once, partial(two_transactions, ledger))
        print(
            f"{driver:10} {at_once:8} {bare:8.2f} {barrier:11.2f} {rows / CALLS:5.1f}",
            flush=True,
        )
    await ledger.close()


async def timed(at_once: int, work: Callable[[str], Awaitable[None]]) -> float:
    """Milliseconds of one call, where ``at_once`` go on side by side."""
    numbers = iter(range(CALLS))

    async def worker() -> None:
        for number in numbers:
            await work(f"g{number}")

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return (time.perf_counter() - start) * 1_000 / CALLS / 2


async def both_sides(executor: Any, gid: str) -> None:
    """Try and confirm."""
    for phase in (TRY, CONFIRM):
        (reply,) = await ask(executor, call(phase, gid, body={"amount": 0}))
        if told(reply) != OK:
            sys.exit(f"a call failed: {told(reply)}")


async def two_transactions(ledger: Ledger, gid: str) -> None:
    """What the two handlers do, without a barrier."""
    for phase in ("TRY", "CONFIRM"):

        def work(connection: Any, phase: str = phase) -> None:
            ledger._work(connection, gid, phase, 0, 0)  # noqa: SLF001

        if ledger.dialect != "sqlite" and hasattr(ledger.engine, "sync_engine"):
            await ledger.run(work)
        else:
            await asyncio.to_thread(_bare, ledger, work)


def _bare(ledger: Any, work: Callable[[Any], None]) -> None:
    with ledger.engine.begin() as connection:
        work(connection)


if __name__ == "__main__":
    asyncio.run(main())
