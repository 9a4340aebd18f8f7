"""The loop that picks up what nobody drives and hands it to the engine.

Recovery after a crash, take-over from a dead node and a transaction that this node
had to let go of are all the same to it: an unfinished row that is due, and that no
living node drives. It claims such rows (L3) and the engine goes on from the stored
state. Nothing is loaded at start; a million unfinished rows are taken up page by page.

In which order is for the core to say (:mod:`coordinator.core.sweep`): lines take turns,
so that each sweep attempts the oldest of every line (V3). Two have their own place:

* **What this node let go of** the engine knows by name; it is taken up first. Should it
  ever know too little, a walk through this node's own rows finds the rest, one page a
  sweep: nearly all that it meets is driven here. While the engine knows of all of them,
  the walk rests when its beginning was slow.
* **Suspects**, and what is quarantined when its hold is over, are claimed one by one,
  each with time to do its harm (V6); so they come when all others have had their turn,
  and hold up nobody.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog

from coordinator import telemetry
from coordinator.core import machine, quarantine, sweep
from coordinator.core.changed import changed
from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Key,
    Milliseconds,
)
from coordinator.core.sweep import Ask, Line, Reason, Turns, Verdict
from coordinator.engine import alarms
from coordinator.engine.engine import Engine
from coordinator.engine.leases import Leases, pause
from coordinator.ports import Change, Clock, Store, SweepRow

_log = structlog.get_logger(__name__)

SWEEP_EVERY_MS: Milliseconds = 1_000
"""Between the end of a sweep and the beginning of the next one."""

PAGE = 128
"""Rows of one listing and of one claim, which holds their locks and a connection: a row
takes a server up to 0.1 ms, so 99 % of claims are over within 20 ms."""

PAGES_PER_SWEEP = 32
"""After so many pages the node's own work gets its turn."""

SUSPECT_MS = 100
"""After which a suspect that has not moved no longer holds up the next one: what kills
a node that drives it does so at once."""

SUSPECTS_MS_MAX = 1_000
"""For suspects in one sweep; whoever else waits is looked at again after it."""


