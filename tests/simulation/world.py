"""The world of one seed: nodes, participants, clients, a network and a database.

It runs in two parts. First faults happen, and every rule is checked at every event.
Then everything heals, and every transaction has to end in bounded time (V1). At last
stray calls of every kind are sent once more: nothing may come of them.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from zlib import crc32

from coordinator.core import breaker, quarantine
from coordinator.core.actions import CallBranch
from coordinator.core.definition import SagaDefinition
from coordinator.core.inputs import BranchReplied, Succeeded
from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    NO_PAYLOAD,
    UNDER_WAY,
    GlobalTransaction,
    Key,
    Payload,
)
from coordinator.core.words import (
    BranchStatus,
    Mode,
    Phase,
    Status,
)
from coordinator.engine.limits import EngineLimits
from coordinator.storage.memory import MemoryStore
from tests.simulation import chaos, generators
from tests.simulation.checks import Checks
from tests.simulation.client import Client
from tests.simulation.dice import Dice
from tests.simulation.loop import STEP_MAX, Process, SimLoop
from tests.simulation.node import EPOCH_MS, Node, SimClock
from tests.simulation.participant import Participant
from tests.simulation.rare import Rare
from tests.simulation.scenario import Limits, draw, turn_knobs
from tests.simulation.verdict import Violation

SKEW_MS = 2_000
"""A wall clock is wrong by at most this much."""

DEADLINE_MAX_MS = 4_000
"""No generator asks for more."""

CRASHES_MAX = 6
"""Of one poisoned transaction: three, and three more after its initiator moved it; as
far as no hold lies between them."""

HOLDS_MAX = 3
"""That one transaction waits for: it may be blamed again for what died beside it."""

CHAIN_MAX = 80
"""Waits that may follow one another in one transaction: two a branch of a saga."""


class World:
    """Everything that one seed makes happen.

    Attributes:
        digest: of the trace, if anybody reads it; the same seed gives the same,
            anywhere.
        was_paused: names of nodes that were zombies once.
        poison: the gid that kills whoever drives it, also after everything else has
            healed; empty = none.
        seen_held: what an operator has looked at while it was quarantined.
    """

    def __init__(
        self,
        seed: int,
        limits: Limits | None = None,
        write: Callable[[str], object] | None = None,
    ) -> None:
        self.scenario = draw(seed, limits or Limits())
        self.faults = self.scenario.faults
        self.faulty = True
        self.over = False
        self.digest = 0
        self.rng = Dice(seed * 2)
        self.loop = SimLoop()
        self.rare = Rare()
        self.checks = Checks(self)
        self.data = MemoryStore()
        self.definitions: dict[str, SagaDefinition] = {}
        self.cuts: set[tuple[str, str]] = set()
        self.was_paused: set[str] = set()
        self.poison = ""
        self.seen_held: set[Key] = set()
        self.clients: list[Client] = []
        self.open_clients = 0
        self._write = write
        self._number = 0
        self._incarnation = 0
        self._rate = self.scenario.rate
        self.limits = EngineLimits(
            resident_max=self.scenario.resident_max,
            parked_after_ms=self.scenario.parked_after_ms,
            parked_for_ms=self.scenario.parked_for_ms,
            timers_max=self.scenario.timers_max,
            commits_in_flight_max=self.scenario.commits_in_flight_max,
        )
        self._clocks = [self._new_clock() for _ in range(self.scenario.nodes)]
        self.participants = [
            Participant(self, i) for i in range(self.scenario.participants)
        ]
        self.nodes: list[Node] = []

    # ---- Chance --------------------------------------------------------------------

    def coin(self) -> bool:
        return self.rng.random() < 0.5

    def happens(self, fault: str) -> bool:
        """Whether this fault happens here and now."""
        return self.faulty and fault in self.faults and self.rng.random() < self._rate

    def next_number(self) -> int:
        self._number += 1
        return self._number

    # ---- Database, network, clocks -------------------------------------------------

    def store_latency(self) -> int:
        delay = int(self.rng.random() * 800)
        return delay + self.rng.randint(0, 400_000) * self.happens("store_slow")

    def commit_fate(self) -> str:
        if self.happens("commit_lost"):
            self.rare.hit("commit_unknown_not_applied")
            return "lost"
        if self.happens("commit_kept"):
            self.rare.hit("commit_unknown_applied")
            return "kept"
        return "ok"

    def transmit(
        self, source: str, target: str, process: Process, callback: Any, *args: Any
    ) -> bool:
        """A message on its way: it may be lost (false), doubled, late or overtaken."""
        if self.faulty:
            if (source, target) in self.cuts or self.happens("drop"):
                return False
            if self.happens("duplicate"):
                self._deliver(process, callback, args)
        self._deliver(process, callback, args)
        return True

    def _deliver(self, process: Process, callback: Any, args: Any) -> None:
        delay = 100 + int(self.rng.random() * 2_000)
        if self.happens("delay"):
            delay += self.rng.randint(0, 1_500_000)
        self.loop.later(delay, process, callback, *args)

    def _new_clock(self) -> tuple[int, int]:
        if "clock_skew" not in self.faults:
            return EPOCH_MS, 1_000_000
        skew = self.rng.randint(-SKEW_MS // 2, SKEW_MS // 2)
        return EPOCH_MS + skew, 1_000_000 + self.rng.randint(-20_000, 20_000)

    def clock_of(self, index: int, process: Process) -> SimClock:
        clock = SimClock(self, process)
        clock.offset_ms, clock.rate_ppm = self._clocks[index]
        return clock

    # ---- Nodes and participants ----------------------------------------------------

    def start_node(self, index: int) -> None:
        """A fresh process at this place; its id was never used before (L2)."""
        if self.over:
            return
        self._incarnation += 1
        node = Node(self, index, self._incarnation)
        if index < len(self.nodes):
            self.nodes[index] = node
        else:
            self.nodes.append(node)
        self.loop.soon(node, node.start)
        for participant in self.participants:
            self.loop.soon(node, node.attach, participant)

    def node_crashed(self, node: Node) -> None:
        self.trace("crash", node.name)
        self.rare.hit("node_crashed")
        if not any(n.alive for n in self.nodes):
            self.rare.hit("all_nodes_down")
        delay = self.rng.randint(1_000, 1_500_000) if self.faulty else 0
        self.loop.later(delay, None, self.start_node, node.index)

    def alive_node(self) -> Node | None:
        alive = [node for node in self.nodes if node.alive]
        return self.rng.choice(alive) if alive else None

    def complete_later(self, participant: Participant, call: CallBranch) -> None:
        """What is pending at a participant is done one day, and it says so."""
        if self.checks.probing:
            return
        delay = self.rng.randint(1_000, 400_000)
        self.loop.later(delay, participant.process, self._complete, participant, call)
        if call.key in self.checks.durable and (
            self.checks.durable[call.key].request.mode is Mode.SAGA
        ):
            self.loop.later(delay, None, self._complete_again, participant, call)

    def _complete(self, participant: Participant, call: CallBranch) -> None:
        branch = (call.key.gid, call.branch_id)
        output = self.checks.outputs.setdefault(branch, participant.new_output())
        self.checks.succeeded.add(branch)
        payload = Payload(output, JSON_CONTENT_TYPE)
        what = BranchReplied(call.branch_id, call.phase, 0, Succeeded(payload))

        def heard(answer: object) -> None:
            if not isinstance(answer, GlobalTransaction):
                return
            self.rare.hit("pending_completed_from_outside")
            durable = self.checks.durable[call.key].branches[call.branch_id]
            if UNDER_WAY.get(durable.status) is call.phase:
                text = f"the outcome of {call.branch_id} was accepted, and is not kept"
                raise Violation("T7", call.key.gid, text)

        if node := self.alive_node():
            self.transmit(
                participant.name, node.name, node, node.engine.submit, call.key, what,
                heard,
            )  # fmt: skip

    def _complete_again(self, participant: Participant, call: CallBranch) -> None:
        """After the faults somebody notices that a saga still waits for this: once it
        only goes forward, nothing else ends it.
        """
        tx = self.checks.durable.get(call.key)
        if self.over or tx is None or tx.status.is_final:
            return
        if UNDER_WAY.get(tx.branches[call.branch_id].status) is not call.phase:
            return
        if not self.faulty:
            self._complete(participant, call)
        self.loop.later(2_000_000, None, self._complete_again, participant, call)

    # ---- Running -------------------------------------------------------------------

    def trace(self, *what: object) -> None:
        if self._write is not None:
            line = f"{self.loop.time_us} {what}"
            self.digest = crc32(line.encode(), self.digest)
            self._write(line)

    def run(self) -> None:
        """Live through the seed. Raises ``Violation``."""
        turn_knobs(self.scenario)
        Violation.first, Violation.seen_by = None, self.loop
        asyncio._set_running_loop(self.loop)
        try:
            for index in range(self.scenario.nodes):
                self.start_node(index)
            for number in range(self.scenario.transactions):
                generators.launch(self, f"g{number}")
            chaos.plan(self)
            self.loop.later(self.scenario.heal_us, None, self._heal)
            self._run_until_ended()
            self._probe()
        finally:
            asyncio._set_running_loop(None)

    def _run_until_ended(self) -> None:
        loop, checks = self.loop, self.checks
        latest = self._latest_us()
        while self.open_clients or len(checks.ended) < len(checks.durable):
            if not loop.run(latest):
                raise Violation("V1", "", "nothing will ever happen again")
            if Violation.first is not None:
                raise Violation.first
            if loop.faults:
                raise Violation("BUG", "", f"nobody caught {loop.faults[0]!r}")
            if loop.steps > STEP_MAX:
                raise Violation("V1", "", "callbacks without end")
            if loop.time_us > latest:
                late = [k.gid for k in checks.durable if k.gid not in checks.ended]
                raise Violation("V1", ",".join(late), "not ended in time")

    def _latest_us(self) -> int:
        """V1, generously: every wait of the longest chain at its longest. What failed
        before the healing slows retries down until a breaker has forgotten it; from
        then on a turn or a probe is never further away than a call's time.
        """
        s = self.scenario
        cap = max(s.forward.interval_max_ms, s.phase_two.interval_max_ms)
        wait = cap + s.timeout_ms + s.pending_poll_ms + 10
        once = DEADLINE_MAX_MS + 3 * SKEW_MS + s.ttl_ms + 4 * s.beat_ms
        once += breaker.WINDOW_MS
        lost = s.ttl_ms + 4 * s.beat_ms
        once += HOLDS_MAX * (quarantine.QUARANTINE_MS_MAX + lost + s.still_waiting_ms)
        if "poison" in s.faults:
            once += CRASHES_MAX * lost
            # One node dies of it in every hold, until all others have ended.
            wait += wait * lost // s.quarantine_ms
        return s.heal_us + 1_000 * (once + CHAIN_MAX * wait) * (1 + s.transactions)

    def _heal(self) -> None:
        """No fault from here on: what was down comes back, what was cut is joined."""
        self.trace("heal")
        self.faulty = False
        self.cuts.clear()
        chaos.release_all(self)
        for node in self.nodes:
            if not node.is_doomed:  # what it was to send has not gone out
                node.crash_at = 0
            if node.stash is not None:
                self.loop.resume(node)
        for participant in self.participants:
            participant.fails = False
            if not participant.process.alive:
                participant.restart()
            elif participant.process.stash is not None:
                self.loop.resume(participant.process)
        for node in self.nodes:
            for participant in self.participants:
                self.loop.soon(node, node.renew, participant)

    def _probe(self) -> None:
        """After the end: what is still on its way arrives, and strays are sent."""
        self.over = True
        for node in self.nodes:
            node.alive = False
        for client in self.clients:
            client.alive = False
        self.loop.current = None
        while self.loop.run():
            pass
        self.checks.probing = True
        for participant in self.participants:
            participant.plans.clear()
            participant.nested.clear()
        for key, tx in self.checks.durable.items():
            if tx.status is Status.RESOLVED or not tx.status.is_final:
                continue  # a begin may arrive now
            for branch_id, branch in tx.branches.items():
                if not self.checks.undoable(tx, branch_id):
                    continue
                for phase in _STRAYS.get(branch.status, ()):
                    self._stray(key, branch_id, branch.spec.operation, phase)
        while self.loop.run():
            pass

    def _stray(self, key: Key, branch_id: str, operation: str, phase: Phase) -> None:
        name = operation.partition(".")[0]
        participant = next(p for p in self.participants if p.name == name)
        payload = Payload(b"{}", JSON_CONTENT_TYPE)
        call = CallBranch(key, branch_id, operation, phase, 1, payload, NO_PAYLOAD, 1)
        participant.receive(call, lambda outcome: None)


_STRAYS = {
    BranchStatus.CONFIRMED: (Phase.TRY, Phase.CONFIRM, Phase.CANCEL),
    BranchStatus.CANCELLED: (Phase.TRY, Phase.CONFIRM, Phase.CANCEL),
    BranchStatus.COMPENSATED: (Phase.ACTION, Phase.COMPENSATION),
    # The undoing of what was done could not be told from a wish to undo it.
    BranchStatus.SUCCEEDED: (Phase.ACTION,),
}
"""What a participant refuses, or has done already, once a transaction has ended."""
