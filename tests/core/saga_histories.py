"""Histories of one saga, of any kind: what may be heard, and what is checked."""

from dataclasses import dataclass, field

from hypothesis import strategies as st

from coordinator.core import machine
from coordinator.core.actions import CallBranch
from coordinator.core.definition import (
    BranchKind,
    Constant,
    Reference,
    SagaDefinition,
    Template,
    TemplateMap,
)
from coordinator.core.events import Event, StepStarted
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    CancelByOperator,
    Confirm,
    Input,
    Outcome,
    Pause,
    Refused,
    Resolve,
    Resume,
    Signal,
    Submit,
    Succeeded,
    Try,
    Unknown,
    Woken,
)
from coordinator.core.model import UNDER_WAY, Payload
from coordinator.core.saga import OUTPUT_NEEDED
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
)
from tests.core.any_saga import SIGNALS, sagas
from tests.core.histories import (
    COMMON,
    NAMES,
    OPERATORS,
    OUTCOMES,
    SPECS,
    History,
    Move,
    SettledByHand,
    any_of,
)
from tests.core.saga_rules import Rules
from tests.core.world import JSON, definition, saga_request, step, tcc_request

# ---- What may be heard ------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> SagaDefinition:
    """Up to five steps, each needing any of those before it."""
    steps = []
    for number, name in enumerate(NAMES[: draw(st.integers(1, 5))]):
        before = NAMES[:number]
        needs = tuple(n for n in before if draw(st.booleans()))
        reads = Reference(("steps", needs[0], "output"), "s") if needs else Constant(1)
        deep = Reference(("steps", name, "output", "id"), "own id")
        steps.append(
            step(
                name,
                *needs,
                input=draw(st.sampled_from([Constant({}), reads])),
                undo=draw(st.sampled_from([True, True, False])),
                undo_input=draw(st.sampled_from([None, deep, deep])),
            )
        )
    output: Template | None = draw(
        st.sampled_from([None, TemplateMap((("x", Reference(("input", "x"), "x")),))])
    )
    return definition(*steps, output=output)


OK = Succeeded(Payload(b'{"id":1,"ok":true}', JSON))
TOO_LARGE = Succeeded(Payload(b'"' + b"x" * (256 * 1024) + b'"', JSON))
ANSWERS = any_of(
    *[st.just(OK)] * 5,
    st.just(Succeeded(Payload(b'{"id":2,"ok":false}', JSON))),
    OUTCOMES,
    st.sampled_from(
        [
            Refused("NO"),
            Unknown("NEVER"),
            Unknown(OUTPUT_NEEDED, output=OK.output),
            TOO_LARGE,
        ]
    ),
)


@dataclass(frozen=True)
class Asked:
    """One of the calls that are out is answered."""

    number: int
    outcome: Outcome

    def meant(self, history: History) -> Input | None:
        calls = machine.due(history.tx, history.now)
        if not calls:
            return Woken()
        call = calls[self.number % len(calls)]
        return BranchReplied(call.branch_id, call.phase, call.attempt, self.outcome)


@dataclass(frozen=True)
class Completed:
    """Somebody completes a branch of any kind, in any phase."""

    number: int
    phase: Phase | None
    """``None``: the one that is under way, if one is."""
    outcome: Outcome

    def meant(self, history: History) -> Input | None:
        branches = list(history.tx.branches.values())
        branch = branches[self.number % len(branches)]
        phase = self.phase or UNDER_WAY.get(branch.status, Phase.ACTION)
        return BranchReplied(branch.spec.branch_id, phase, 0, self.outcome)


@dataclass(frozen=True)
class Rang:
    """It is the time of the next timer; the calls that are out stay out."""

    def meant(self, history: History) -> Input | None:
        out = {c.branch_id for c in machine.due(history.tx, history.now)}
        due_at = machine.due_at(history.tx, out)
        history.now = max(history.now, due_at or 0)
        return Woken()


