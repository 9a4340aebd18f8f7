"""Histories of one transaction: anything that may be heard, in any order."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, Self

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from coordinator.core import machine
from coordinator.core.actions import CallBranch
from coordinator.core.errors import Refusal
from coordinator.core.events import (
    BranchResolved,
    BranchSucceeded,
    Decided,
    Event,
    Finished,
)
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Cancel,
    CancelByOperator,
    Confirm,
    Input,
    Observe,
    Outcome,
    Pause,
    Pending,
    Refused,
    Register,
    Resolve,
    Resume,
    RetryNow,
    Submit,
    Succeeded,
    Try,
    Unknown,
    Woken,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    UNDER_WAY,
    BranchSpec,
    GlobalTransaction,
    Payload,
    open_of,
)
from coordinator.core.saga import OUTPUT_NEEDED
from coordinator.core.tcc import CHECK_BACK_ID
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
)
from tests.core.world import (
    DEADLINE,
    JSON,
    tcc_request,
)

FACTOR = int(os.environ.get("TERCET_EXAMPLES", "1"))
"""How many times more examples than continuous integration; above 1 they are new
each time."""


def examples(count: int) -> settings:
    """The same examples on every machine, unless more were asked for."""
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# ---- What may be heard ------------------------------------------------------------


@st.composite
def any_of(draw: st.DrawFn, *kinds: st.SearchStrategy["Move"]) -> "Move":
    """Each kind as likely as every other; ``one_of`` would flatten what is nested."""
    return draw(kinds[draw(st.integers(0, len(kinds) - 1))])


NAMES = ("a", "b", "c", "d", "e")
PAYLOADS = st.sampled_from(
    [
        NO_PAYLOAD,
        Payload(b'{"id":1}', JSON),
        Payload(b"{}", JSON),
        Payload(b"\0", "image/png"),
    ]
)
WAITS = st.sampled_from([None, 1, 500, 90_000])

OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Succeeded, PAYLOADS),
    st.builds(Succeeded, PAYLOADS),
    st.builds(Refused, st.just("NO"), st.just("text")),
    st.builds(Pending, WAITS),
    st.just(Unknown("TIMEOUT")),
    st.builds(
        Unknown,
        st.sampled_from(["TIMEOUT", OUTPUT_NEEDED, OUTPUT_NEEDED]),
        st.just("text"),
        WAITS,
        PAYLOADS,
    ),
)

SPECS = st.builds(
    BranchSpec,
    branch_id=st.sampled_from([*NAMES[:3], *NAMES[:3], CHECK_BACK_ID]),
    operation=st.just("bank.move"),
    input=st.sampled_from([NO_PAYLOAD, Payload(b"1", JSON)]),
    timeout_ms=st.just(3_000),
    attempt_max=st.integers(1, 3),
    pending_timeout_ms=st.sampled_from([0, 0, 700]),
    parent_branch_id=st.sampled_from(["", "", "", "", "a", "b"]),
)


@dataclass(frozen=True)
class Answered:
    """The call that is out to a branch is answered, whatever its phase is."""

    branch: int
    outcome: Outcome


@dataclass(frozen=True)
class Passed:
    """Time passed; backwards, too, as clocks do."""

    ms: int | None
    """``None``: until the next thing is due."""


@dataclass(frozen=True)
class ConfirmedAsSeen:
    """The initiator lists exactly what is registered."""


@dataclass(frozen=True)
class SettledByHand:
    """An operator settles one of the branches that there are."""

    branch: int


class Relative(Protocol):
    """What a move means depends on the state that it finds."""

    def meant(self, history: "History") -> Input | None:
        """``None`` when it is only time that passed."""


Move = Input | Answered | Passed | ConfirmedAsSeen | SettledByHand | Relative


def histories(moves: st.SearchStrategy[Move]) -> st.SearchStrategy[list[Move]]:
    """Short ones, and long ones; left to itself Hypothesis draws five at a time."""
    return st.lists(moves, max_size=8) | st.lists(moves, min_size=10, max_size=30)


FOREIGN = st.builds(
    BranchReplied,
    st.sampled_from([*NAMES, "ghost", CHECK_BACK_ID]),
    st.sampled_from(Phase),
    st.integers(0, 3),
    OUTCOMES,
)
OPERATORS = any_of(
    st.just(RetryNow("eve", "now")),
    st.just(CancelByOperator("eve", "no")),
    st.just(Pause("eve", "wait")),
    st.just(Resume("eve", "go")),
    st.just(Resolve("ghost", "eve", "hand")),
    st.builds(SettledByHand, st.integers(0, 4)),
    st.builds(SettledByHand, st.integers(0, 4)),
)
PROGRESS: st.SearchStrategy[Move] = any_of(
    st.builds(Answered, st.integers(0, 4), OUTCOMES),
    st.builds(Answered, st.integers(0, 4), OUTCOMES),
    st.builds(Passed, st.sampled_from([None, None, 1, 600, DEADLINE, -2_000])),
    st.just(Woken()),
)
COMMON = any_of(
    PROGRESS,
    PROGRESS,
    PROGRESS,
    FOREIGN,
    OPERATORS,
    st.builds(Cancel, wait=st.booleans()),
    st.builds(Observe, wait=st.booleans()),
)

CLEAN_SPECS = st.builds(
    replace, SPECS, branch_id=st.sampled_from(NAMES[:3]), parent_branch_id=st.just("")
)
TCC_BEGINS = st.builds(
    lambda declared, check_back, tries: Begin(
        tcc_request(declared=declared, check_back=check_back), tuple(tries)
    ),
    st.booleans(),
    st.sampled_from(["", "shop.ask"]),
    any_of(
        st.lists(CLEAN_SPECS, max_size=3, unique_by=lambda spec: spec.branch_id),
        st.lists(CLEAN_SPECS, max_size=3, unique_by=lambda spec: spec.branch_id),
        st.lists(SPECS, max_size=3),
    ),
)
TCC_MOVES: st.SearchStrategy[Move] = any_of(
    COMMON,
    COMMON,
    COMMON,
    COMMON,
    COMMON,
    st.lists(SPECS, min_size=1, max_size=2).map(lambda specs: Try(tuple(specs))),
    st.lists(SPECS, min_size=1, max_size=2).map(lambda specs: Register(tuple(specs))),
    st.just(Confirm()),
    st.just(ConfirmedAsSeen()),
    st.builds(
        Confirm,
        st.none() | st.frozensets(st.sampled_from(NAMES[:3]), max_size=3),
        st.booleans(),
    ),
    st.just(Begin(tcc_request())),
    st.just(Begin(tcc_request(digest="other"))),
)


# ---- A history, and what is checked at each step ----------------------------------

PHASES = {
    Decision.NONE: {Phase.TRY, Phase.ACTION},
    Decision.COMMIT: {Phase.CONFIRM},
    Decision.ABORT: {Phase.CANCEL, Phase.COMPENSATION},
}
"""What may be asked, by the decision."""


@dataclass
class History:
    """One transaction and everything that became a fact, looked at after each step."""

    tx: GlobalTransaction
    folded: GlobalTransaction
    """What the facts alone come to."""
    facts: list[Event] = field(default_factory=list)
    now: int = 0
    refusals: set[str] = field(default_factory=set)

    @classmethod
    def begin(cls, what: Begin | Submit) -> Self | None:
        """``None`` when it was refused to begin."""
        try:
            tx, events = machine.step(None, what, 0)
        except Refusal:
            return None
        history = cls(tx, machine.fold(events[:1]))
        history.facts.append(events[0])
        history.look(events[1:])
        return history

    def play(self, move: Move) -> None:
        """Let something happen, twice; anything but a refusal is an error."""
        what = self.meant(move)
        if what is None:
            return
        before = self.tx
        try:
            self.tx, events = machine.step(before, what, self.now)
        except Refusal as refusal:
            self.refusals.add(refusal.detail_reason)
            return
        if not events:
            assert self.tx is before, "no fact, no change"
        self.look(events)
        machine.check(before, self.tx)
        if is_repeatable(what):
            self.repeat(what)

    def meant(self, move: Move) -> Input | None:
        """A move in the present state; ``None`` when it is only time that passed."""
        match move:
            case Passed(None):
                self.now = max(self.now, machine.due_at(self.tx) or 0)
                return None
            case Passed(ms):
                self.now = max(0, self.now + ms)
                return None
            case Answered(number, outcome):
                branches = list(self.tx.branches.values())
                if not branches:
                    return None
                branch = branches[number % len(branches)]
                phase = UNDER_WAY.get(branch.status, Phase.TRY)
                name = branch.spec.branch_id
                return BranchReplied(name, phase, branch.attempts + 1, outcome)
            case SettledByHand(number):
                names = list(self.tx.branches) or ["ghost"]
                return Resolve(names[number % len(names)], "eve", "by hand")
            case ConfirmedAsSeen():
                return Confirm(frozenset(self.tx.branches) - {CHECK_BACK_ID})
            case _:
                return move.meant(self) if hasattr(move, "meant") else move

    def repeat(self, what: Input) -> None:
        """T10: the same again means nothing, or is refused; never a second effect."""
        with suppress(Refusal):
            again = machine.decide(self.tx, what, self.now)
            assert again == machine.decide(self.tx, Woken(), self.now)

    def look(self, events: tuple[Event, ...]) -> None:
        """All rules that can be told from outside, after each step."""
        for event in events:
            self.check_fact(event)
            self.facts.append(event)
            self.folded = machine.evolve(self.folded, event)
        assert self.folded == self.tx, "T11"
        self.check_as_loaded()
        calls = machine.due(self.tx, self.now)
        for call in calls:
            self.check_call(call)
        assert not self.tx.status.is_final or not calls
        due_at = machine.due_at(self.tx)
        assert (due_at is not None) or self.is_at_rest(), "somebody must come back"
        for wish in (Confirm(wait=True), Observe(wait=True)):
            assert machine.answerable(wish, self.tx) is self.tx.status.is_final

    def check_as_loaded(self) -> None:
        """Whoever takes it over from the database goes on in the same way (L7)."""
        loaded = as_loaded(self.tx)
        assert set(loaded.open) == set(self.tx.open)
        calls = (machine.due(tx, self.now) for tx in (loaded, self.tx))
        mine, others = (sorted(c, key=lambda call: call.branch_id) for c in calls)
        assert mine == others
        assert machine.due_at(loaded) == machine.due_at(self.tx)

    def check_fact(self, event: Event) -> None:
        """Whether this may happen after all that has."""
        check_tcc_fact(self, event)

    def check_call(self, call: CallBranch) -> None:
        """Whether this may be asked now."""
        assert call.phase in PHASES[self.tx.decision], "T4, T5"

    def is_at_rest(self) -> bool:
        """It has ended, or an operator holds it."""
        return self.tx.status.is_final or self.tx.paused_at is not None

    def heal(self) -> None:
        """V1: everybody answers from now on, and it ends within its bound."""
        if self.tx.paused_at is not None:
            self.play(Resume("eve", "go"))
        due = [b.due_at or 0 for b in self.tx.branches.values()]
        latest = max(self.now, self.tx.request.deadline_at, *due, 0)
        for _ in range(3 * (len(self.tx.branches) + len(NAMES)) + 6):
            if self.tx.status.is_final:
                break
            self.play(Passed(None))
            self.play(Woken())
            for call in machine.due(self.tx, self.now):
                self.play(
                    BranchReplied(call.branch_id, call.phase, call.attempt, Succeeded())
                )
        assert self.tx.status.is_final, "V1"
        assert self.now <= latest, "V1"


def is_repeatable(what: Input) -> bool:
    """Whether hearing it again must mean nothing.

    Asked again by hand, pending again, or a failure told by nobody in particular
    are news each time they are heard.
    """
    match what:
        case RetryNow():
            return False
        case BranchReplied(outcome=Pending()):
            return False
        case BranchReplied(outcome=Succeeded()):
            return True
        case BranchReplied(attempt=0) | BranchReplied(outcome=Unknown()):
            return False
        case _:
            return True


def as_loaded(tx: GlobalTransaction) -> GlobalTransaction:
    """The same, made of its rows: what is derived is derived anew."""
    rows = {f.name: getattr(tx, f.name) for f in fields(tx)}
    rows["branches"] = {i: replace(branch) for i, branch in tx.branches.items()}
    rows["open"] = open_of(rows["branches"])
    return GlobalTransaction(**rows)


def check_tcc_fact(history: History, event: Event) -> None:
    """T1 to T8, from the facts before this one."""
    before = history.facts
    done = {(e.branch_id, e.phase) for e in before if isinstance(e, BranchSucceeded)}
    decisions = [e.decision for e in before if isinstance(e, Decided)]
    match event:
        case Decided():
            assert not decisions, "T1"
        case BranchSucceeded(branch_id, Phase.CONFIRM):
            assert decisions == [Decision.COMMIT], "T5"
            assert (branch_id, Phase.CONFIRM) not in done, "T6"
        case BranchSucceeded(branch_id, Phase.CANCEL):
            assert decisions == [Decision.ABORT], "T5"
            assert (branch_id, Phase.CANCEL) not in done, "T6"
        case Finished():
            check_tcc_end(history, event, done)
        case _:
            pass


def check_tcc_end(
    history: History, end: Finished, done: set[tuple[str, Phase]]
) -> None:
    """T8: an end rests on the answers of all its branches, or on a person."""
    by_hand = {e.branch_id for e in history.facts if isinstance(e, BranchResolved)}
    assert bool(by_hand) is (end.status == "RESOLVED"), "T8"
    for name, branch in history.folded.branches.items():
        if name == CHECK_BACK_ID or name in by_hand:
            continue
        match end.status:
            case "CONFIRMED":
                assert (name, Phase.CONFIRM) in done, "T8"
            case "CANCELLED":
                refused = branch.status is BranchStatus.REFUSED
                assert refused or (name, Phase.CANCEL) in done, "T8"
