"""Load: so many transactions in flight, or so many a second whatever comes back.

Theory. A *closed loop* starts the next transaction when one ends: it finds what the
system can carry, and it slows down with it. An *open loop* starts them at fixed
instants. Its latencies count from the instant at which a transaction should have
started, also when the generator itself came late: who waited in front of the door
has waited (no coordinated omission). For the same reason every transaction that
should have started in the window is waited for, however long it takes. The generator
looks for what should start every two milliseconds, not at every single instant: waking
for each of 4,000 a second, it took a sixth of a processor from what it measures. What
it starts late by that is late in the figures.

Nothing here knows what a transaction is, or the real clock: ``start`` begins one and
calls back at its end.
"""

import asyncio
import math
import time
from array import array
from collections.abc import Callable
from typing import Protocol

from bench.speed.figures import Window, window_of

Ended = Callable[[bool], None]
"""Told at a transaction's end whether business said yes."""

Start = Callable[[int, Ended], None]
"""Begins the transaction with this number; never blocks."""

TICK_SECONDS = 0.002
"""The generator of an open loop rests at least so long. At 4,000 sagas a second it took
60 us of processor time for each when it rested for none, and 40 so; the 99th percentile
was 42 and 39 ms, and 22 and 23 ms so (windows of 6 s in turn)."""

LATE_SECONDS_MAX = 60.0
"""For what is still under way when a window has closed."""


class Timing(Protocol):
    """The clock of a load."""

    def now(self) -> float:
        """Seconds; never goes back."""

    async def sleep_until(self, at: float) -> None:
        """Return not before ``at``, but let others work in any case."""


class RealTiming:
    """The machine's."""

    def now(self) -> float:
        """Monotonic."""
        return time.monotonic()

    async def sleep_until(self, at: float) -> None:
        """By the event loop, whose timers know milliseconds, and may ring early."""
        while True:
            left = at - time.monotonic()
            await asyncio.sleep(_milliseconds(left))
            if time.monotonic() >= at:
                return


def _milliseconds(seconds: float) -> float:
    """So many seconds in whole milliseconds, and none too few."""
    return max(0, math.ceil(seconds * 1_000)) / 1_000


class Unfinished(Exception):
    """Transactions did not end in time, so there is no honest figure."""


class _Tally:
    """Counts what begins and ends, and keeps latencies of what counts."""

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.latencies = array("d")
        self.ended = self.refused = self.under_way = 0
        self.is_open = False
        self._is_over = asyncio.Event()

    def end(self, began_at: float, *, is_yes: bool, counts: bool) -> None:
        """A transaction has ended."""
        if counts:
            self.latencies.append(self.timing.now() - began_at)
        if self.is_open:
            self.ended += 1
            self.refused += not is_yes
        self.under_way -= 1
        if not self.under_way:
            self._is_over.set()

    async def all_ended(self) -> None:
        """Wait for what is under way. Raises ``Unfinished``."""
        if not self.under_way:
            return
        self._is_over.clear()
        try:
            async with asyncio.timeout(LATE_SECONDS_MAX):
                await self._is_over.wait()
        except TimeoutError:
            raise Unfinished(
                f"{self.under_way} transactions had not ended {LATE_SECONDS_MAX:.0f} s"
                " after the window"
            ) from None

    def window(self, seconds: float) -> Window:
        """What was measured."""
        return window_of(
            self.latencies, seconds=seconds, ended=self.ended, refused=self.refused
        )


async def closed_loop(
    start: Start,
    *,
    in_flight: int,
    warm_seconds: float,
    seconds: float,
    timing: Timing,
    on_open: Callable[[], None] = lambda: None,
    on_close: Callable[[], None] = lambda: None,
) -> Window:
    """Keep so many transactions in flight; latencies are of those that end in it."""
    tally = _Tally(timing)
    number = 0
    is_over = False

    def begin() -> None:
        nonlocal number
        began_at = timing.now()
        tally.under_way += 1

        def ended(is_yes: bool) -> None:
            tally.end(began_at, is_yes=is_yes, counts=tally.is_open)
            if not is_over:
                begin()

        number += 1
        start(number - 1, ended)

    for _ in range(in_flight):
        begin()
    await timing.sleep_until(timing.now() + warm_seconds)
    on_open()
    tally.is_open, opened_at = True, timing.now()
    await timing.sleep_until(opened_at + seconds)
    tally.is_open, took = False, timing.now() - opened_at
    on_close()
    is_over = True
    await tally.all_ended()
    return tally.window(took)


async def open_loop(
    start: Start,
    *,
    per_second: float,
    warm_seconds: float,
    seconds: float,
    timing: Timing,
    on_open: Callable[[], None] = lambda: None,
    on_close: Callable[[], None] = lambda: None,
) -> Window:
    """Start so many a second; latencies are of those that should start in it."""
    tally = _Tally(timing)
    first = round(warm_seconds * per_second)
    count = first + round(seconds * per_second)
    begins_at = timing.now()

    def begin(number: int) -> None:
        should_begin_at = begins_at + number / per_second
        tally.under_way += 1

        def ended(is_yes: bool) -> None:
            tally.end(should_begin_at, is_yes=is_yes, counts=number >= first)

        start(number, ended)

    number = 0
    opened_at, rested_at = 0.0, begins_at
    while number < count:
        await timing.sleep_until(max(begins_at + number / per_second, rested_at))
        rested_at = timing.now() + TICK_SECONDS
        due = int((timing.now() - begins_at) * per_second) + 1
        due = min(max(due, number + 1), count)
        for number in range(number, due):  # noqa: B020 - goes on where it was
            if number == first:
                on_open()
                tally.is_open, opened_at = True, timing.now()
            begin(number)
        number = due
    await timing.sleep_until(begins_at + count / per_second)
    tally.is_open, took = False, timing.now() - opened_at
    on_close()
    await tally.all_ended()
    return tally.window(took)
