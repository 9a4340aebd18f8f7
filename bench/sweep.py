"""What a sweep costs among a million transactions that a dead node left.

``python -m bench.sweep --store postgresql --rows 1000000`` fills a throw-away database
with so many unfinished transactions and as many finished ones, and prints one line: the
seconds from the start of ``tercet serve`` until it serves, the milliseconds for listing
and claiming a page, and how many transactions one node takes up and ends in a second.
"""

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import (
    Connection,
    String,
    Subquery,
    cast,
    insert,
    literal,
    null,
    select,
    true,
    union_all,
)

from coordinator.clock import SystemClock
from coordinator.core import machine, sweep
from coordinator.core.actions import CallBranch
from coordinator.core.changed import changed
from coordinator.core.definition import SagaDefinition
from coordinator.core.errors import NotFound
from coordinator.core.inputs import Begin
from coordinator.core.model import Key, Mode, TransactionRequest
from coordinator.engine.engine import Engine
from coordinator.engine.leases import Leases
from coordinator.engine.limits import EngineLimits
from coordinator.engine.sweeper import PAGE, Sweeper
from coordinator.ports import Change
from coordinator.storage.sql import tables
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.server import create_server_engine
from coordinator.storage.sql.sqlite import create_sqlite_engine
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.url import Kind, parse_url
from tests.servers import MariaDB, PostgreSQL

DEAD = "n-dead"
CHUNK = 50_000
PAGES_MAX = 100
SWEEP_SECONDS = 10.0
_SERVERS = {"postgresql": PostgreSQL, "mariadb": MariaDB}


