"""Promises of facts: each changes the state in one way, or is illegal."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.definition import BranchKind
from coordinator.core.errors import IllegalTransition
from coordinator.core.events import (
    AllStepsDone,
    AttemptFailed,
    AttentionRaised,
    Began,
    BranchAbandoned,
    BranchPending,
    BranchRefused,
    BranchRegistered,
    BranchResolved,
    BranchSucceeded,
    CheckBackStarted,
    CompensationStarted,
    ConfirmStarted,
    Decided,
    Event,
    Finished,
    OutputLearned,
    Paused,
    Resumed,
    RetryRequested,
    SignalReceived,
    StepRefused,
    StepSkipped,
    StepStarted,
    TrialSurvived,
)
from coordinator.core.evolution import BRANCH_MOVES, STATUS_MOVES, evolve, fold
from coordinator.core.model import (
    NO_PAYLOAD,
    UNDER_WAY,
    BranchSpec,
    GlobalTransaction,
    Payload,
)
from coordinator.core.quarantine import hold, is_on_trial, is_quarantined
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    Phase,
    Status,
)
from tests.core.world import definition, saga_request, spec, step, tcc_request

TCC = Began(tcc_request(), None)
SAGA = Began(saga_request(), definition(step("a"), step("b", "a")))
JOINED = BranchRegistered(spec("a"), direct=False, at=1)
DIRECT = BranchRegistered(spec("a"), direct=True, at=1)
STARTED = StepStarted(replace(spec("a"), kind=BranchKind.CALL), 1)
TRIED = BranchSucceeded("a", Phase.TRY, Payload(b"7"), 2)
RAN = BranchSucceeded("a", Phase.ACTION, Payload(b"7"), 2)
COMMIT = Decided(Decision.COMMIT, "", "", 3)
ABORT = Decided(Decision.ABORT, "NO", "because", 3)
CONFIRMED = BranchSucceeded("a", Phase.CONFIRM, NO_PAYLOAD, 4)
CANCELLED = BranchSucceeded("a", Phase.CANCEL, NO_PAYLOAD, 4)
UNDO = CompensationStarted("a", Payload(b"undo"), 4)
UNDONE = BranchSucceeded("a", Phase.COMPENSATION, Payload(b"8"), 5)


def after(*events: Event) -> GlobalTransaction:
    return fold(events)


def test_beginning_sets_the_stage() -> None:
    """The request never changes; the status is the mode's first."""
    tcc, saga = after(TCC), after(SAGA)

    assert (tcc.status, saga.status) == (Status.TRYING, Status.RUNNING)
    assert (tcc.decision, tcc.branches) == (Decision.NONE, {})
    assert tcc.request is TCC.request
    assert (tcc.definition, saga.definition) == (None, SAGA.definition)
    assert tcc.updated_at == tcc.request.created_at


def test_registered_branch_is_due_at_once_when_it_is_mediated() -> None:
    """A direct one is the initiator's own to try."""
    mediated, direct = after(TCC, JOINED), after(TCC, DIRECT)

    assert mediated.branches["a"].status is BranchStatus.TRYING
    assert mediated.branches["a"].due_at == 1
    assert direct.branches["a"].status is BranchStatus.REGISTERED
    assert direct.branches["a"].due_at is None
    assert (mediated.branches["a"].started_at, mediated.updated_at) == (1, 1)


def test_started_step_is_due_at_once() -> None:
    """It runs from the fact that it started."""
    branch = after(SAGA, STARTED).branches["a"]

    assert (branch.status, branch.due_at) == (BranchStatus.RUNNING, 1)


def test_branches_keep_the_order_in_which_they_came() -> None:
    """Also when they change later."""
    joined = [BranchRegistered(spec(n), direct=False, at=1) for n in "cab"]
    tx = after(TCC, *joined, BranchSucceeded("c", Phase.TRY, NO_PAYLOAD, 2))

    assert list(tx.branches) == ["c", "a", "b"]


def test_answer_ends_the_phase() -> None:
    """What a try or action answered is kept; what phase two answers is not."""
    tx = after(TCC, JOINED, AttemptFailed("a", 1, 9, "X", "text"), TRIED)
    branch = tx.branches["a"]
    assert (branch.status, branch.output) == (BranchStatus.TRIED, Payload(b"7"))
    assert (branch.due_at, branch.finished_at) == (None, 2)
    assert (branch.attempts, tx.updated_at) == (1, 2)

    undone = after(SAGA, STARTED, RAN, ABORT, UNDO, UNDONE).branches["a"]
    assert undone.status is BranchStatus.COMPENSATED
    assert undone.output == Payload(b"7")
    assert undone.finished_at == 5