SAGA_BEGINS = graphs().map(lambda graph: Submit(saga_request(), graph))
ANY_SAGA_BEGINS = sagas().map(lambda graph: Submit(saga_request(), graph))
SAGA_MOVES: st.SearchStrategy[Move] = any_of(
    COMMON,
    COMMON,
    COMMON,
    COMMON,
    st.just(Begin(tcc_request(digest="other"))),
    st.just(Confirm()),
    st.builds(lambda spec: Try((spec,)), SPECS),
)
HEARD: st.SearchStrategy[Move] = st.builds(Asked, st.integers(0, 5), ANSWERS)
RARE: st.SearchStrategy[Move] = any_of(
    SAGA_MOVES,
    st.builds(
        Completed, st.integers(0, 40), st.none() | st.sampled_from(Phase), ANSWERS
    ),
    st.builds(Completed, st.integers(0, 40), st.none(), st.just(OK)),
    OPERATORS,
    st.builds(SettledByHand, st.integers(0, 40)),
    st.builds(SettledByHand, st.integers(0, 40)),
    st.just(CancelByOperator("eve", "no")),
    st.sampled_from([Pause("eve", "wait"), Resume("eve", "go")]),
)
ANY_SAGA_MOVES: st.SearchStrategy[Move] = any_of(
    *[HEARD] * 9,
    st.just(Rang()),
    st.builds(
        Signal,
        st.sampled_from([*SIGNALS, *SIGNALS, "other"]),
        st.sampled_from([Payload(b"1", JSON), Payload(b"2", JSON)]),
    ),
    RARE,
    RARE,
)


# ---- A history, and what is checked at each step ----------------------------------


@dataclass
class SagaHistory(History):
    """One saga, held against the rules as they look from outside."""

    rules: Rules = field(init=False)
    waits_ms: int = 0
    """How long the timers that have begun were to take, all together."""

    def __post_init__(self) -> None:
        assert self.tx.definition is not None
        self.rules = Rules(self.tx.definition)

    def check_fact(self, event: Event) -> None:
        self.rules.hear(event)
        if isinstance(event, StepStarted) and event.spec.kind is BranchKind.WAIT:
            assert event.wake_at is not None
            self.waits_ms += event.wake_at - event.at

    def check_call(self, call: CallBranch) -> None:
        self.rules.check_call(call)

    def play(self, move: Move) -> None:
        super().play(move)
        if isinstance(move, Woken):
            self.check_no_spin()

    def check_no_spin(self) -> None:
        """Looking at the clock comes to an end: nothing stays due that is not asked."""
        tx = self.tx
        for _ in range(len(self.rules.spots) + 1):
            tx, events = machine.step(tx, Woken(), self.now)
            if not events:
                break
        out = {call.branch_id for call in machine.due(tx, self.now)}
        due_at = machine.due_at(tx, out)
        assert due_at is None or due_at > self.now, "due, and nothing to do"

    def is_at_rest(self) -> bool:
        """It has ended, or somebody has to come: an operator, or a signal."""
        return super().is_at_rest() or bool(self.stuck()) or bool(self.awaiting())

    def stuck(self) -> list[str]:
        """What waits for a person alone; then a person has been called (S6)."""
        found = [
            branch_id
            for branch_id, branch in self.tx.branches.items()
            if branch.status is BranchStatus.WAITING
            and branch.due_at is None
            and branch.error_code
        ]
        assert not found or self.tx.attention_since is not None, "S6"
        assert not found or self.tx.decision is Decision.COMMIT, "S6"
        return found

    def awaiting(self) -> list[str]:
        return [
            branch_id
            for branch_id, branch in self.tx.branches.items()
            if branch.status is BranchStatus.WAITING
            and branch.spec.kind is BranchKind.AWAIT
        ]

    def heal(self) -> None:
        """V1: everybody answers from now on, and it ends within its bound."""
        self.play(Resume("eve", "go"))
        due = [b.due_at or 0 for b in self.tx.branches.values()]
        latest = max(self.now, self.tx.request.deadline_at, *due, 0)
        waited_ms = self.waits_ms
        for _ in range(3 * len(self.rules.spots) + 6):
            if self.tx.status.is_final:
                break
            for name in SIGNALS:
                self.play(Signal(name, Payload(b"1", JSON)))
            for call in machine.due(self.tx, self.now):
                self.play(BranchReplied(call.branch_id, call.phase, call.attempt, OK))
            for branch_id in self.stuck():
                self.play(Resolve(branch_id, "eve", "by hand"))
            if not machine.due(self.tx, self.now):
                self.play(Rang())
        assert self.tx.status.is_final, "V1"
        assert self.now <= latest + self.waits_ms - waited_ms, "V1"
        assert self.tx.decision is not Decision.NONE
