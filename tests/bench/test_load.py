"""Load: who waited in front of the door has waited."""

import asyncio
import heapq
from collections.abc import Callable

import pytest
import uvloop

from bench.speed import load
from bench.speed.load import (
    TICK_SECONDS,
    RealTiming,
    Unfinished,
    closed_loop,
    open_loop,
)


class World:
    """Time that moves only where somebody sleeps, and transactions that end in it."""

    def __init__(self, takes: Callable[[int, float], float]) -> None:
        self.takes = takes
        self.at = 0.0
        self.oversleeps = dict[float, float]()
        self.started: list[tuple[int, float]] = []
        self.under_way_most = 0
        self._ends: list[tuple[float, int, Callable[[bool], None]]] = []

    def now(self) -> float:
        return self.at

    async def sleep_until(self, at: float) -> None:
        """Everything that ends until then ends at its time."""
        late = [to for since, to in self.oversleeps.items() if since <= at < to]
        at = max([at, *late])
        while self._ends and self._ends[0][0] <= at:
            self.at, _, ended = heapq.heappop(self._ends)
            ended(True)
        self.at = max(self.at, at)

    def start(self, number: int, ended: Callable[[bool], None]) -> None:
        self.started.append((number, self.at))
        end = self.at + self.takes(number, self.at)
        heapq.heappush(self._ends, (end, number, ended))
        self.under_way_most = max(self.under_way_most, len(self._ends))

    async def end_all(self) -> None:
        """What the real clock would do by itself."""
        while self._ends:
            await asyncio.sleep(0)
            await self.sleep_until(self._ends[0][0])


async def run_open(world: World, *, per_second: float = 100, **options):
    """An open loop for two seconds after one that does not count."""
    loop = asyncio.ensure_future(
        open_loop(
            world.start,
            per_second=per_second,
            warm_seconds=1,
            seconds=2,
            timing=world,
            **options,
        )
    )
    while not loop.done():
        await asyncio.sleep(0)
        await world.end_all()
    return await loop


async def test_an_open_loop_starts_at_fixed_instants_whatever_comes_back():
    """A server that answers nothing for a second gets as much as one that does."""
    world = World(lambda _number, at: 1.0 if at < 2 else 0.001)

    await run_open(world)

    assert [number for number, _ in world.started] == list(range(300))
    for number, at in world.started:
        assert at == pytest.approx(number / 100)


async def test_a_server_that_stalls_is_seen_by_all_who_came_meanwhile():
    """Whoever should have started in a stall of a second waited for its rest: the
    median of a window that is half stall is no fast answer.
    """
    stall_ends_at = 2.0
    world = World(lambda _number, at: max(stall_ends_at - at, 0.001))

    window = await run_open(world)

    assert window.latency_ms[99.9] == pytest.approx(1_000, rel=0.02)
    assert window.latency_ms[90.0] == pytest.approx(800, rel=0.03)


async def test_a_generator_that_comes_late_counts_from_when_it_should_have_come():
    """There is no coordinated omission: its own delay is in the figures, and the
    transactions that it missed are started all the same.
    """
    world = World(lambda _number, _at: 0.001)
    world.oversleeps = {1.5: 2.5}

    window = await run_open(world)

    assert len(world.started) == 300
    assert window.latency_ms[99.9] == pytest.approx(1_000, rel=0.03)


async def test_a_generator_rests_and_counts_from_when_it_should_have_come():
    """It wakes for some at a time, and the wait of the others is in the figures."""
    world = World(lambda _number, _at: 0.001)

    window = await run_open(world, per_second=10_000)

    instants = {at for _, at in world.started}
    assert [number for number, _ in world.started] == list(range(30_000))
    assert len(instants) <= 3 / TICK_SECONDS + 1
    assert all(at >= number / 10_000 for number, at in world.started)
    assert window.latency_ms[99.9] == pytest.approx(1 + TICK_SECONDS * 1_000, rel=0.05)


def test_the_real_clock_never_rings_early():
    """What began early would look faster than it was; uvloop's timers ring early."""

    async def early() -> int:
        timing = RealTiming()
        count = 0
        for after in (0.0, 0.0003, 0.0007, 0.0015, 0.0024) * 4:
            at = timing.now() + after
            await timing.sleep_until(at)
            count += timing.now() < at
        return count

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(early()) == 0


async def test_an_open_loop_counts_what_should_have_started_in_its_window():
    """The warm-up is no figure, and the meters read at the window's ends."""
    world = World(lambda _number, at: 5.0 if at < 0.995 else 0.001)
    read = []

    window = await run_open(
        world,
        on_open=lambda: read.append(round(world.at, 2)),
        on_close=lambda: read.append(round(world.at, 2)),
    )

    assert read == [1.0, 3.0]
    assert window.latency_ms[99.9] == pytest.approx(1)


async def test_a_closed_loop_keeps_so_many_in_flight():
    """The next one starts when one ends, and never before."""
    world = World(lambda _number, _at: 0.5)

    loop = closed_loop(
        world.start, in_flight=10, warm_seconds=1, seconds=4, timing=world
    )
    running = asyncio.ensure_future(loop)
    while not running.done():
        await asyncio.sleep(0)
        if world.at >= 5:
            await world.end_all()
    window = await running

    assert world.under_way_most == 10
    assert window.per_second == pytest.approx(20, rel=0.15)
    assert window.latency_ms[50.0] == pytest.approx(500)


async def test_transactions_that_never_end_give_no_figure(monkeypatch):
    """A run that leaves them out would look better than it was."""
    monkeypatch.setattr(load, "LATE_SECONDS_MAX", 0.0)
    world = World(lambda _number, _at: 1e9)

    with pytest.raises(Unfinished, match="3 transactions had not ended"):
        await closed_loop(
            world.start, in_flight=3, warm_seconds=0, seconds=1, timing=world
        )


async def test_refusals_are_counted():
    """They are ends like others."""

    def start(number, ended):
        asyncio.get_running_loop().call_soon(ended, number % 2 == 0)

    class Soon:
        steps = 0

        def now(self):
            return float(self.steps)

        async def sleep_until(self, at):
            while self.steps < at:
                self.steps += 1
                await asyncio.sleep(0)

    window = await closed_loop(
        start, in_flight=2, warm_seconds=2, seconds=10, timing=Soon()
    )

    assert window.ended > 2
    assert window.refused == pytest.approx(window.ended / 2, abs=1)