def test_refusal_keeps_code_and_text() -> None:
    """The refuser is done."""
    tx = after(TCC, JOINED, BranchRefused("a", "NO", "broke", 2))
    branch = tx.branches["a"]

    assert branch.status is BranchStatus.REFUSED
    assert (branch.error_code, branch.error_text) == ("NO", "broke")
    assert (branch.due_at, branch.finished_at, tx.updated_at) == (None, 2, 2)


def test_failed_attempt_is_counted_and_postponed() -> None:
    """With its error, and with the next time."""
    branch = after(TCC, JOINED, AttemptFailed("a", 3, 99, "X", "text")).branches["a"]

    assert (branch.attempts, branch.due_at) == (3, 99)
    assert (branch.error_code, branch.error_text) == ("X", "text")
    assert branch.status is BranchStatus.TRYING


def test_pending_branch_is_asked_later() -> None:
    """Since when it is pending is kept until it does something else."""
    pending = (BranchPending("a", 50, 5), BranchPending("a", 90, 50))
    tx = after(TCC, JOINED, *pending)
    assert (tx.branches["a"].due_at, tx.branches["a"].pending_since) == (90, 5)

    failed = evolve(tx, AttemptFailed("a", 1, 99, "X", ""))
    assert failed.branches["a"].pending_since is None
    assert evolve(tx, ABORT).branches["a"].pending_since is None
    at_zero = after(TCC, JOINED, BranchPending("a", 5, 0), BranchPending("a", 9, 5))
    assert at_zero.branches["a"].pending_since == 0


@pytest.mark.parametrize(
    ("decided", "status", "branch", "due_at"),
    [
        (COMMIT, Status.CONFIRMING, BranchStatus.CONFIRMING, 3),
        (ABORT, Status.CANCELLING, BranchStatus.CANCELLING, 3),
    ],
)
def test_decision_turns_every_branch_in_one_fact(
    decided: Decided, status: Status, branch: BranchStatus, due_at: int
) -> None:
    """Registration closes and phase two is due together (T2, T3)."""
    tx = after(TCC, JOINED, AttemptFailed("a", 1, 9, "X", ""), TRIED, decided)

    assert (tx.status, tx.decision) == (status, decided.decision)
    assert (tx.reason_code, tx.reason_text) == (decided.code, decided.text)
    turned = tx.branches["a"]
    assert (turned.status, turned.due_at) == (branch, due_at)
    assert (turned.attempts, turned.finished_at) == (0, None)
    assert tx.updated_at == 3
    with pytest.raises(IllegalTransition, match=r"no branch may join while"):
        evolve(tx, BranchRegistered(spec("b"), direct=False, at=4))


def test_refuser_has_no_turn() -> None:
    """It has nothing to cancel."""
    tx = after(TCC, JOINED, BranchRefused("a", "NO", "", 2), ABORT)

    assert tx.branches["a"].status is BranchStatus.REFUSED


def test_saga_turns_without_its_branches() -> None:
    """They are undone one after the other, each by a fact of its own (S2)."""
    tx = after(SAGA, STARTED, RAN, ABORT)

    assert (tx.status, tx.decision) == (Status.COMPENSATING, Decision.ABORT)
    assert tx.branches["a"].status is BranchStatus.SUCCEEDED


def test_compensation_starts_once_and_may_get_a_better_input() -> None:
    """The second start changes its input and time, and keeps its attempts."""
    tx = after(SAGA, STARTED, RAN, ABORT, UNDO, AttemptFailed("a", 2, 90, "X", ""))
    again = evolve(tx, CompensationStarted("a", Payload(b"better"), 7))
    branch = again.branches["a"]

    assert branch.status is BranchStatus.COMPENSATING
    assert branch.compensation_input == Payload(b"better")
    assert (branch.due_at, branch.attempts, again.updated_at) == (7, 2, 7)
    first = after(SAGA, STARTED, RAN, ABORT, UNDO).branches["a"]
    assert (first.compensation_input, first.due_at) == (Payload(b"undo"), 4)


