"""The loop that picks up what nobody drives and hands it to the engine.

Recovery after a crash, take-over from a dead node and a transaction that this node
had to let go of are all the same to it: an unfinished row that is due, and that no
living node drives. It claims such rows (L3) and the engine goes on from the stored
state. Nothing is loaded at start; a million unfinished rows are taken up page by page.
"""

import asyncio
from dataclasses import replace

import structlog

from coordinator import telemetry
from coordinator.core import machine, sweep
from coordinator.core.changed import changed
from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import Key
from coordinator.core.sweep import Reason
from coordinator.engine.engine import Engine
from coordinator.engine.leases import BEAT_EVERY_MS, Leases
from coordinator.ports import Change, Clock, Store, SweepRow

_log = structlog.get_logger(__name__)

PAGE = 500
"""Rows of one listing and of one claim."""

PAGES_PER_SWEEP = 8
"""After so many pages the node's own work gets its turn."""

SUSPECT_MS = 100
"""After which a suspect that has not moved no longer holds up the next one: what kills
a node that drives it does so at once."""

SUSPECTS_MS_MAX = 1_000
"""For suspects in one sweep; the heartbeat waits for it, and may miss two beats."""


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
        if not self._leases.known().issuperset(row.owner for row in rows):
            await self._leases.beat()  # who has just joined is not one who has left
        verdicts = sweep.plan(
            rows,
            me=self._node_id,
            driven=self._engine.driven_keys,
            living=self._leases.living(),
            known=self._leases.known(),
            now=self._clock.now(),
        )
        judged = list(zip(rows, verdicts, strict=True))
        own = [r.key for r, v in judged if v.reason is Reason.FORGOTTEN_HERE]
        orphans = [
            replace(r, takeovers=v.takeovers)
            for r, v in judged
            if v.reason in (Reason.OWNER_DEAD, Reason.OWNER_GONE) and not v.is_suspect
        ]
        await self._quarantine([r for r, v in judged if v.reason is Reason.QUARANTINED])
        self._engine.take_over(own)
        taken = len(own) + len(await self._claim(orphans))
        suspects = [
            replace(r, takeovers=v.takeovers) for r, v in judged if v.is_suspect
        ]
        return taken + await self._try_one_by_one(suspects)

    async def _claim(self, rows: list[SweepRow]) -> list[Key]:
        if not rows:
            return []
        claimed = await self._store.claim(rows, owner=self._node_id)
        if claimed:
            _log.info(telemetry.TRANSACTION_TAKEN_OVER, count=len(claimed))
        self._engine.take_over(claimed)
        return claimed

    async def _try_one_by_one(self, suspects: list[SweepRow]) -> int:
        """If this node dies meanwhile, the next one knows of which transaction (V6)."""
        taken = 0
        until = self._clock.monotonic_ms() + SUSPECTS_MS_MAX
        for row in suspects:
            if self._clock.monotonic_ms() >= until:
                break
            for key in await self._claim([row]):
                taken += 1
                await self._until_it_moves(key)
        return taken

    async def _until_it_moves(self, key: Key) -> None:
        """Until something of it is committed, or it had time enough to do harm."""
        moved = asyncio.Event()
        watch = self._engine.watch(key, lambda _: moved.set())
        timer = self._clock.call_at(self._clock.now() + SUSPECT_MS, moved.set)
        try:
            await moved.wait()
        finally:
            timer.cancel()
            watch.cancel()

    async def _quarantine(self, rows: list[SweepRow]) -> None:
        """Hold what its owners died with, and call a person; who wins does not matter.

        It keeps its dead owner, so nobody drives it who only looks at it.
        """
        if not rows:
            return
        listed = {row.key: row.revision for row in rows}
        event = sweep.quarantine(self._clock.now())
        changes = [
            Change(
                tx,
                changed(
                    machine.evolve(tx, event),
                    revision=tx.revision + 1,
                    journal_seq=tx.journal_seq + 1,
                ),
                (event,),
                due_at=None,
            )
            for tx in await self._store.load(list(listed))
            if tx.revision == listed[tx.key]
        ]
        lost = await self._store.commit(changes)
        for change in changes:
            if change.key not in lost:
                _log.warning(
                    telemetry.ATTENTION_RAISED, gid=change.key.gid, reason=event.reason
                )

    async def _pause(self) -> None:
        pause = asyncio.Event()
        timer = self._clock.call_at(self._clock.now() + BEAT_EVERY_MS, pause.set)
        try:
            await pause.wait()
        finally:
            timer.cancel()
