"""What a dead participant costs: ``python -m bench.outage --waiting 10000``.

One node in this process over a throw-away SQLite file, and two participants that do
nothing, in the process as well. ``dead`` loses its link when so many transactions are
about to be confirmed by it; ``well`` goes on being called by a few initiators. Printed
are, before the outage, during it and after the return: what the node spends, what it
writes, what reaches ``dead``, and how many transactions of ``well`` end a second.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from coordinator.clock import SystemClock
from coordinator.core.actions import CallBranch
from coordinator.core.inputs import Begin, BranchReplied, Confirm, Outcome, Succeeded
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    GlobalTransaction,
    Key,
    TransactionRequest,
)
from coordinator.core.words import Mode
from coordinator.engine.dispatcher import Dispatcher
from coordinator.engine.engine import Engine
from coordinator.engine.limits import EngineLimits
from coordinator.engine.resident import Answer
from coordinator.ports import Change
from coordinator.storage.sql import migrate
from coordinator.storage.sql.store import SqlStore, open_store

CREDITS = 256
INITIATORS = 8
"""Who keep one transaction of the well participant going each."""

BEGUN_AT_ONCE = 500
"""Of those that will wait."""

DRAIN_SECONDS_MAX = 600


class NullLink:
    """A participant in the process: it succeeds at once."""

    def __init__(self) -> None:
        self.dispatcher: Dispatcher | None = None
        self.calls = 0

    def send(self, calls: Sequence[tuple[int, CallBranch]]) -> None:
        """Answer on the next turn of the loop."""
        self.calls += len(calls)
        done: list[tuple[int, Outcome]] = [(i, Succeeded()) for i, _ in calls]
        asyncio.get_running_loop().call_soon(self._answer, done)

    def _answer(self, done: list[tuple[int, Outcome]]) -> None:
        if self.dispatcher is not None:
            self.dispatcher.answered(self, done)


class CountedStore:
    """The real store; rows that are written are counted."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.rows = 0

    def __getattr__(self, name: str) -> Callable[..., object]:
        return getattr(self._store, name)

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        """Count, and commit."""
        self.rows += len(changes)
        return await self._store.commit(changes)


@dataclass
class Sample:
    """Counters at one instant."""

    at: float
    cpu: float
    rows: int
    dead: int
    well: int


