"""A store that fails at its n-th call, and whole nodes over it (F21).

Three things can be wrong with one call of a store. It fails before anything happens;
it fails late, and nothing happened; it fails late, and all of it happened. Who calls
cannot tell the last two apart (L6).
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeVar

from coordinator.core.actions import CallBranch
from coordinator.core.errors import StoreUnavailable
from coordinator.core.inputs import Input, Outcome, Refused, Succeeded
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Key,
)
from coordinator.core.sweep import Ask, Gap, Line
from coordinator.core.words import Phase
from coordinator.ports import AuditEntry, Change, NodeRow, Store, SweepRow
from tests.engine.world import FakeClock, World, quiet

TURN_MS = 500
TURNS_MAX = 200
"""100 s of the flow's time: retries, leases, sweeps and the deadline are within it."""

T = TypeVar("T")


class Kind(Enum):
    """What becomes of the call that fails."""

    BEFORE = "nothing is written, and at once it is known that something failed"
    LOST = "nothing is written, and the error comes late"
    KEPT = "all is written, and the error comes late"


@dataclass
class Fault:
    """Which call fails, counted over all nodes.

    Attributes:
        number: of the call, from 1.
        count: calls so far.
        struck: the name of the call that failed; empty while none did.
    """

    kind: Kind
    number: int
    count: int = 0
    struck: str = ""


class FaultyStore(Store):
    """Passes everything on, but for one call."""

    def __init__(self, inner: Store, fault: Fault) -> None:
        self.inner = inner
        self._fault = fault
        self._running = 0
        self._idle = asyncio.Event()

    async def until_idle(self) -> bool:
        """Return when no call is under way; whether there was any."""
        if not self._running:
            return False
        self._idle.clear()
        await self._idle.wait()
        return True

    async def load(self, keys: Sequence[Key]) -> list[GlobalTransaction]:
        return await self._pass("load", lambda: self.inner.load(keys))

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        return await self._pass("commit", lambda: self.inner.commit(changes))

    async def lines(self, gaps: Sequence[Gap], *, limit: int) -> list[Line]:
        return await self._pass("lines", lambda: self.inner.lines(gaps, limit=limit))

    async def unfinished(
        self, asks: Sequence[Ask], *, due_before: Instant
    ) -> list[SweepRow]:
        return await self._pass(
            "unfinished", lambda: self.inner.unfinished(asks, due_before=due_before)
        )

    async def claim(self, rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        return await self._pass("claim", lambda: self.inner.claim(rows, owner=owner))

    async def beat(self, node: NodeRow) -> list[NodeRow]:
        return await self._pass("beat", lambda: self.inner.beat(node))

    async def forget_node(self, node_id: str) -> None:
        await self._pass("forget_node", lambda: self.inner.forget_node(node_id))

    async def close(self) -> None:
        await self.inner.close()

    async def _pass(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        fault = self._fault
        fault.count += 1
        strikes = fault.count == fault.number
        if strikes:
            fault.struck = name
            if fault.kind is Kind.BEFORE:
                raise StoreUnavailable
        self._running += 1
        try:
            if not (strikes and fault.kind is Kind.LOST):
                answer = await call()
            if strikes:
                await asyncio.sleep(0)
                raise StoreUnavailable
            return answer
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()


@dataclass
class Bank:
    """A participant with a barrier: a repeated call is answered as the first was.

    Attributes:
        refusing: the operations that say no to a try or an action.
        effects: how often each phase of a branch took effect.
    """

    refusing: frozenset[str] = frozenset()
    effects: Counter[tuple[str, Phase]] = field(default_factory=Counter)
    _undone: set[str] = field(default_factory=set)

    def carry_out(self, call: CallBranch) -> Outcome:
        """The answer to one call."""
        done = (call.branch_id, call.phase)
        if call.phase in (Phase.TRY, Phase.ACTION):
            if call.branch_id in self._undone:
                return Refused("BRANCH_CANCELLED", "late")
            if call.operation in self.refusing:
                return Refused("NO_FUNDS", "no")
            self.effects[done] = 1
        elif call.phase is Phase.CONFIRM:
            assert self.effects[call.branch_id, Phase.TRY], "confirmed, never tried"
            assert call.branch_id not in self._undone, "confirmed after its cancel"
            self.effects[done] = 1
        else:
            assert not self.effects[call.branch_id, Phase.CONFIRM], "undone, confirmed"
            forward = Phase.TRY if call.phase is Phase.CANCEL else Phase.ACTION
            if self.effects[call.branch_id, forward]:
                self.effects[done] = 1
            self._undone.add(call.branch_id)
        return Succeeded()


class Participant(Protocol):
    """Whoever answers the calls of a node."""

    def carry_out(self, call: CallBranch) -> Outcome:
        """The answer to one call."""


class Node:
    """A node over a store that fails, its heart beating and its sweeper running.

    Attributes:
        is_unheard: its confirms reach nobody.
    """

    def __init__(
        self, stored: Store, bank: Participant, node_id: str, fault: Fault | None = None
    ) -> None:
        self.store = FaultyStore(stored, fault or Fault(Kind.BEFORE, 0))
        self.clock = FakeClock()
        self.world = World(self.store, self.clock, node_id=node_id)
        self.is_unheard = False
        self._bank = bank
        loops = (self.world.leases.run(), self.world.sweeper.run())
        self._loops = [asyncio.ensure_future(loop) for loop in loops]

    async def settle(self) -> None:
        """Let everything happen that needs no time, the store's threads included."""
        await quiet()
        while await self.store.until_idle():
            await quiet()
        while calls := self.world.participants.taken():
            for call in calls:
                if self.is_unheard and call.phase is Phase.CONFIRM:
                    continue
                await self.world.answer(call, self._bank.carry_out(call))
            while await self.store.until_idle():
                await quiet()

    async def turn(self) -> None:
        """Half a second goes by."""
        await self.settle()
        until, timers = self.clock.time + TURN_MS, self.clock._timers
        while timers and timers[0][0] <= until:
            self.clock.time, _, timer = heapq.heappop(timers)
            if timer.callback is not None:
                timer.callback()
            await self.settle()
        self.clock.time = until

    async def ask(
        self, what: Input, key: Key, *, audit: AuditEntry | None = None
    ) -> None:
        """Ask as a client does that has to know: again, until there is an answer."""
        for _ in range(TURNS_MAX):
            asked = self.world.ask(what, key, audit=audit)
            await self.settle()
            while not asked.answers:
                await self.turn()
            if not isinstance(asked.answer, StoreUnavailable):
                assert asked.tx.key == key
                return
            await self.turn()
        raise AssertionError(f"{what} was never answered")

    def die(self) -> None:
        """From here on it does nothing any more."""
        for loop in self._loops:
            loop.cancel()