@contextmanager
def database(kind: str) -> Iterator[str]:
    """An empty database with tables; it goes with the program."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'bench.db'}"
            upgrade(url)
            yield url
        return
    server = _SERVERS[kind]()
    try:
        server.initialize()
        server.start()
        url = server.create("bench")
        upgrade(url)
        yield url
    finally:
        server.remove()


# ---- Filling ------------------------------------------------------------------------


def template(now: int) -> Change:
    """A transaction whose deadline is over: whoever takes it up ends it at once."""
    request = TransactionRequest(
        key=Key("default", "template"),
        mode=Mode.TCC,
        name="transfer",
        digest="d",
        created_at=now - 60_000,
        deadline_at=now - 30_000,
    )
    tx, events = machine.step(None, Begin(request), request.created_at)
    tx = changed(tx, revision=1, journal_seq=1, owner=DEAD)
    return Change(None, tx, tuple(events), machine.due_at(tx))


def copies(first: int, count: int, now: int, *, finished: bool) -> Any:
    """Copies of the template, numbered, each due a little later than the one before."""
    table = tables.global_transactions
    numbers = _numbers(len(str(count - 1)))
    number = numbers.c.i + literal(first)
    new: dict[str, Any] = {
        "gid": literal("f-" if finished else "g-").concat(cast(number, String(20))),
        "due_at": null() if finished else literal(now - 20_000_000) + number,
        "finished_at": literal(now) if finished else null(),
    }
    if finished:
        new["status"] = literal("CANCELLED")
    columns = list(table.c)
    values = [new.get(column.name, column) for column in columns]
    rows = (
        select(*values)
        .select_from(table.join(numbers, true()))
        .where(table.c.gid == "template", number < literal(first + count))
    )
    return insert(table).from_select(columns, rows)


def _numbers(digits: int) -> Subquery:
    """All that have at most so many digits."""
    numbers = _digit()
    for _ in range(digits - 1):
        digit = _digit()
        joined = numbers.join(digit, true())  # the product is meant
        longer = select((numbers.c.i * 10 + digit.c.i).label("i"))
        numbers = longer.select_from(joined).subquery()
    return numbers


def _digit() -> Subquery:
    return union_all(*(select(literal(n).label("i")) for n in range(10))).subquery()


async def fill(url: str, rows: int, say: Callable[[str], None]) -> None:
    """So many unfinished ones, and as many finished ones."""
    now = SystemClock().now()
    store = await open_store(url, accepts_unsafe_settings=True)
    await store.commit([template(now)])
    await store.close()
    statements = [
        copies(first, min(CHUNK, rows - first), now, finished=finished)
        for finished in (False, True)
        for first in range(0, rows, CHUNK)
    ]
    where = parse_url(url)
    if where.kind is Kind.SQLITE:
        engine = create_sqlite_engine(where.path, writer=True)
        for number, statement in enumerate(statements, 1):
            with engine.begin() as connection:
                connection.execute(statement)
            say(f"filled {number}/{len(statements)}")
        engine.dispose()
        return
    server = create_server_engine(
        where, size=1, isolation="READ COMMITTED", has_patience=True
    )
    for number, statement in enumerate(statements, 1):
        async with server.begin() as link:
            await link.run_sync(_execute, statement)
        say(f"filled {number}/{len(statements)}")
    await server.dispose()


def _execute(connection: Connection, statement: Any) -> None:
    connection.execute(statement)


# ---- Measuring ----------------------------------------------------------------------


async def seconds_to_serve(url: str) -> float:
    """From the start of the process; it is killed as soon as it serves."""
    began = time.monotonic()
    options = ["serve", "--db", url, "--listen", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "coordinator",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    if process.stdout is None:
        raise RuntimeError("the node has no output")
    async for line in process.stdout:
        if b"ready on" in line:
            took = time.monotonic() - began
            process.kill()
            await process.wait()
            return took
    raise RuntimeError("the node did not serve")


async def page_ms(store: SqlStore) -> list[float]:
    """Listing a page and claiming it, over and over."""
    times: list[float] = []
    (line, *_) = await store.lines(sweep.others(()), limit=1)
    asks = [sweep.Ask(line, None, 0, PAGE)]
    while len(times) < PAGES_MAX:
        began = time.perf_counter()
        rows = await store.unfinished(asks, due_before=SystemClock().now())
        claimed = await store.claim(rows, owner="n-bench")
        if not claimed:
            break
        times.append((time.perf_counter() - began) * 1_000)
    return times


class Nobody:
    """No participant and no saga is asked for."""

    def send(self, calls: Sequence[CallBranch]) -> None:
        """Nothing is ever sent."""

    async def get(self, namespace: str, digest: str) -> SagaDefinition:
        """There is none."""
        raise NotFound(f"no saga {digest} in {namespace}")


async def gids_per_second(store: SqlStore, say: Callable[[str], None]) -> float:
    """Sweeps one after the other, each until all that it took up has ended."""
    clock, node_id = SystemClock(), "n-sweeping"
    engine = Engine(
        store=store,
        participants=Nobody(),
        definitions=Nobody(),
        clock=clock,
        node_id=node_id,
        limits=EngineLimits(commits_in_flight_max=store.writer_max),
    )
    leases = Leases(store, clock, node_id=node_id, address="bench")
    await leases.beat()
    sweeper = Sweeper(
        store=store, engine=engine, leases=leases, clock=clock, node_id=node_id
    )
    began, taken = time.monotonic(), 0
    while time.monotonic() - began < SWEEP_SECONDS:
        some = await sweeper.sweep()
        while engine._inbox or engine._residents:  # noqa: SLF001, ASYNC110 - until idle
            await asyncio.sleep(0.002)
        taken += some
        say(f"swept {taken}")
        if not some:
            break
    took = time.monotonic() - began
    await engine.close()
    return taken / took


async def measure(url: str, rows: int, say: Callable[[str], None]) -> str:
    """The result, on one line."""
    began = time.monotonic()
    await fill(url, rows, say)
    filled = time.monotonic() - began
    serving = await seconds_to_serve(url)
    store = await open_store(url, accepts_unsafe_settings=True)
    try:
        times = sorted(await page_ms(store))
        p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
        rate = await gids_per_second(store, say)
    finally:
        await store.close()
    return (
        f"rows={rows} fill_s={filled:.1f} serving_s={serving:.2f}"
        f" page_p50_ms={p50:.1f} page_p99_ms={p99:.1f} gids_per_second={rate:.0f}"
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    kinds = ["sqlite", *_SERVERS]
    parser.add_argument("--store", choices=kinds, default="postgresql")
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    is_terminal = sys.stderr.isatty()

    def say(text: str) -> None:
        if is_terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    with database(arguments.store) as url:
        result = asyncio.run(measure(url, arguments.rows, say))
    say("")
    print(f"SWEEP store={arguments.store} {result}")


if __name__ == "__main__":
    main()
