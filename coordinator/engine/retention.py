"""What has finished leaves the database, in small portions beside everything else.

Theory. A *purge* walks over old transactions page by page and removes those that may
go (``core/retention.py``) in batches, each one database transaction. What is archived
is durable in the archive before its rows are removed; so a crash in between leaves it
in both, and the next purge archives it once more: twice at worst, never not at all.
After each step a purge rests as long as the step took, so that it never takes more
than half of what the database can do.

Several purges at once are harmless, for a row is removed by whoever is first. One node
alone does it all the same, to spare the others the walk and the archive duplicates:
the one with the smallest id of those that live.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from coordinator import telemetry
from coordinator.core import retention
from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import Instant, Milliseconds
from coordinator.core.retention import OldRow
from coordinator.engine.leases import Leases
from coordinator.ports import Archive, Clock, Retention

_log = structlog.get_logger(__name__)

PAGE: Final = 1_000
"""Rows of one listing: a few hundred bytes each, from an index."""

ARCHIVED_TRANSACTIONS_MAX: Final = 20
"""Read for the archive at once, because whole histories with payloads are large."""

ARCHIVED_ROWS_MAX: Final = 200

PURGE_EVERY_MS: Milliseconds = 10 * 60_000
"""Often enough that a purge is short, rarely enough that its walk costs nothing."""

REST_MS_MAX: Milliseconds = 2_000
"""A database that answers so slowly is left alone for a while, not for good."""


@dataclass(frozen=True, slots=True)
class Purged:
    """How far a purge has come.

    Attributes:
        looked_at: rows that the walk passed, some perhaps twice.
        removed: transactions; in a dry run, those that would have been.
        archived: transactions written to the archive.
    """

    looked_at: int = 0
    removed: int = 0
    archived: int = 0


class Purge:
    """One walk over what is old."""

    def __init__(
        self,
        store: Retention,
        clock: Clock,
        *,
        finished_before: Instant,
        archive: Archive | None = None,
        is_dry: bool = False,
        on_progress: Callable[[Purged], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._finished_before = finished_before
        self._archive = archive
        self._is_dry = is_dry
        self._on_progress = on_progress
        self._unfinished_since = finished_before
        self._has_nested = False
        self._done = Purged()

    async def run(self) -> Purged:
        """Remove all that may go, and tell how much that was.

        Raises ``StoreUnavailable`` or ``PreconditionFailed`` (the archive); what was
        removed before stays so, and another purge goes on with the rest.
        """
        await self._walk(None)
        if self._has_nested:
            await self._walk(self._unfinished_since)
        return self._done

    async def _walk(self, unfinished_since: Instant | None) -> None:
        after: OldRow | None = None
        while True:
            began = self._clock.monotonic_ms()
            page = await self._store.old(
                created_before=self._finished_before, after=after, limit=PAGE
            )
            going = [row for row in page if self._may_go(row, unfinished_since)]
            if unfinished_since is None:
                self._learn(page)
            self._tell(replace(self._done, looked_at=self._done.looked_at + len(page)))
            await self._rest(began)
            for batch in retention.batches(going):
                await self._remove(batch)
            if len(page) < PAGE:
                return
            after = page[-1]

    def _may_go(self, row: OldRow, unfinished_since: Instant | None) -> bool:
        is_second = unfinished_since is not None
        return is_second == (row.depth > 0) and retention.may_go(
            row,
            finished_before=self._finished_before,
            unfinished_since=unfinished_since,
        )

    def _learn(self, page: list[OldRow]) -> None:
        self._unfinished_since = retention.unfinished_since(
            page, self._unfinished_since
        )
        self._has_nested |= any(
            row.depth > 0 and retention.is_over(row, self._finished_before)
            for row in page
        )

    async def _remove(self, batch: list[OldRow]) -> None:
        began = self._clock.monotonic_ms()
        archived = removed = 0
        if not self._is_dry:
            archived = await self._keep(batch)
            removed = -len(await self._store.remove(batch))
        self._tell(
            replace(
                self._done,
                removed=self._done.removed + len(batch) + removed,
                archived=self._done.archived + archived,
            )
        )
        await self._rest(began)

    async def _keep(self, batch: list[OldRow]) -> int:
        """Archive the batch, durably on return; how many that were."""
        if self._archive is None:
            return 0
        archived = 0
        for part in retention.batches(
            batch,
            transactions_max=ARCHIVED_TRANSACTIONS_MAX,
            rows_max=ARCHIVED_ROWS_MAX,
        ):
            histories = await self._store.histories([row.key for row in part])
            await self._archive.write(histories)
            archived += len(histories)
        await self._archive.sync()
        return archived

    def _tell(self, done: Purged) -> None:
        self._done = done
        if self._on_progress is not None:
            self._on_progress(done)

    async def _rest(self, began: Milliseconds) -> None:
        worked_ms = self._clock.monotonic_ms() - began
        await pause(self._clock, min(max(1, worked_ms), REST_MS_MAX))


class Retainer:
    """Purges from time to time, if this node is the one to do it."""

    def __init__(
        self,
        *,
        store: Retention,
        leases: Leases,
        clock: Clock,
        node_id: str,
        keep_ms: Milliseconds,
        archive: Archive | None = None,
    ) -> None:
        self._store = store
        self._leases = leases
        self._clock = clock
        self._node_id = node_id
        self._keep_ms = keep_ms
        self._archive = archive

    async def run(self) -> None:
        """Purge until cancelled. What could not be done now is done next time."""
        while True:
            await pause(self._clock, PURGE_EVERY_MS)
            try:
                await self.purge()
            except StoreUnavailable:
                _log.warning(telemetry.STORE_FAILED, doing="retention")
            except Exception:  # noqa: BLE001 - the task's edge: it must go on
                _log.exception(telemetry.RETENTION_FAILED)

    async def purge(self) -> Purged:
        """Remove what was kept for long enough, unless that is a peer's task."""
        if self._node_id != min(self._leases.living()):
            return Purged()
        purge = Purge(
            self._store,
            self._clock,
            finished_before=self._clock.now() - self._keep_ms,
            archive=self._archive,
        )
        done = await purge.run()
        if done.removed:
            _log.info(
                telemetry.TRANSACTIONS_REMOVED,
                count=done.removed,
                archived=done.archived,
            )
        return done


async def pause(clock: Clock, duration_ms: Milliseconds) -> None:
    """Let others go on for a while."""
    over = asyncio.Event()
    timer = clock.call_at(clock.now() + duration_ms, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()
