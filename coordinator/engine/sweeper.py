"""The loop that picks up what nobody drives and hands it to the engine.

Recovery after a crash, take-over from a dead node and a transaction that this node
had to let go of are all the same to it: an unfinished row that is due, and that no
living node drives. It claims such rows (L3) and the engine goes on from the stored
state. Nothing is loaded at start; a million unfinished rows are taken up page by page.
"""

import asyncio

import structlog

from coordinator import telemetry
from coordinator.core import sweep
from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import Key
from coordinator.core.sweep import Reason
from coordinator.engine.engine import Engine
from coordinator.engine.leases import BEAT_EVERY_MS, Leases
from coordinator.ports import Clock, Store, SweepRow

_log = structlog.get_logger(__name__)

PAGE = 500
"""Rows of one listing and of one claim."""

PAGES_PER_SWEEP = 8
"""After so many pages the node's own work gets its turn."""


class Sweeper:
    """Heartbeat and sweep, one after the other, once a second."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        leases: Leases,
        clock: Clock,
        node_id: str,
    ) -> None:
        self._store = store
        self._engine = engine
        self._leases = leases
        self._clock = clock
        self._node_id = node_id
        self._after: Key | None = None

    async def run(self) -> None:
        """Sweep until cancelled. A database that does not answer is asked again."""
        while True:
            try:
                await self._leases.beat()
                await self.sweep()
            except StoreUnavailable:
                _log.warning(telemetry.STORE_FAILED, doing="sweep")
            except Exception:  # noqa: BLE001 - the task's edge: recovery must go on
                _log.exception(telemetry.SWEEP_FAILED)
            await self._pause()

    async def sweep(self) -> int:
        """Take up what is due and driven by nobody; how many that was."""
        taken = 0
        for _ in range(PAGES_PER_SWEEP):
            now = self._clock.now()
            rows = await self._store.unfinished(
                due_before=now, after=self._after, limit=PAGE
            )
            self._after = rows[-1].key if len(rows) == PAGE else None
            taken += await self._take_up(rows)
            if self._after is None or not self._engine.has_room:
                break
        return taken

    async def _take_up(self, rows: list[SweepRow]) -> int:
        verdicts = sweep.plan(
            rows,
            me=self._node_id,
            driven=self._engine.driven_keys,
            living=self._leases.living(),
            now=self._clock.now(),
        )
        own = [
            r.key
            for r, v in zip(rows, verdicts, strict=True)
            if v.reason is Reason.FORGOTTEN_HERE
        ]
        orphans = [
            r
            for r, v in zip(rows, verdicts, strict=True)
            if v.reason is Reason.OWNER_DEAD
        ]
        claimed = (
            await self._store.claim(orphans, owner=self._node_id) if orphans else []
        )
        if claimed:
            _log.info(telemetry.TRANSACTION_TAKEN_OVER, count=len(claimed))
        self._engine.take_over([*own, *claimed])
        return len(own) + len(claimed)

    async def _pause(self) -> None:
        pause = asyncio.Event()
        timer = self._clock.call_at(self._clock.now() + BEAT_EVERY_MS, pause.set)
        try:
            await pause.wait()
        finally:
            timer.cancel()
