"""The initiator's process: one window of load, its figures as JSON on stdout.

``python -m bench.speed.initiator JSON``, where JSON is an :class:`Order`.
"""

import asyncio
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench.speed.counters import Counters, Counts
from bench.speed.figures import Window
from bench.speed.load import RealTiming, Unfinished, closed_loop, open_loop
from bench.speed.processes import cpu_seconds, resident_mib
from bench.speed.transactions import transactions
from bench.speed.workload import WORKLOADS

QUIET_SECONDS = 0.2
"""Without a commit: what initiators do not wait for has ended too."""
QUIET_SECONDS_MAX = 30.0


class Order(msgspec.Struct, kw_only=True):
    """What to measure.

    Attributes:
        per_second: of an open loop; 0 = a closed one with ``in_flight``.
        targets: of the coordinator's nodes, which get as many transactions each.
        coordinators: their processes.
        participant: its process.
        database: the server's first process; 0 = the coordinator's own.
        counters: the files in which the nodes count.
    """

    targets: list[str]
    workload: str
    in_flight: int
    per_second: float
    warm_seconds: float
    seconds: float
    coordinators: list[int]
    participant: int
    database: int
    counters: list[str]


class _Meter:
    """What was spent between the opening and the closing of a window."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._counters = [Counters(Path(path)) for path in order.counters]
        self.cpu: dict[str, float] = {}
        self.counts = Counts()
        self.rss_mib = 0.0

    def open(self) -> None:
        """From here on it counts."""
        self.cpu, self.counts = self._cpu(), self._count()

    def close(self) -> None:
        """To here."""
        self.counts = self._count().since(self.counts)
        self.cpu = {who: used - self.cpu[who] for who, used in self._cpu().items()}
        self.rss_mib = max(map(resident_mib, self._order.coordinators))

    def _count(self) -> Counts:
        return Counts(*map(sum, zip(*(c.read() for c in self._counters), strict=True)))

    def _cpu(self) -> dict[str, float]:
        order = self._order
        used = {
            "coordinator": sum(map(cpu_seconds, order.coordinators)),
            "participant": cpu_seconds(order.participant),
            "initiator": time.process_time(),
        }
        if order.database:
            used["database"] = cpu_seconds(order.database, with_children=True)
        return used

    async def quiet(self) -> None:
        """Wait until nothing is committed any more."""
        give_up_at = time.monotonic() + QUIET_SECONDS_MAX
        before = None
        while (now := self._count()) != before:
            if time.monotonic() > give_up_at:
                raise Unfinished("transactions go on after the last one was answered")
            before = now
            await asyncio.sleep(QUIET_SECONDS)


async def measure(order: Order) -> Window:
    """One window."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    meter = _Meter(order)
    timing = RealTiming()

    def fail(why: str) -> None:
        if not failed.done():
            failed.set_exception(Unfinished(why))

    async with transactions(WORKLOADS[order.workload], order.targets, fail) as start:
        loop = (
            partial(open_loop, per_second=order.per_second)
            if order.per_second
            else partial(closed_loop, in_flight=order.in_flight)
        )
        load = asyncio.ensure_future(
            loop(
                start,
                warm_seconds=order.warm_seconds,
                seconds=order.seconds,
                timing=timing,
                on_open=meter.open,
                on_close=meter.close,
            )
        )
        either: set[asyncio.Future[Any]] = {load, failed}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            load.cancel()
            await failed
        window = await load
        await meter.quiet()
    return replace(
        window,
        cpu_seconds=meter.cpu,
        commits=meter.counts.commits,
        rows=meter.counts.rows,
        moves=meter.counts.moves,
        rss_mib=meter.rss_mib,
    )


def main() -> None:
    """Measure what the command line says."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            window = runner.run(measure(order))
        except Unfinished as problem:
            sys.exit(f"{order.workload} at {', '.join(order.targets)}: {problem}")
    sys.stdout.buffer.write(msgspec.json.encode(window))


if __name__ == "__main__":
    main()
