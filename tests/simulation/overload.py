"""V4: what reaches a participant that fails is bounded, whatever its nodes believe."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordinator.core import breaker
from coordinator.core.actions import CallBranch
from coordinator.core.breaker import State
from coordinator.core.inputs import BranchReplied, Unknown
from coordinator.core.model import Key, participant_of
from coordinator.core.words import Phase
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

_NO_ANSWERS = frozenset(
    {
        "DISCONNECTED",
        "OUTPUT_NEEDED",
        "PARTICIPANT_OVERLOADED",
        "PARTICIPANT_UNAVAILABLE",
    }
)
"""Unknown outcomes that do not say that the participant fails."""

Place = tuple[Key, str, Phase, int]


def _place(key: Key, call: CallBranch | BranchReplied) -> Place:
    return key, call.branch_id, call.phase, call.attempt


@dataclass
class _Record:
    """What one node and one participant had to do with each other.

    Attributes:
        outcomes: when, and whether the call failed; since its last return.
        back_at: when that was.
        dead_since: from when on only probes may go out, beyond doubt.
        ill_since: from when on retries have but their budget, beyond doubt.
    """

    outcomes: list[tuple[int, bool]] = field(default_factory=list)
    back_at: int = -1
    out: set[Place] = field(default_factory=set)
    state: State = State.OPEN
    dead_since: int | None = None
    probes: int = 0
    ill_since: int | None = None
    firsts: int = 0
    retries: int = 0

    def heard(self, now: int, *, failed: bool) -> None:
        """Only from an outcome, when it hears it, the breaker concludes that all fails;
        not from what grows old meanwhile.
        """
        self.outcomes.append((now, failed))
        recent, _ = self._looked_at(now)
        if not (self._are_enough(now) and all(recent)):
            self.dead_since, self.probes = None, 0
        elif self.dead_since is None:
            self.dead_since = now

    def leaves(self, now: int) -> None:
        """A call is about to go out."""
        recent, half = self._looked_at(now)
        enough = self._are_enough(now)
        if not (enough and all(recent)):
            self.dead_since, self.probes = None, 0
        if not (enough and sum(half) > breaker.ILL_SHARE * len(recent)):
            self.ill_since, self.firsts, self.retries = None, 0, 0
        elif self.ill_since is None:
            self.ill_since = now

    def _looked_at(self, now: int) -> tuple[list[bool], list[bool]]:
        """Which calls failed of a whole window and of half of one: the breaker looks at
        something between, and what holds for both holds for it.
        """
        recent = [o for o in self.outcomes if o[0] > now - breaker.WINDOW_MS]
        half = [failed for at, failed in recent if at > now - breaker.WINDOW_MS // 2]
        return [failed for _, failed in recent], half

    def _are_enough(self, now: int) -> bool:
        """Whether there is something to conclude from, also without the answer by which
        the participant came back: the breaker does not count it.
        """
        since = max(self.back_at, now - breaker.WINDOW_MS // 2)
        return sum(at > since for at, _ in self.outcomes) >= breaker.CALLS_MIN


class Overload:
    """Follows every call from its node to its outcome."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._records: dict[tuple[str, str], _Record] = {}
        self._put_off: dict[int, CallBranch] = {}

    def put_off(self, node: "Node", call: CallBranch) -> None:
        """A call has to wait for its turn."""
        self._put_off[id(call)] = call
        state = node.dispatcher._lanes[participant_of(call.operation)].breaker.state
        self._world.rare.hit(_WAITS[state])

    def left(self, node: "Node", participant: str, call: CallBranch) -> None:
        """A call goes out to its participant."""
        record, now = self._record(node, participant), node.clock.monotonic_ms()
        place = _place(call.key, call)
        if id(call) in self._put_off:  # who is looked up again goes out as a new one
            text = f"{call.branch_id} was put off, and went out unasked"
            raise Violation("L4", call.key.gid, text)
        record.out.add(place)
        record.leaves(now)
        if record.dead_since is not None:
            record.probes += 1
            allowed = (now - record.dead_since) * breaker.PROBES_PER_SECOND / 1_000
            if record.probes > 2 + allowed:
                text = f"{record.probes} calls to {participant}, which is failing"
                raise Violation("V4", call.key.gid, text)
        if record.ill_since is not None and record.state is State.CLOSED:
            record.firsts += call.attempt == 1
            record.retries += call.attempt > 1
            earned = breaker.BUDGET_SHARE * record.firsts
            floor = breaker.FLOOR_PER_SECOND * (now - record.ill_since) / 1_000
            if record.retries > breaker.BUDGET_MAX + 1 + earned + floor:
                text = f"{record.retries} retries at {participant}, which is failing"
                raise Violation("V4", call.key.gid, text)

    def heard(self, node: "Node", replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        """A node's dispatcher hands outcomes to its engine."""
        now = node.clock.monotonic_ms()
        for key, reply in replies:
            place = _place(key, reply)
            for (name, _), record in self._records.items():
                if name != node.name or place not in record.out:
                    continue
                record.out.discard(place)
                code = reply.outcome.code if isinstance(reply.outcome, Unknown) else ""
                if code not in _NO_ANSWERS or code == "OUTPUT_NEEDED":
                    failed = bool(code) and code != "OUTPUT_NEEDED"
                    record.heard(now, failed=failed)
                    if failed and record.state is State.PROBING:
                        self._world.rare.hit("probe_failed")

    def returned(self, node: "Node", participant: str) -> None:
        """It is judged anew."""
        out, now = self._record(node, participant).out, node.clock.monotonic_ms()
        self._records[node.name, participant] = _Record(
            back_at=now, out=out, state=State.CLOSED
        )

    def _record(self, node: "Node", participant: str) -> _Record:
        record = self._records.get((node.name, participant))
        if record is None:
            record = self._records[node.name, participant] = _Record()
        state = node.dispatcher._lanes[participant].breaker.state
        if state is not record.state:
            if state is State.PROBING:
                self._world.rare.hit("breaker_opened")
            elif record.state is State.PROBING and state is State.CLOSED:
                self._world.rare.hit("breaker_closed")
            record.state = state
        return record


_WAITS = {
    State.OPEN: "call_waited_for_its_participant",
    State.PROBING: "call_waited_for_a_probe",
    State.CLOSED: "retry_waited_for_its_turn",
}