def test_output_may_be_learned_late() -> None:
    """When it is to be undone; nothing else changes."""
    tx = after(SAGA, STARTED, ABORT, UNDO)
    learned = evolve(tx, OutputLearned("a", Payload(b"late"), 8))

    assert learned.branches["a"].output == Payload(b"late")
    assert learned.branches["a"].status is BranchStatus.COMPENSATING
    assert learned.updated_at == 8


def test_abandoned_branch_is_done() -> None:
    """Nothing is asked of it any more."""
    tx = after(SAGA, STARTED, ABORT, BranchAbandoned("a", 4))

    assert tx.branches["a"].status is BranchStatus.ABANDONED
    assert (tx.branches["a"].due_at, tx.branches["a"].finished_at) == (None, 4)
    assert tx.updated_at == 4


def test_end_is_kept_with_its_time() -> None:
    """A completed saga was decided for by completing; attention ends."""
    tx = after(
        SAGA,
        STARTED,
        RAN,
        AttentionRaised("look", 3),
        Finished(Status.COMPLETED, Payload(b"out"), 9),
    )

    assert (tx.status, tx.decision) == (Status.COMPLETED, Decision.COMMIT)
    assert (tx.output, tx.finished_at, tx.updated_at) == (Payload(b"out"), 9, 9)
    assert tx.attention_since is None
    ended = after(TCC, ABORT, Finished(Status.CANCELLED, NO_PAYLOAD, 4))
    assert ended.decision is Decision.ABORT


ASKED = CheckBackStarted(spec("q"), 3)


def test_question_to_the_initiator_is_due_at_once() -> None:
    """Like a step; it keeps others from joining by a rule, not by a status."""
    tx = after(TCC, JOINED, TRIED, ASKED)

    assert tx.branches["q"].status is BranchStatus.RUNNING
    assert (tx.branches["q"].due_at, tx.status) == (3, Status.TRYING)


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        ((), BranchStatus.ABANDONED),
        ((BranchSucceeded("q", Phase.ACTION, NO_PAYLOAD, 4),), BranchStatus.SUCCEEDED),
        ((BranchRefused("q", "NO", "", 4),), BranchStatus.REFUSED),
    ],
)
def test_question_has_no_turn(answer: tuple[Event, ...], end: BranchStatus) -> None:
    """Answered it stays as it is; unanswered its answer no longer matters."""
    tx = after(TCC, JOINED, TRIED, ASKED, *answer, Decided(Decision.COMMIT, "", "", 5))

    assert tx.branches["q"].status is end
    assert tx.branches["q"].due_at is None
    assert tx.branches["a"].status is BranchStatus.CONFIRMING


def test_pause_and_resume() -> None:
    """Since when it is paused is kept; no branch changes."""
    paused = after(TCC, JOINED, Paused("eve", "wait", 7))
    resumed = evolve(paused, Resumed("eve", "go", 9))

    assert (paused.paused_at, paused.updated_at) == (7, 7)
    assert (resumed.paused_at, resumed.updated_at) == (None, 9)
    assert paused.branches == resumed.branches == after(TCC, JOINED).branches


def test_settled_branch_is_done() -> None:
    """By hand, and only where a second phase was open (T8)."""
    by_hand = BranchResolved("a", "eve", "by hand", 6)
    tx = after(TCC, JOINED, TRIED, COMMIT, by_hand)

    assert tx.branches["a"].status is BranchStatus.RESOLVED
    assert (tx.branches["a"].due_at, tx.branches["a"].finished_at) == (None, 6)
    with pytest.raises(IllegalTransition, match="from TRYING to RESOLVED"):
        evolve(after(TCC, JOINED), by_hand)


def test_attention_has_one_beginning_and_the_latest_reason() -> None:
    """Raised again it says the new reason and keeps the old time."""
    tx = after(TCC, AttentionRaised("first", 3), AttentionRaised("second", 8))

    assert (tx.attention_since, tx.attention_reason) == (3, "second")


def test_retry_now_hastens_what_waits_and_nothing_else() -> None:
    """A call that is due already keeps its place; what is done stays done."""
    joined = [BranchRegistered(spec(n), direct=n == "d", at=1) for n in "abcd"]
    tx = after(
        TCC,
        *joined,
        AttemptFailed("a", 1, 900, "X", ""),
        BranchSucceeded("c", Phase.TRY, NO_PAYLOAD, 2),
        RetryRequested("eve", "now", 50),
    )

    due = {name: branch.due_at for name, branch in tx.branches.items()}
    assert due == {"a": 50, "b": 1, "c": None, "d": None}
    assert tx.updated_at == 50


