"""Group commit: whatever moved while the last commit was under way goes in the next.

Theory of operation
-------------------
A lonely change is committed at once and waits for one fsync; the changes that arrive
meanwhile wait for that commit to return and then share one. The batch grows with the
load by itself. Only a commit that has taken long is not waited for any more: a row in
it may be locked by somebody else, and that is no matter of the others.

Where changes come one by one, faster than commits return, that alone makes many small
commits. So fewer changes than the last commit carried wait a moment for others, and go
when as many are there. Who is alone is as many as before, and waits for nobody.

Many changes are dealt out among all commits that may be under way. In one commit they
would all move on together afterwards, a convoy: the database is idle while the node
decides, and the node while the database writes. Few are not, for each commit has a
price of its own, and so have the frames that follow from it. A store with one writer is
given two as well: one is written, and the other is at hand when the writer returns.

The order "durable, then act" is kept here: :meth:`Committer.put` hands changes over,
and the outcome comes back through exactly one of two callbacks. Nothing that depends
on a change may leave the process before ``on_committed`` named it.

Races:

* A change of a key that is under way must not be followed by another one of the same
  key before its outcome is known; the engine sees to it by keeping the key busy.
* A commit that raises has an *unknown* outcome (L6): ``on_unknown`` says so, and the
  engine forgets those transactions and reads them again.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from coordinator import telemetry
from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import Key, Milliseconds
from coordinator.ports import Change, Clock, Store, Timer

_log = structlog.get_logger(__name__)

BATCH_MAX = 1_024
"""Changes in one commit: at about 50 us each it holds the database for 50 ms."""

YOUNG_MS: Milliseconds = 20
"""For so long a few changes wait for the latest commit. At half of the throughput that
PostgreSQL gives on two cores, sagas took 100 ms where they waited for none as long as
there was room for one more commit, 82 ms where they waited for the second, and 45 ms
where they waited for the first."""


class Committer:
    """Turns a flow of changes into few commits.

    Args:
        clock: tells how old a commit is.
        in_flight_max: commits under way at once.
        share_min: changes for which one more commit is worth its price.
        pace_ms: for so long after a commit began fewer changes than it carried wait for
            others, where no commit is under way.
        on_committed: changes that were asked, and the keys that conflicted.
        on_unknown: changes of which nobody can say whether they were committed.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        in_flight_max: int,
        share_min: int,
        pace_ms: Milliseconds,
        on_committed: Callable[[Sequence[Change], frozenset[Key]], None],
        on_unknown: Callable[[Sequence[Change], StoreUnavailable], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._share_min = share_min
        self._pace_ms = pace_ms
        self._on_committed = on_committed
        self._on_unknown = on_unknown
        self._waiting: list[Change] = []
        self._commits: set[asyncio.Task[None]] = set()
        self._latest_at: Milliseconds = 0
        self._latest_count = 0
        self._is_last = False
        self._alarm: Timer | None = None
        self._alarm_at: Milliseconds = 0

    def put(self, changes: Sequence[Change]) -> None:
        """Commit these as soon as there is room."""
        self._waiting.extend(changes)
        self._start()

    async def idle(self) -> None:
        """Let nobody wait for others; return when nothing is under way."""
        self._is_last = True
        self._start()
        while self._commits:
            await asyncio.wait(self._commits)
        self._is_last = False

    def _start(self) -> None:
        while self._waiting and len(self._commits) < self._in_flight_max:
            now = self._clock.monotonic_ms()
            if (pause := self._worth_waiting_until() - now) > 0:
                self._look_again(pause)
                return
            count = self._share()
            batch = self._waiting[:count]
            del self._waiting[:count]
            self._latest_at, self._latest_count = now, len(batch)
            commit = asyncio.get_running_loop().create_task(self._commit(batch))
            self._commits.add(commit)
            commit.add_done_callback(self._done)

    def _worth_waiting_until(self) -> Milliseconds:
        """Until when few changes wait, for a commit to return or for others to come."""
        count = len(self._waiting)
        if count >= self._share_min or self._is_last:
            return 0
        if self._commits:
            return self._latest_at + YOUNG_MS
        return self._latest_at + self._pace_ms if count < self._latest_count else 0

    def _look_again(self, after: Milliseconds) -> None:
        at = self._clock.now() + after
        if self._alarm is not None:
            if self._alarm_at <= at:
                return
            self._alarm.cancel()
        self._alarm, self._alarm_at = self._clock.call_at(at, self._ring), at

    def _ring(self) -> None:
        self._alarm = None
        self._start()

    def _share(self) -> int:
        """How many go into the next commit."""
        free = self._in_flight_max - len(self._commits)
        return min(BATCH_MAX, max(self._share_min, -(-len(self._waiting) // free)))

    def _done(self, commit: asyncio.Task[None]) -> None:
        self._commits.discard(commit)
        self._start()

    async def _commit(self, batch: Sequence[Change]) -> None:
        try:
            conflicts = await self._store.commit(batch)
        except Exception as failure:  # noqa: BLE001 - the task's edge: it is unknown
            _log.exception(telemetry.STORE_FAILED, doing="commit", count=len(batch))
            self._on_unknown(batch, as_unavailable(failure))
        else:
            self._on_committed(batch, frozenset(conflicts))


def as_unavailable(failure: Exception) -> StoreUnavailable:
    """What those who asked are told: nothing of the failure's own text."""
    return failure if isinstance(failure, StoreUnavailable) else StoreUnavailable()
