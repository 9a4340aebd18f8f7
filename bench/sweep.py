"""What a sweep costs among a million transactions that a dead node left.

``python -m bench.sweep --store postgresql --rows 1000000`` fills a throw-away database
with so many unfinished transactions and as many finished ones, and prints one line:

``SWEEP store=… rows=N page=N claimed=N fill_s=… serving_s=… start_p50_ms=…
start_p99_ms=… list_p50_ms=… list_p99_ms=… claim_p50_ms=… claim_p99_ms=… begin_ratio=…
gids_per_second=N``

``serving``: from the start of ``tercet serve`` until it serves. ``start``: of a sweep,
until it knows the lines and the first page; ``list``: each further page; ``claim``:
each page. ``begin_ratio``: what it takes to store new transactions beside all these,
as a share of what it takes in an empty database of the same server, in turn.
``gids_per_second``: what one node takes up and ends. ``--old-snapshot`` holds an idle
REPEATABLE READ transaction open meanwhile, and claims for a minute.
"""

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
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
from sqlalchemy.ext.asyncio import create_async_engine

from bench.speed.figures import percentile
from bench.speed.rig import MARIADB_SETTINGS, POSTGRESQL_SETTINGS
from coordinator.clock import SystemClock
from coordinator.core import machine, sweep
from coordinator.core.actions import CallBranch
from coordinator.core.changed import changed
from coordinator.core.definition import SagaDefinition
from coordinator.core.errors import NotFound
from coordinator.core.inputs import Begin
from coordinator.core.model import Key, TransactionRequest
from coordinator.core.words import Mode
from coordinator.engine.engine import Engine
from coordinator.engine.leases import Leases
from coordinator.engine.limits import EngineLimits
from coordinator.engine.sweeper import PAGE, PAGES_PER_SWEEP, Sweeper
from coordinator.ports import Change
from coordinator.storage.sql import tables
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.server import create_server_engine
from coordinator.storage.sql.sqlite import create_sqlite_engine
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.url import Kind, parse_url
from tests.servers import MariaDB, PostgreSQL

DEAD, CLAIMANT = "n-dead", "n-bench"
CHUNK = 50_000
PAGES_MAX = 400
SNAPSHOT_SECONDS = 60.0
BEGIN_ROUNDS = 200
BEGIN_AT_ONCE = 64
SWEEP_SECONDS = 10.0
_SERVERS = {"postgresql": PostgreSQL, "mariadb": MariaDB}
_SETTINGS = {"postgresql": POSTGRESQL_SETTINGS, "mariadb": MARIADB_SETTINGS}


@contextmanager
def databases(kind: str) -> Iterator[tuple[str, str]]:
    """Two empty ones with tables; they go with the program."""
    names = ("bench", "empty")
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            full, empty = (f"sqlite:///{Path(folder) / name}.db" for name in names)
            upgrade(full)
            upgrade(empty)
            yield full, empty
        return
    server = _SERVERS[kind]()
    try:
        server.initialize()
        server.start(*_SETTINGS[kind])
        full, empty = map(server.create, names)
        upgrade(full)
        upgrade(empty)
        yield full, empty
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


class Pages:
    """What pages took, in milliseconds."""

    def __init__(self) -> None:
        self.starting: list[float] = []
        self.listing: list[float] = []
        self.claiming: list[float] = []
        self.claimed = 0

    async def measure(self, store: SqlStore, page: int, seconds: float) -> None:
        """List and claim pages as sweeps do, one sweep after the other.

        Args:
            seconds: at least so long, if there is enough to claim.
        """
        until = time.monotonic() + seconds
        while len(self.claiming) < PAGES_MAX or time.monotonic() < until:
            if not await self._sweep(store, page):
                break

    async def _sweep(self, store: SqlStore, page: int) -> bool:
        """One sweep; whether there was anything to claim."""
        began, took = time.perf_counter(), self.starting
        gaps = sweep.others((CLAIMANT,))
        turns = sweep.Turns(await store.lines(gaps, limit=sweep.LINES_MAX))
        for _ in range(PAGES_PER_SWEEP):
            asks = turns.next_page(page)
            rows = await store.unfinished(asks, due_before=SystemClock().now())
            listed = time.perf_counter()
            claimed = await store.claim(rows, owner=CLAIMANT)
            if not claimed:
                return False
            took.append((listed - began) * 1_000)
            self.claiming.append((time.perf_counter() - listed) * 1_000)
            self.claimed += len(claimed)
            turns.listed(rows, {})
            began, took = time.perf_counter(), self.listing
        return True

    def figures(self) -> str:
        """Medians and 99th percentiles."""
        return " ".join(
            f"{name}_p50_ms={percentile(sorted(some), 50):.1f}"
            f" {name}_p99_ms={percentile(sorted(some), 99):.1f}"
            for name, some in (
                ("start", self.starting),
                ("list", self.listing),
                ("claim", self.claiming),
            )
        )