ILLEGAL: dict[str, tuple[tuple[Event, ...], str]] = {
    "began twice": ((TCC, TCC), "g-1 began twice"),
    "before the beginning": ((JOINED,), "BranchRegistered before the beginning"),
    "branch twice": ((TCC, JOINED, DIRECT), "branch a exists already"),
    "branch after the end": (
        (TCC, ABORT, Finished(Status.CANCELLED, NO_PAYLOAD, 4), JOINED),
        "no branch may join while CANCELLED",
    ),
    "step after turning back": ((SAGA, ABORT, STARTED), "while COMPENSATING"),
    "no such branch": ((TCC, TRIED), "no branch a"),
    "answer to another phase": (
        (TCC, JOINED, CONFIRMED),
        "CONFIRM while TRYING",
    ),
    "answer twice": ((TCC, JOINED, TRIED, TRIED), "TRY while TRIED"),
    "refused after it succeeded": (
        (TCC, JOINED, TRIED, BranchRefused("a", "NO", "", 3)),
        "branch a cannot go from TRIED to REFUSED",
    ),
    "confirmed and cancelled": (
        (TCC, JOINED, TRIED, COMMIT, CONFIRMED, CANCELLED),
        "CANCEL while CONFIRMED",
    ),
    "commit with an open try": (
        (TCC, JOINED, COMMIT),
        "cannot go from TRYING to CONFIRMING",
    ),
    "decided twice": ((TCC, COMMIT, COMMIT), "g-1 is decided already"),
    "decided both ways": ((TCC, COMMIT, ABORT), "g-1 is decided already"),
    "saga decided after its end": (
        (SAGA, Finished(Status.COMPLETED, NO_PAYLOAD, 4), ABORT),
        "s-1 is decided already",
    ),
    "no decision": (
        (TCC, Decided(Decision.NONE, "", "", 1)),
        "a decision that is none",
    ),
    "undecided end": (
        (TCC, Finished(Status.CANCELLED, NO_PAYLOAD, 1)),
        "from TRYING to CANCELLED",
    ),
    "end of the other side": (
        (TCC, COMMIT, Finished(Status.CANCELLED, NO_PAYLOAD, 4)),
        "from CONFIRMING to CANCELLED",
    ),
    "compensation of a trying one": (
        (TCC, JOINED, UNDO),
        "compensation while TRYING",
    ),
    "all done and undecided": ((SAGA, AllStepsDone(1)), "undecided, and all steps"),
    "all done twice": (
        (SAGA, COMMIT, AllStepsDone(1), AllStepsDone(1)),
        "from CONFIRMING to CONFIRMING",
    ),
    "compensation of what never ran": (
        (SAGA, STARTED, BranchRefused("a", "NO", "", 2), ABORT, UNDO),
        "cannot go from REFUSED to COMPENSATING",
    ),
    "failure of nothing": (
        (TCC, JOINED, TRIED, AttemptFailed("a", 1, 2, "X", "")),
        "nothing is asked while TRIED",
    ),
    "pending nothing": (
        (TCC, DIRECT, BranchPending("a", 9, 2)),
        "nothing is asked while REGISTERED",
    ),
    "abandoned after it succeeded": (
        (SAGA, STARTED, RAN, ABORT, BranchAbandoned("a", 4)),
        "cannot go from SUCCEEDED to ABANDONED",
    ),
}


@pytest.mark.parametrize(("events", "message"), ILLEGAL.values(), ids=ILLEGAL)
def test_illegal_fact_is_refused(events: tuple[Event, ...], message: str) -> None:
    """A history that cannot have been is never read as one (T1, T3, T5, T8)."""
    *legal, last = events
    before = fold(tuple(legal)) if legal else None

    with pytest.raises(IllegalTransition) as error:
        evolve(before, last)

    assert message in str(error.value)


def test_history_without_a_beginning_is_none() -> None:
    """There is nothing to fold."""
    with pytest.raises(IllegalTransition, match="without a beginning"):
        fold(())


@pytest.mark.parametrize("begin", [TCC, SAGA], ids=["tcc", "saga"])
def test_evolving_never_touches_the_state_before(begin: Began) -> None:
    """Values are frozen: who holds the old state still holds it."""
    join: Event = JOINED if begin is TCC else STARTED
    before = after(begin)
    evolve(before, join)

    assert before.branches == {}
    assert before == after(begin)