class Bench:
    """A node, its participants and its initiators."""

    def __init__(self, store: CountedStore, waiting: int) -> None:
        clock = SystemClock()
        self.clock, self.store, self.waiting = clock, store, waiting
        self.dispatcher = Dispatcher(
            clock,
            self._replied,
            self._returned,
            in_turn=self._in_turn,
            on_waiting=self._waits_long,
        )
        self.engine = Engine(
            store=store,  # type: ignore[arg-type]  # counts, and is the real one
            participants=self.dispatcher,
            definitions=None,  # type: ignore[arg-type]  # no saga runs here
            clock=clock,
            node_id="n-bench",
            limits=EngineLimits(resident_max=2 * waiting + 1_000),
        )
        self.dead, self.well = NullLink(), NullLink()
        self.dead.dispatcher = self.well.dispatcher = self.dispatcher
        self.ended = 0
        self.drained = 0
        self.is_over = False

    # The engine is made after the dispatcher that it needs.

    def _replied(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        self.engine.replied(replies)

    def _returned(self, participant: str) -> None:
        self.engine.participant_returned(participant)

    def _in_turn(self, call: CallBranch) -> CallBranch | None:
        return self.engine.in_turn(call)

    def _waits_long(self, calls: Sequence[CallBranch]) -> None:
        self.engine.waits_long(calls)

    async def ask(self, key: Key, what: Begin | Confirm) -> GlobalTransaction:
        """Ask, and wait for the answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.engine.submit(key, what, future.set_result)
        answer = await future
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def tried(self, gid: str, participant: str) -> Key:
        """A transaction with one branch that was tried."""
        key, now = Key("default", gid), self.clock.now()
        request = TransactionRequest(key, Mode.TCC, "bench", "d", now, now + 3_600_000)
        spec = BranchSpec("b", f"{participant}.do", NO_PAYLOAD, 10_000, 5)
        await self.ask(key, Begin(request, (spec,)))
        return key

    async def initiate(self, number: int) -> None:
        """One transaction of the well participant after the other."""
        count = 0
        while not self.is_over:
            count += 1
            key = await self.tried(f"w-{number}-{count}", "well")
            await self.ask(key, Confirm(wait=True))
            self.ended += 1

    def sample(self) -> Sample:
        """All counters now."""
        cpu = time.process_time()
        return Sample(
            time.monotonic(), cpu, self.store.rows, self.dead.calls, self.ended
        )

    def told(self, what: str, since: Sample) -> float:
        """Print what happened since then; transactions of the well one a second."""
        now = self.sample()
        span = now.at - since.at
        rate = (now.well - since.well) / span
        _say(
            f"{what}: {span:.1f} s, {(now.cpu - since.cpu) / span:.2f} CPU s/s,"
            f" {(now.rows - since.rows) / span:.0f} rows written/s,"
            f" {(now.dead - since.dead) / span:.1f} calls/s to the dead one,"
            f" {rate:.0f} transactions/s of the well one"
        )
        return rate


async def run(store: CountedStore, waiting: int, seconds: float) -> None:
    """Before, during and after an outage."""
    bench = Bench(store, waiting)
    bench.dispatcher.attach("dead", bench.dead, credits=CREDITS)
    bench.dispatcher.attach("well", bench.well, credits=CREDITS)
    keys = []
    for first in range(0, waiting, BEGUN_AT_ONCE):
        some = range(first, min(waiting, first + BEGUN_AT_ONCE))
        keys += await asyncio.gather(*(bench.tried(f"d-{n}", "dead") for n in some))
    initiators = [asyncio.create_task(bench.initiate(n)) for n in range(INITIATORS)]
    since = bench.sample()
    await asyncio.sleep(seconds)
    usual = bench.told("before", since)

    bench.dispatcher.detach(bench.dead)
    since = bench.sample()
    for first in range(0, waiting, BEGUN_AT_ONCE):
        some_keys = keys[first : first + BEGUN_AT_ONCE]
        await asyncio.gather(*(bench.ask(key, Confirm()) for key in some_keys))
    await asyncio.sleep(5)
    bench.told(f"{waiting} confirmed without it", since)
    since = bench.sample()
    await asyncio.sleep(seconds)
    rate = bench.told("outage", since)
    _say(f"throughput of the well one in the outage: {rate / usual:.0%} of before")

    bench.dead.calls = 0
    bench.dispatcher.attach("dead", bench.dead, credits=CREDITS)
    since = bench.sample()
    await _drained(bench, since)
    bench.told("return", since)
    bench.is_over = True
    await asyncio.gather(*initiators)
    await bench.engine.close()
    bench.dispatcher.close()


async def _drained(bench: Bench, since: Sample) -> None:
    """Wait until all are asked; print when the first was, the peak and the end."""
    peak, before, first_at = 0, 0, None
    while bench.dead.calls < bench.waiting:
        await asyncio.sleep(0.25)
        peak = max(peak, bench.dead.calls - before)
        before = bench.dead.calls
        now = time.monotonic() - since.at
        first_at = now if first_at is None and before else first_at
        if now > DRAIN_SECONDS_MAX:
            raise SystemExit(f"only {before} of {bench.waiting} were asked")
    _say(
        f"drained in {time.monotonic() - since.at:.1f} s, the first within"
        f" {first_at or 0:.2f} s, peak {4 * peak} calls/s to the one that is back"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _on_a_file(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        await asyncio.to_thread(migrate.upgrade, url)
        store = await open_store(url)
        try:
            await run(CountedStore(store), arguments.waiting, arguments.seconds)
        finally:
            await store.close()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.outage")
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )
    asyncio.run(_on_a_file(parser.parse_args()))


if __name__ == "__main__":
    main()
