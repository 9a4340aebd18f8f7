"""Many timers on one: what rings together, by its time, and a single alarm.

What is due within the same tick rings together, so that it is one turn of the loop and
shares its commit: alone, each call of a participant that hangs would cost its node a
commit when its time is up. Nothing rings early, and a wait that is so short that a tick
would be felt is exact.

Most timers are given up before they ring, so what counts is what it costs to set one
and to give it up: a key is added to those that ring with it, and is left there when its
time is another one, or none. Only a time that no other key has costs a heap's work.
"""

import heapq
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from coordinator.core.model import Instant, Milliseconds
from coordinator.ports import Clock, Timer

K = TypeVar("K", bound=Hashable)

TICK_MS: Milliseconds = 100
"""Whose time is up within so long rings together, at its end."""

EXACT_BELOW_MS: Milliseconds = 20 * TICK_MS
"""A shorter wait rings at its own time, so none gets longer by more than 5 %."""

_COMPACT_ABOVE = 1_024
"""Stale entries are left among those that ring together until they are most of all; a
few are not worth the work."""


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
        self._together: dict[Instant, list[K]] = {}
        self._times: list[Instant] = []
        self._entries = 0
        self._alarm: Timer | None = None
        self._alarm_at: Instant | None = None

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: K, at: Instant) -> None:
        """Let the key be due at this time, or up to a tick later, and at no other."""
        if self._at.get(key) == at:
            return
        self._at[key] = at
        self._ringing_at(at).append(key)
        self._entries += 1

    def set_all(self, keys: Sequence[K], at: Instant) -> None:
        """Let many keys, none of which has a time yet, be due at this one."""
        self._at.update(dict.fromkeys(keys, at))
        self._ringing_at(at).extend(keys)
        self._entries += len(keys)

    def discard(self, key: K) -> None:
        """Let the key not be due. Harmless when it has no time."""
        self._at.pop(key, None)

    def discard_all(self, keys: Sequence[K]) -> None:
        """Let none of these keys be due. Harmless when they have no time."""
        forget = self._at.pop
        for key in keys:
            forget(key, None)

    def close(self) -> None:
        """Forget everything."""
        self._at.clear()
        self._together.clear()
        self._times.clear()
        self._entries = 0
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._alarm_at = None

    def _ringing_at(self, at: Instant) -> list[K]:
        """Those that ring together with what is due at this time."""
        if at - self._clock.now() >= EXACT_BELOW_MS:
            at = -(-at // TICK_MS) * TICK_MS
        together = self._together.get(at)
        return self._begin(at) if together is None else together

    def _begin(self, at: Instant) -> list[K]:
        """Nobody rings at this time yet."""
        if self._entries > max(_COMPACT_ABOVE, 2 * len(self._at)):
            self._compact()
        heapq.heappush(self._times, at)
        if self._alarm_at is None or at < self._alarm_at:
            self._arm(at)
        together = self._together[at] = []
        return together

    def _arm(self, at: Instant) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._clock.call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm = self._alarm_at = None
        now = self._clock.now()
        due: list[K] = []
        while self._times and self._times[0] <= now:
            together = self._together.pop(heapq.heappop(self._times))
            self._entries -= len(together)
            for key in filter(self._at.__contains__, together):
                if self._at[key] <= now:
                    del self._at[key]
                    due.append(key)
        if self._times:
            self._arm(self._times[0])
        if due:
            self._on_due(due)

    def _compact(self) -> None:
        """Drop the entries of keys that do not ring there any more, and repetitions."""
        has_a_time = self._at.__contains__  # most have none
        for at, together in self._together.items():
            self._together[at] = [
                key
                for key in dict.fromkeys(filter(has_a_time, together))
                if at - TICK_MS < self._at[key] <= at
            ]
        self._together = {at: keys for at, keys in self._together.items() if keys}
        self._times = sorted(self._together)
        self._entries = sum(map(len, self._together.values()))