def _reachable(start: str, moves: Callable[[str], frozenset[str]]) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        new = moves(todo.pop()) - found
        found |= new
        todo += new
    return found


def test_tables_have_every_status_and_no_way_back() -> None:
    """No status is left again once it was left, and an end has no moves (T8)."""
    assert set(STATUS_MOVES) == set(Status)
    assert set(BRANCH_MOVES) == set(BranchStatus)
    for status in Status:
        assert bool(STATUS_MOVES[status]) is not status.is_final
        onwards = STATUS_MOVES[status]
        for after_it in onwards:
            assert status not in _reachable(after_it, STATUS_MOVES.__getitem__)
    for status in BranchStatus:
        for after_it in BRANCH_MOVES[status]:
            assert status not in _reachable(after_it, BRANCH_MOVES.__getitem__)
        if status in UNDER_WAY:
            assert BRANCH_MOVES[status]


def test_decided_side_excludes_the_other() -> None:
    """From CONFIRMING no way leads to a cancel, nor back to a try (T1, T5)."""
    confirming = _reachable(Status.CONFIRMING, STATUS_MOVES.__getitem__)
    assert not confirming & {Status.CANCELLING, Status.CANCELLED, Status.TRYING}
    branch = _reachable(BranchStatus.CONFIRMING, BRANCH_MOVES.__getitem__)
    assert not branch & {BranchStatus.CANCELLING, BranchStatus.CANCELLED}
    branch = _reachable(BranchStatus.CANCELLING, BRANCH_MOVES.__getitem__)
    assert not branch & {BranchStatus.CONFIRMING, BranchStatus.CONFIRMED}


def test_machine_offers_the_same_fold() -> None:
    """There is one way from facts to a state."""
    assert machine.evolve is evolve
    assert machine.fold is fold
    assert after(TCC).request.mode is Mode.TCC


def of(kind: BranchKind) -> BranchSpec:
    return replace(spec("a"), kind=kind)


@pytest.mark.parametrize(
    ("kind", "status", "due_at"),
    [
        (BranchKind.CALL, BranchStatus.RUNNING, 5),
        (BranchKind.TCC, BranchStatus.TRYING, 5),
        (BranchKind.WAIT, BranchStatus.WAITING, 9),
        (BranchKind.AWAIT, BranchStatus.WAITING, 9),
        (BranchKind.SAGA, BranchStatus.WAITING, 9),
        (BranchKind.FOR_EACH, BranchStatus.WAITING, 9),
    ],
)
def test_kind_decides_what_a_started_step_does(
    kind: BranchKind, status: BranchStatus, due_at: int
) -> None:
    """A participant is asked at once; what asks nobody waits for its time."""
    branch = after(SAGA, StepStarted(of(kind), 5, 9)).branches["a"]

    assert (branch.status, branch.due_at) == (status, due_at)


def test_skipped_and_refused_steps_are_done() -> None:
    """A stuck one waits for a person, with no time of its own."""
    skipped = after(SAGA, StepSkipped(of(BranchKind.CALL), 5)).branches["a"]
    refused = after(SAGA, StepRefused(of(BranchKind.CALL), "X", "why", 5)).branches["a"]
    stuck = after(
        SAGA, StepRefused(of(BranchKind.CALL), "X", "why", 5, stuck=True)
    ).branches["a"]

    assert (skipped.status, skipped.finished_at) == (BranchStatus.SKIPPED, 5)
    assert (refused.status, refused.error_code) == (BranchStatus.REFUSED, "X")
    assert (refused.error_text, refused.finished_at) == ("why", 5)
    assert (stuck.status, stuck.due_at) == (BranchStatus.WAITING, None)
    assert stuck.finished_at is None


def test_signal_is_a_branch_that_is_done() -> None:
    """Under a name that no step has; once."""
    came = SignalReceived("go", Payload(b"1"), 5)
    branch = after(SAGA, came).branches[":signal:go"]

    assert branch.spec.kind is BranchKind.SIGNAL
    assert (branch.status, branch.output) == (BranchStatus.SUCCEEDED, Payload(b"1"))
    assert (branch.started_at, branch.finished_at) == (5, 5)
    with pytest.raises(IllegalTransition, match="exists already"):
        after(SAGA, came, came)


