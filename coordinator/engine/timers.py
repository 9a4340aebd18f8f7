"""Many timers on one: a heap of times, and a single alarm for the earliest.

What is due within the same tick rings together, so that it is one turn of the loop and
shares its commit: alone, each call of a participant that hangs would cost its node a
commit when its time is up. Nothing rings early, and a wait that is so short that a tick
would be felt is exact.
"""

import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from coordinator.core.model import Instant, Milliseconds
from coordinator.ports import Clock, Timer

K = TypeVar("K", bound=Hashable)

TICK_MS: Milliseconds = 100
"""Whose time is up within so long rings together, at its end."""

EXACT_BELOW_MS: Milliseconds = 20 * TICK_MS
"""A shorter wait rings at its own time, so none gets longer by more than 5 %."""

_COMPACT_ABOVE = 1_024
"""Stale entries are left in the heap until they are most of it; a small heap is not
worth the work."""


class Timers(Generic[K]):
    """At most one time a key; the keys that are due are handed over together.

    Args:
        on_due: called on the event loop with every key whose time has come; those
            keys are forgotten before.
    """

    def __init__(self, clock: Clock, on_due: Callable[[list[K]], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._at: dict[K, Instant] = {}
        self._heap: list[tuple[Instant, int, K]] = []
        self._count = 0
        self._alarm: Timer | None = None
        self._alarm_at: Instant | None = None

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: K, at: Instant) -> None:
        """Let the key be due at this time, or up to a tick later, and at no other."""
        if at - self._clock.now() >= EXACT_BELOW_MS:
            at = -(-at // TICK_MS) * TICK_MS
        if self._at.get(key) == at:
            return
        self._at[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        self._compact()
        if self._alarm_at is None or at < self._alarm_at:
            self._arm(at)

    def discard(self, key: K) -> None:
        """Let the key not be due. Harmless when it has no time."""
        self._at.pop(key, None)

    def close(self) -> None:
        """Forget everything."""
        self._at.clear()
        self._heap.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._alarm_at = None

    def _arm(self, at: Instant) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._clock.call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm = self._alarm_at = None
        now = self._clock.now()
        due: list[K] = []
        while self._heap:
            at, _, key = self._heap[0]
            is_stale = self._at.get(key) != at
            if at > now and not is_stale:
                break
            heapq.heappop(self._heap)
            if not is_stale:
                del self._at[key]
                due.append(key)
        if self._heap:
            self._arm(self._heap[0][0])
        if due:
            self._on_due(due)

    def _compact(self) -> None:
        if len(self._heap) > max(_COMPACT_ABOVE, 2 * len(self._at)):
            self._heap = [e for e in self._heap if self._at.get(e[2]) == e[0]]
            heapq.heapify(self._heap)