class Sweeper:
    """Sweeps once a second.

    Args:
        page: rows of one listing and of one claim; 0 = as many as suit a server.

    Attributes:
        _after: where the lines go on that the last sweep did not come to.
        _own: the walk through this node's own rows.
        _own_at: not before it begins anew, by the monotonic clock.
        _unsure: what a claim was for whose answer never came.
        _handed: what this sweep has given to the engine.
    """

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        leases: Leases,
        clock: Clock,
        node_id: str,
        page: int = 0,
    ) -> None:
        self._page = page or PAGE
        self._store = store
        self._engine = engine
        self._leases = leases
        self._clock = clock
        self._node_id = node_id
        self._after: Line | None = None
        self._own = Turns(())
        self._own_after: Line | None = None
        self._own_at: Milliseconds = 0
        self._unsure: list[Key] = []
        self._handed: set[Key] = set()

    async def run(self) -> None:
        """Sweep until cancelled. A database that does not answer is asked again."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable:
                _log.warning(telemetry.STORE_FAILED, doing="sweep")
            except Exception:  # noqa: BLE001 - the task's edge: recovery must go on
                _log.exception(telemetry.SWEEP_FAILED)
            await pause(self._clock, SWEEP_EVERY_MS)

    async def sweep(self) -> int:
        """Take up what is due and driven by nobody; how many that was."""
        self._handed.clear()
        unsure, self._unsure = self._unsure, []
        taken = self._take_over([*self._engine.let_go.take(), *unsure])
        gaps = sweep.others(self._leases.living(), self._after)
        lines = await self._store.lines(gaps, limit=sweep.LINES_MAX)
        self._after = lines[-1] if len(lines) == sweep.LINES_MAX else None
        known = self._leases.known()
        suspects = [line for line in lines if sweep.may_be_suspect(line, known)]
        plain = [line for line in lines if line not in suspects]
        if plain:
            taken += await self._take_pages(sweep.in_turn(plain, self._node_id))
        taken += await self._look_at_own()
        if suspects:
            taken += await self._try_one_by_one(suspects)
        return taken

    # ---- Others' -------------------------------------------------------------------

    async def _take_pages(self, lines: Sequence[Line]) -> int:
        taken = 0
        behind = sweep.distance(self._node_id, self._leases.living(), self._page)
        turns = Turns(lines, behind=behind)
        for _ in range(PAGES_PER_SWEEP):
            rows = await self._list(turns.next_page(self._page))
            claimed, lost = await self._take_up(rows)
            turns.listed(rows, lost)
            taken += claimed
            if turns.are_over or not self._engine.has_room:
                break
        return taken

    async def _list(self, asks: Sequence[Ask]) -> list[SweepRow]:
        if not asks:
            return []
        return await self._store.unfinished(asks, due_before=self._clock.now())

    async def _take_up(self, rows: Sequence[SweepRow]) -> tuple[int, Counter[Line]]:
        """How many of a page were claimed, and how many of each line others had."""
        await self._look_again(rows)
        verdicts = self._judge(rows)
        await self._quarantine(
            [v.row for v in verdicts if v.reason is Reason.QUARANTINED]
        )
        orphans = [
            changed(v.row, takeovers=v.takeovers)
            for v in verdicts
            if v.take and not v.is_suspect
        ]
        claimed = frozenset(await self._claim(orphans))
        lost = Counter(
            sweep.line_of(v.row)
            for v in verdicts
            if v.take and not v.is_suspect and v.row.key not in claimed
        )
        return len(claimed), lost

    async def _look_again(self, rows: Sequence[SweepRow]) -> None:
        """Who has just joined is not one who has left."""
        if not self._leases.known().issuperset(row.owner for row in rows):
            await self._leases.beat()

    def _judge(self, rows: Sequence[SweepRow]) -> tuple[Verdict[SweepRow], ...]:
        return sweep.plan(
            rows,
            me=self._node_id,
            drives=lambda row: self._engine.drives(row.key, row.revision),
            living=self._leases.living(),
            known=self._leases.known(),
            now=self._clock.now(),
        )

    async def _claim(self, rows: list[SweepRow]) -> list[Key]:
        if not rows:
            return []
        try:
            claimed = await self._store.claim(rows, owner=self._node_id)
        except StoreUnavailable:
            self._unsure = [row.key for row in rows]
            raise
        if claimed:
            _log.info(telemetry.TRANSACTION_TAKEN_OVER, count=len(claimed))
        self._take_over(claimed)
        return claimed

    # ---- This node's ---------------------------------------------------------------

    async def _look_at_own(self) -> int:
        """One page of the walk; it begins anew when it is over."""
        began = self._clock.monotonic_ms()
        is_first = self._own.are_over
        if is_first and self._engine.let_go.are_all_known and began < self._own_at:
            return 0
        if is_first:
            gaps = sweep.own(self._node_id, self._own_after)
            lines = await self._store.lines(gaps, limit=sweep.LINES_MAX)
            self._own_after = lines[-1] if len(lines) == sweep.LINES_MAX else None
            self._own = Turns(lines)
        rows = await self._list(self._own.next_page(self._page))
        if is_first:
            ended = self._clock.monotonic_ms()
            self._own_at = ended + sweep.rest_ms(ended - began)
        self._own.listed(rows, {})
        let_go = [
            v.row.key for v in self._judge(rows) if v.reason is Reason.FORGOTTEN_HERE
        ]
        return self._take_over([key for key in let_go if key not in self._handed])

    def _take_over(self, keys: list[Key]) -> int:
        self._handed.update(keys)
        self._engine.take_over(keys)
        return len(keys)

    # ---- Suspects ------------------------------------------------------------------

    async def _try_one_by_one(self, lines: Sequence[Line]) -> int:
        """If this node dies meanwhile, the next one knows of which transaction (V6)."""
        many = SUSPECTS_MS_MAX // SUSPECT_MS
        asks = [Ask(line, None, 0, many) for line in lines]
        rows = sweep.interleaved(await self._list(asks))
        await self._look_again(rows)
        until = self._clock.monotonic_ms() + SUSPECTS_MS_MAX
        taken = 0
        for verdict in self._judge(rows):
            if self._clock.monotonic_ms() >= until:
                break
            if not verdict.take:
                continue
            counted = changed(verdict.row, takeovers=verdict.takeovers)
            for key in await self._claim([counted]):
                taken += 1
                if verdict.row.owner == quarantine.NOBODY:
                    _log.warning(telemetry.TRIAL_STARTED, gid=key.gid)
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

        Nobody owns it then, so nobody drives it who only looks at it.
        """
        if not rows:
            return
        listed = {row.key: row.revision for row in rows}
        held = [
            _quarantined(tx, self._clock.now())
            for tx in await self._store.load(list(listed))
            if tx.revision == listed[tx.key]
        ]
        lost = await self._store.commit(held)
        for change in held:
            if change.key not in lost:
                alarms.tell(change)


def _quarantined(tx: GlobalTransaction, now: Instant) -> Change:
    event = quarantine.hold(tx, now)
    after = changed(
        machine.evolve(tx, event),
        owner=quarantine.NOBODY,
        revision=tx.revision + 1,
        journal_seq=tx.journal_seq + 1,
    )
    return Change(tx, after, (event,), machine.due_at(after))