def test_confirm_of_a_reservation_is_a_fact_after_the_commit() -> None:
    """Each by its own; the decision alone turns none of a saga (T4)."""
    reserved = (SAGA, StepStarted(of(BranchKind.TCC), 1))
    decided = after(*reserved, TRIED, COMMIT)
    tx = evolve(decided, ConfirmStarted("a", 4))

    assert (decided.status, decided.decision) == (Status.RUNNING, Decision.COMMIT)
    assert decided.branches["a"].status is BranchStatus.TRIED
    assert tx.branches["a"].status is BranchStatus.CONFIRMING
    assert (tx.branches["a"].due_at, list(tx.open)) == (4, ["a"])
    with pytest.raises(IllegalTransition, match="a confirm before the commit"):
        after(*reserved, TRIED, ConfirmStarted("a", 4))
    assert evolve(tx, AllStepsDone(5)).status is Status.CONFIRMING


def test_reservation_has_its_time_until_it_is_decided_upon() -> None:
    """Counted from its start."""
    held = replace(of(BranchKind.TCC), expires_ms=100)
    tx = after(SAGA, StepStarted(held, 1), TRIED)

    assert tx.branches["a"].due_at == 101
    assert list(tx.open) == ["a"]
    assert after(SAGA, StepStarted(of(BranchKind.TCC), 1), TRIED).open == {}


@pytest.mark.parametrize(
    ("kind", "status", "due_at"),
    [
        (BranchKind.CALL, BranchStatus.COMPENSATING, 4),
        (BranchKind.TCC, BranchStatus.CANCELLING, 4),
        (BranchKind.SAGA, BranchStatus.COMPENSATING, None),
        (BranchKind.FOR_EACH, BranchStatus.COMPENSATING, None),
    ],
)
def test_kind_decides_how_a_step_goes_back(
    kind: BranchKind, status: BranchStatus, due_at: int | None
) -> None:
    """Members go back for their group; what is given up says why."""
    undo = CompensationStarted("a", NO_PAYLOAD, 4, "LATE", "too late")
    branch = after(SAGA, StepStarted(of(kind), 1), undo).branches["a"]

    assert (branch.status, branch.due_at) == (status, due_at)
    assert (branch.error_code, branch.error_text) == ("LATE", "too late")


def test_what_is_abandoned_may_say_why() -> None:
    """Otherwise what went wrong last stays."""
    failed = (SAGA, STARTED, AttemptFailed("a", 1, 2, "TIMEOUT", "late"))
    plain = after(*failed, BranchAbandoned("a", 3)).branches["a"]
    given_up = after(*failed, BranchAbandoned("a", 3, "USED_UP", "no")).branches["a"]

    assert (plain.error_code, plain.error_text) == ("TIMEOUT", "late")
    assert (given_up.error_code, given_up.error_text) == ("USED_UP", "no")


def test_hastening_leaves_time_alone() -> None:
    """A timer, a reservation and a wait end when they end."""
    timer = StepStarted(replace(of(BranchKind.WAIT), branch_id="w"), 1, 500)
    tx = after(SAGA, timer, RetryRequested("alice", "hurry", 9))

    assert tx.branches["w"].due_at == 500


def test_quarantine_stands_until_it_is_tried_or_an_operator_retries() -> None:
    """V6: another reason for attention does not end it, and a retry does."""
    before = after(TCC, JOINED)
    held = evolve(before, hold(before, 5))
    assert is_quarantined(held)
    assert is_quarantined(evolve(held, AttentionRaised("a failed 10 times", 6)))
    released = evolve(held, RetryRequested("ann", "fixed", 7))
    assert released.attention_since is None
    assert not is_quarantined(released)


def test_a_trial_ends_by_survival_or_a_retry() -> None:
    """V6: attention is over; nothing else ends it."""
    before = after(TCC, JOINED)
    tried = replace(evolve(before, hold(before, 5)), owner="n-1")
    assert is_on_trial(tried)
    survived = evolve(tried, TrialSurvived(9))
    assert (survived.attention_since, survived.updated_at) == (None, 9)
    assert evolve(tried, RetryRequested("ann", "go", 7)).attention_since is None
    assert is_on_trial(evolve(tried, AttentionRaised("INVARIANT_VIOLATED: bug", 8)))


def test_a_retry_keeps_every_other_attention() -> None:
    """It is for people until the transaction ends."""
    tx = after(TCC, JOINED, AttentionRaised("a failed 10 times", 6))
    assert evolve(tx, RetryRequested("ann", "again", 7)).attention_since == 6