@asynccontextmanager
async def old_snapshot(url: str) -> AsyncIterator[None]:
    """An idle transaction that still sees everything as it was."""
    engine = create_async_engine(
        parse_url(url).server, isolation_level="REPEATABLE READ"
    )
    async with engine.connect() as connection:
        await connection.execute(select(tables.global_transactions.c.gid).limit(1))
        yield
    await engine.dispose()


async def begin_ratio(full: SqlStore, empty: SqlStore) -> float:
    """Of the times for the same number of new transactions, in turn."""
    times: dict[SqlStore, list[float]] = {full: [], empty: []}
    for number in range(BEGIN_ROUNDS):
        for store in (full, empty) if number % 2 else (empty, full):
            first = number * BEGIN_AT_ONCE
            now = SystemClock().now()
            new = [begun(n, now) for n in range(first, first + BEGIN_AT_ONCE)]
            began = time.perf_counter()
            await store.commit(new)
            times[store].append(time.perf_counter() - began)
    return statistics.median(times[full]) / statistics.median(times[empty])


def begun(number: int, now: int) -> Change:
    """A new transaction that has an hour."""
    request = TransactionRequest(
        key=Key("default", f"new-{number}"),
        mode=Mode.TCC,
        name="transfer",
        digest="d",
        created_at=now,
        deadline_at=now + 3_600_000,
    )
    tx, events = machine.step(None, Begin(request), now)
    tx = changed(tx, revision=1, journal_seq=1, owner="n-new")
    return Change(None, tx, tuple(events), machine.due_at(tx))


class Nobody:
    """No participant and no saga is asked for."""

    def send(self, calls: Sequence[CallBranch]) -> None:
        """Nothing is ever sent."""

    async def get(self, namespace: str, digest: str) -> SagaDefinition:
        """There is none."""
        raise NotFound(f"no saga {digest} in {namespace}")


async def gids_per_second(
    store: SqlStore, page: int, say: Callable[[str], None]
) -> float:
    """Sweeps one after the other, each until all that it took up has ended."""
    clock, node_id = SystemClock(), "n-sweeping"
    engine = Engine(
        store=store,
        participants=Nobody(),
        definitions=Nobody(),
        clock=clock,
        node_id=node_id,
        limits=EngineLimits(
            commits_in_flight_max=store.writer_max, commit_share_min=store.share_min
        ),
    )
    leases = Leases(store, clock, node_id=node_id, address="bench")
    await leases.beat()
    sweeper = Sweeper(
        store=store,
        engine=engine,
        leases=leases,
        clock=clock,
        node_id=node_id,
        page=page,
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


async def measure(
    url: str, empty_url: str, options: argparse.Namespace, say: Callable[[str], None]
) -> str:
    """The result, on one line."""
    began = time.monotonic()
    await fill(url, options.rows, say)
    filled = time.monotonic() - began
    serving = await seconds_to_serve(url)
    store = await open_store(url, accepts_unsafe_settings=True)
    empty = await open_store(empty_url, accepts_unsafe_settings=True)
    try:
        pages = Pages()
        if options.old_snapshot:
            async with old_snapshot(url):
                await pages.measure(store, options.page, SNAPSHOT_SECONDS)
        else:
            await pages.measure(store, options.page, 0)
        ratio = await begin_ratio(store, empty)
        rate = await gids_per_second(store, options.page, say)
    finally:
        await store.close()
        await empty.close()
    return (
        f"rows={options.rows} page={options.page} claimed={pages.claimed}"
        f" fill_s={filled:.1f} serving_s={serving:.2f} {pages.figures()}"
        f" begin_ratio={ratio:.2f} gids_per_second={rate:.0f}"
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    kinds = ["sqlite", *_SERVERS]
    parser.add_argument("--store", choices=kinds, default="postgresql")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--page", type=int, default=PAGE, help="rows")
    parser.add_argument("--old-snapshot", action="store_true")
    options = parser.parse_args()
    if options.old_snapshot and options.store == "sqlite":
        parser.error("SQLite keeps nothing for old snapshots that claims pass over")
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    is_terminal = sys.stderr.isatty()

    def say(text: str) -> None:
        if is_terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    with databases(options.store) as (full, empty):
        result = asyncio.run(measure(full, empty, options, say))
    say("")
    print(f"SWEEP store={options.store} {result}")


if __name__ == "__main__":
    main()
