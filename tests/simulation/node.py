"""One node: real engine, dispatcher, leases and sweeper, with a clock of its own."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from coordinator.core.actions import CallBranch
from coordinator.core.definition import SagaDefinition
from coordinator.core.errors import StoreUnavailable
from coordinator.core.inputs import BranchReplied, Outcome
from coordinator.core.model import (
    GlobalTransaction,
    Key,
    participant_of,
)
from coordinator.core.quarantine import is_quarantined
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
)
from coordinator.engine.dispatcher import Dispatcher
from coordinator.engine.engine import Engine
from coordinator.engine.leases import Leases
from coordinator.engine.let_go import LetGo
from coordinator.engine.resident import Reply, Resident, Ticket
from coordinator.engine.sweeper import Sweeper
from tests.simulation.disk import SimStore
from tests.simulation.loop import Alarm, Process

if TYPE_CHECKING:
    from tests.simulation.participant import Participant
    from tests.simulation.world import World

EPOCH_MS = 1_700_000_000_000

_NEVER_FORWARD_AGAIN = frozenset(
    {
        BranchStatus.REFUSED,
        BranchStatus.COMPENSATING,
        BranchStatus.COMPENSATED,
        BranchStatus.CANCELLING,
        BranchStatus.CANCELLED,
        BranchStatus.ABANDONED,
    }
)


class SimClock:
    """A wall clock that is set wrong, runs fast or slow, and jumps."""

    def __init__(self, world: "World", process: Process | None) -> None:
        self._loop = world.loop
        self._rng = world.rng
        self._process = process
        self.offset_ms = EPOCH_MS
        self.rate_ppm = 1_000_000

    def now(self) -> int:
        loop = self._loop  # as monotonic_ms, written out: it is asked most of all
        return loop.time_us * self.rate_ppm // 1_000_000_000 + self.offset_ms

    def monotonic_ms(self) -> int:
        return self._loop.time_us * self.rate_ppm // 1_000_000_000

    def call_at(self, at: int, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(callback)
        delay_us = max(0, at - self.now()) * 1_000_000_000 // self.rate_ppm
        delay_us += int(self._rng.random() * 1_000)
        self._loop.later(delay_us, self._process, alarm.ring)
        return alarm


class SimLink:
    """A session that a participant opened to this node.

    Attributes:
        is_broken: it has lost a message; neither side has noticed yet.
    """

    def __init__(
        self, world: "World", node: "Node", participant: "Participant"
    ) -> None:
        self._world = world
        self.node = node
        self.participant = participant
        self.is_broken = False

    def send(self, calls: Sequence[tuple[int, CallBranch]]) -> None:
        for call_id, call in calls:
            self._world.checks.overload.left(self.node, self.participant.name, call)
            sent = self._world.transmit(
                self.node.name,
                self.participant.name,
                self.participant.process,
                self.participant.receive,
                call,
                lambda outcome, call_id=call_id: self._reply(call_id, outcome),
            )
            if not sent:
                self._break()

    def _reply(self, call_id: int, outcome: Outcome) -> None:
        sent = self._world.transmit(
            self.participant.name, self.node.name, self.node, self._hear, call_id,
            outcome,
        )  # fmt: skip
        if not sent:
            self._break()

    def _break(self) -> None:
        """A session that lost something ends, sooner or later, and is opened again."""
        if not self.is_broken:
            self.is_broken = True
            world = self._world
            delay = world.rng.randint(1_000, 500_000)
            world.loop.later(delay, self.node, self.node.renew, self.participant)

    def _hear(self, call_id: int, outcome: Outcome) -> None:
        self.node.dispatcher.answered(self, [(call_id, outcome)])


class WatchedSweeper(Sweeper):
    """The real one; whether it was fair is judged after each sweep."""

    def __init__(self, node: "Node", **ports: object) -> None:
        super().__init__(**ports)
        self._node = node

    async def sweep(self) -> int:
        fairness = self._node._world.checks.fairness
        waiting = fairness.waiting(self._node)
        taken = await super().sweep()
        fairness.swept(self._node, waiting)
        return taken


class WatchedEngine(Engine):
    """The real one; what leaves memory and comes back is noted."""

    def __init__(self, world: "World", **ports: object) -> None:
        super().__init__(**ports)
        self._world = world
        self._parked: set[Key] = set()

    def _park(self, resident: Resident, due_at: int | None, park_at: int) -> int | None:
        at = super()._park(resident, due_at, park_at)
        if resident.key not in self._residents:
            self._world.rare.hit("parked")
            self._parked.add(resident.key)
        return at

    def _load(self, residents: list[Resident]) -> None:
        parked = self._parked.intersection(r.key for r in residents)
        if parked:
            self._world.rare.hit("parked_and_read_again")
            self._parked -= parked
        super()._load(residents)


class Node(Process):
    """A process that serves, until it crashes; its successor is another node.

    Attributes:
        aborted: transactions that this node knows to be decided against.
        given_up: branches that this node knows to be undone or abandoned.
        paused: transactions that this node knows to be held by an operator, or for one.
        claimed: what its sweeper has just claimed.
        listed: the nodes that had a row when its sweeper listed what is due.
        owners: who drives each transaction, as far as this node was told.
    """

    def __init__(self, world: "World", index: int, incarnation: int) -> None:
        super().__init__(f"n{index}.{incarnation}")
        self.index = index
        self._world = world
        self.aborted: set[Key] = set()
        self.given_up: set[tuple[Key, str]] = set()
        self.paused: set[Key] = set()
        self.claimed: set[Key] = set()
        self.listed: frozenset[str] = frozenset()
        self.owners: dict[Key, str] = {}
        self.clock = world.clock_of(index, self)
        self.store = SimStore(world, self)
        self.dispatcher = Dispatcher(
            self.clock,
            self._on_replies,
            self._on_returned,
            in_turn=self._in_turn,
            on_waiting=self._on_waiting,
            living=lambda: len(self.leases.living()),
        )
        self.engine = WatchedEngine(
            world,
            store=self.store,
            participants=self,
            definitions=self,
            clock=self.clock,
            node_id=self.name,
            limits=world.limits,
        )
        self.leases = Leases(self.store, self.clock, node_id=self.name, address="sim")
        self.sweeper = WatchedSweeper(
            self,
            store=self.store,
            engine=self,
            leases=self.leases,
            clock=self.clock,
            node_id=self.name,
        )
        self.is_doomed = False
        self.links: dict[str, SimLink] = {}
        self.loops: list[object] = []

    def start(self) -> None:
        """Serve; runs as this process."""
        loop = self._world.loop
        self.loops = [
            loop.create_task(it) for it in (self.leases.run(), self.sweeper.run())
        ]

    def crash(self) -> None:
        super().crash()
        self._world.node_crashed(self)

    # ---- Ports that the engine uses -----------------------------------------------

    def send(self, calls: Sequence[CallBranch]) -> None:
        poison = self._world.poison
        if poison and any(call.key.gid == poison for call in calls):
            self.crash_at, self.is_doomed = self.steps + 1, True
            return
        for call in calls:
            self._world.checks.sent(self, call)
        self.dispatcher.send(calls)
        for call in calls:
            if self._waits(call):
                self._world.checks.overload.put_off(self, call)
            else:
                self._world.checks.recoveries.sent(self, call)

    def _waits(self, call: CallBranch) -> bool:
        """Whether it has been put off until its turn comes."""
        lane = self.dispatcher._lanes[participant_of(call.operation)]
        call_id = lane.waiting.get((call.key, call.branch_id))
        return call_id is not None and self.dispatcher._here[call_id] is call

    async def get(self, namespace: str, digest: str) -> SagaDefinition:
        if self._world.happens("read_fail"):
            raise StoreUnavailable
        return self._world.definitions[digest]

    def _on_replies(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        self._world.checks.replied(replies)
        self._world.checks.overload.heard(self, replies)
        self.engine.replied(replies)

    def _on_returned(self, participant: str) -> None:
        self._world.checks.recoveries.returned(self, participant)
        self._world.checks.overload.returned(self, participant)
        self.engine.participant_returned(participant)

    def _in_turn(self, call: CallBranch) -> CallBranch | None:
        wanted = self.engine.in_turn(call)
        if wanted is not None:
            self._world.checks.sent(self, wanted, was_due=True)
            self._world.checks.recoveries.sent(self, wanted)
        return wanted

    def _on_waiting(self, calls: Sequence[CallBranch]) -> None:
        self._world.rare.hit("call_waited_long")
        self.engine.waits_long(calls)

    # ---- What the sweeper uses of the engine, watched ------------------------------

    def drives(self, key: Key, revision: int) -> bool:
        engine = self.engine
        resident = engine._residents.get(key)
        if resident is not None and resident.waiting and engine._is_foreign(resident):
            self._world.rare.hit("foreign_resident_waits")
        return engine.drives(key, revision)

    @property
    def let_go(self) -> LetGo:
        return self.engine.let_go

    @property
    def has_room(self) -> bool:
        return self.engine.has_room

    def watch(self, key: Key, changed: Reply) -> Ticket:
        return self.engine.watch(key, changed)

    def take_over(self, keys: Sequence[Key]) -> None:
        if keys and any(key not in self.claimed for key in keys):
            self._world.rare.hit("transaction_forgotten_and_taken_up")
        self.claimed.clear()
        self._world.checks.fairness.attempted(self, keys)
        self.engine.take_over(keys)

    # ---- What the world does to it ------------------------------------------------

    def learns(self, tx: GlobalTransaction) -> None:
        """From here on it cannot claim not to know this."""
        key = tx.key
        self.owners[key] = tx.owner
        if tx.paused_at is None and not is_quarantined(tx):
            self.paused.discard(key)
        else:
            self.paused.add(key)
        if tx.decision is Decision.ABORT:
            self.aborted.add(key)
        if tx.request.mode is Mode.SAGA:
            self.given_up.update(
                (key, branch_id)
                for branch_id, branch in tx.branches.items()
                if branch.status in _NEVER_FORWARD_AGAIN
            )

    def attach(self, participant: "Participant") -> None:
        """The participant opens a session; runs as this process."""
        if participant.name in self.links or not participant.process.alive:
            return
        link = SimLink(self._world, self, participant)
        self.links[participant.name] = link
        self.dispatcher.attach(
            participant.name, link, credits=self._world.scenario.credits
        )

    def detach(self, participant: "Participant") -> None:
        """Its session breaks; runs as this process."""
        if link := self.links.pop(participant.name, None):
            self.dispatcher.detach(link)

    def renew(self, participant: "Participant") -> None:
        """A session that lost something is replaced; runs as this process."""
        link = self.links.get(participant.name)
        if link is not None and link.is_broken:
            self.detach(participant)
        self.attach(participant)
