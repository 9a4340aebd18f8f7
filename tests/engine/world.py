"""A node without a network: real engine and dispatcher, scripted time and peers."""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from coordinator.core.actions import CallBranch
from coordinator.core.definition import SagaDefinition
from coordinator.core.errors import CoordinatorError, NotFound
from coordinator.core.inputs import BranchReplied, Input, Outcome, Succeeded
from coordinator.core.model import GlobalTransaction, Key
from coordinator.engine.engine import Engine
from coordinator.engine.leases import BEAT_EVERY_MS, TTL_MS, Leases
from coordinator.engine.limits import EngineLimits
from coordinator.engine.resident import Ticket
from coordinator.engine.sweeper import PAGE, Sweeper
from coordinator.ports import AuditEntry
from coordinator.storage.memory import MemoryStore

GID = Key("default", "g-1")

DEAD_MS = TTL_MS + BEAT_EVERY_MS
"""After which a silent node is taken for dead."""


class FakeTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 0
        self._timers: list[tuple[int, int, FakeTimer]] = []
        self._count = 0

    def now(self) -> int:
        return self.time

    def monotonic_ms(self) -> int:
        return self.time

    def call_at(self, at: int, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(callback)
        self._count += 1
        heapq.heappush(self._timers, (at, self._count, timer))
        return timer

    async def move_to(self, at: int) -> None:
        """Let everything happen that is due until then, in order."""
        await quiet()
        while self._timers and self._timers[0][0] <= at:
            due, _, timer = heapq.heappop(self._timers)
            self.time = max(self.time, due)
            if timer.callback is not None:
                timer.callback()
            await quiet()
        self.time = max(self.time, at)


async def quiet() -> None:
    """Let the loop run until nothing is left to do; nothing here waits for I/O."""
    for _ in range(30):
        await asyncio.sleep(0)


@dataclass
class FakeParticipants:
    """Remembers what was asked."""

    calls: list[CallBranch] = field(default_factory=list)

    def send(self, calls: Sequence[CallBranch]) -> None:
        self.calls += calls

    def taken(self) -> list[CallBranch]:
        calls, self.calls = self.calls, []
        return calls


@dataclass
class FakeDefinitions:
    """Compiled sagas by digest."""

    known: dict[str, SagaDefinition] = field(default_factory=dict)

    async def get(self, namespace: str, digest: str) -> SagaDefinition:
        if digest not in self.known:
            raise NotFound(f"no saga with digest {digest}")
        return self.known[digest]


class Asked:
    """One request and what became of it."""

    def __init__(self) -> None:
        self.answers: list[GlobalTransaction | CoordinatorError] = []
        self.ticket: Ticket | None = None

    @property
    def answer(self) -> GlobalTransaction | CoordinatorError:
        assert len(self.answers) == 1, self.answers
        return self.answers[0]

    @property
    def tx(self) -> GlobalTransaction:
        assert isinstance(self.answer, GlobalTransaction), self.answer
        return self.answer


class World:
    """One node; ``twin`` makes another one over the same database."""

    def __init__(
        self,
        store: MemoryStore | None = None,
        clock: FakeClock | None = None,
        *,
        node_id: str = "node-1",
        limits: EngineLimits | None = None,
        page: int = PAGE,
    ) -> None:
        self.node_id = node_id
        self.store = store or MemoryStore()
        self.clock = clock or FakeClock()
        self.participants = FakeParticipants()
        self.definitions = FakeDefinitions()
        self.engine = Engine(
            store=self.store,
            participants=self.participants,
            definitions=self.definitions,
            clock=self.clock,
            node_id=node_id,
            # Time stands still, so nobody else would ever come.
            limits=replace(limits or EngineLimits(), commit_pace_ms=0),
        )
        self.leases = Leases(self.store, self.clock, node_id=node_id, address="here")
        self.sweeper = Sweeper(
            store=self.store,
            engine=self.engine,
            leases=self.leases,
            clock=self.clock,
            node_id=node_id,
            page=page,
        )

    def twin(self, node_id: str = "node-2") -> "World":
        page = self.sweeper._page
        other = World(self.store.reopen(), self.clock, node_id=node_id, page=page)
        other.definitions = self.definitions
        other.engine._definitions = self.definitions
        return other

    def ask(
        self, what: Input, key: Key = GID, *, audit: AuditEntry | None = None
    ) -> Asked:
        asked = Asked()
        asked.ticket = self.engine.submit(key, what, asked.answers.append, audit=audit)
        return asked

    async def asked(self, what: Input, key: Key = GID) -> Asked:
        asked = self.ask(what, key)
        await quiet()
        return asked

    async def answer(self, call: CallBranch, outcome: Outcome | None = None) -> None:
        self.engine.replied(
            [
                (
                    call.key,
                    BranchReplied(
                        call.branch_id,
                        call.phase,
                        call.attempt,
                        outcome or Succeeded(),
                    ),
                )
            ]
        )
        await quiet()

    async def answer_all(self) -> None:
        while calls := self.participants.taken():
            for call in calls:
                await self.answer(call)

    async def stored(self, key: Key = GID) -> GlobalTransaction | None:
        found = await self.store.load([key])
        return found[0] if found else None
