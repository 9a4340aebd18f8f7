"""What an operator may do, and what nobody may."""

import pytest

from coordinator.core import machine
from coordinator.core.definition import BranchKind, Step
from coordinator.core.errors import NotFound, PreconditionFailed
from coordinator.core.events import RetryRequested
from coordinator.core.inputs import (
    Begin,
    Cancel,
    CancelByOperator,
    Confirm,
    Pause,
    Refused,
    Resolve,
    Resume,
    RetryNow,
    Submit,
    Try,
    Unknown,
    Woken,
)
from coordinator.core.quarantine import QUARANTINE_MS, hold
from coordinator.core.words import Status
from tests.core.world import (
    DEADLINE,
    Play,
    definition,
    saga_request,
    spec,
    step,
    tcc_request,
)


@pytest.fixture
def play() -> Play:
    """Two branches whose tries have succeeded."""
    made = Play.begin(Begin(tcc_request()))
    made.happen(Try((spec("a"), spec("b"))))
    made.answer("a")
    made.answer("b")
    return made


@pytest.fixture
def saga() -> Play:
    """A chain of three that has to turn back from its last step."""
    steps = (step("a"), step("b", "a"), step("c", "b"))
    made = Play.begin(Submit(saga_request(), definition(*steps)))
    made.answer("a")
    made.answer("b")
    return made


def test_pause_stops_calls_and_resume_lets_them_go_on(play: Play) -> None:
    """Nothing is asked while paused; afterwards everything that was due is."""
    play.happen(Confirm())
    play.happen(Pause("ops", "participant is being repaired"))
    assert play.due() == {}
    assert machine.due_at(play.tx) is None
    assert play.happen(Pause("ops", "again")) == ()
    play.happen(Resume("ops", "repaired"))

    assert play.asked() == {("a", "CONFIRM"), ("b", "CONFIRM")}
    assert play.happen(Resume("ops", "again")) == ()


def test_deadline_holds_while_paused(play: Play) -> None:
    """A paused transaction is still decided in time (T13)."""
    play.happen(Pause("ops", "wait"))
    assert machine.due_at(play.tx) == DEADLINE
    play.wait_until_due()
    play.happen(Woken())

    assert play.tx.status is Status.CANCELLING
    assert play.due() == {}


def test_answers_count_while_paused(play: Play) -> None:
    """A call that was out when the pause came is answered as ever."""
    play.happen(Confirm())
    play.happen(Pause("ops", "wait"))
    play.answer("a")
    play.answer("b")

    assert play.tx.status is Status.CONFIRMED


def test_operator_cancels_what_is_undecided(play: Play) -> None:
    """With the operator's reason."""
    play.happen(CancelByOperator("ops", "fraud"))

    assert play.tx.status is Status.CANCELLING
    assert play.tx.reason_code == "CANCELLED_BY_OPERATOR"
    assert play.tx.reason_text == "fraud"


def test_operator_cancels_a_running_saga(saga: Play) -> None:
    """It is compensated like any other."""
    saga.happen(CancelByOperator("ops", "fraud"))

    assert saga.tx.reason_code == "CANCELLED_BY_OPERATOR"
    assert saga.asked() == {("c", "COMPENSATION")}


def test_operator_cannot_change_a_decision(play: Play) -> None:
    """A decision is written once, whoever asks (T1)."""
    play.happen(Confirm())

    with pytest.raises(PreconditionFailed) as refusal:
        play.happen(CancelByOperator("ops", "fraud"))
    assert refusal.value.detail_reason == "TRANSACTION_DECIDED"


@pytest.mark.parametrize("wish", [Confirm(), Cancel()])
def test_branch_settled_by_hand_ends_as_resolved(play: Play, wish: object) -> None:
    """No operator writes CONFIRMED or CANCELLED: the end has a name of its own (T8)."""
    play.happen(wish)
    play.answer("a")
    play.happen(Resolve("b", "ops", "booked by hand, ticket 7"))

    assert play.tx.status is Status.RESOLVED
    assert play.statuses()["b"] == "RESOLVED"


def test_other_branches_go_on_after_one_was_settled(play: Play) -> None:
    """The end waits for every participant that can still answer (T8)."""
    play.happen(Confirm())
    play.happen(Resolve("b", "ops", "by hand"))
    assert play.tx.status is Status.CONFIRMING
    assert play.happen(Resolve("b", "ops", "by hand")) == ()
    play.answer("a")

    assert play.tx.status is Status.RESOLVED


def test_compensation_goes_on_past_a_settled_step(saga: Play) -> None:
    """A step settled by hand counts as undone for what it needed (S2, S6)."""
    saga.answer("c", Refused("NO"))
    saga.answer("b", Unknown("BROKEN"))
    saga.happen(Resolve("b", "ops", "reversed by hand"))
    assert saga.asked() == {("a", "COMPENSATION")}
    saga.answer("a")

    assert saga.tx.status is Status.RESOLVED


def test_only_an_open_second_phase_can_be_settled_by_hand(play: Play) -> None:
    """Before the decision nobody knows in which direction to settle."""
    with pytest.raises(PreconditionFailed) as refusal:
        play.happen(Resolve("a", "ops", "by hand"))
    assert refusal.value.detail_reason == "BRANCH_NOT_OPEN"
    with pytest.raises(NotFound):
        play.happen(Resolve("zz", "ops", "by hand"))


@pytest.mark.parametrize(
    "wish",
    [
        RetryNow("ops", "r"),
        Pause("ops", "r"),
        Resume("ops", "r"),
        CancelByOperator("ops", "r"),
        Resolve("a", "ops", "r"),
    ],
)
def test_nothing_is_done_to_an_ended_transaction(play: Play, wish: object) -> None:
    """An end is an end (T8)."""
    play.happen(Cancel())
    play.answer("a")
    play.answer("b")

    with pytest.raises(PreconditionFailed) as refusal:
        play.happen(wish)
    assert refusal.value.detail_reason == "TRANSACTION_ENDED"


def test_history_with_the_operators_hand_folds(play: Play) -> None:
    """The facts alone rebuild the state (T11)."""
    play.happen(Pause("ops", "r"))
    play.happen(Resume("ops", "r"))
    play.happen(Confirm())
    play.happen(RetryNow("ops", "r"))
    play.happen(Resolve("a", "ops", "r"))
    play.answer("b")

    assert machine.fold(tuple(play.facts)) == play.tx


def test_retry_now_is_a_fact_with_its_author(play: Play) -> None:
    """What waited is asked at once, and history says who wanted it."""
    play.happen(Confirm())
    play.answer("a", Unknown("DOWN", retry_after_ms=20_000))
    assert play.asked() == {("b", "CONFIRM")}
    play.now = 5

    assert play.happen(RetryNow("ops", "it is back")) == (
        RetryRequested("ops", "it is back", 5),
    )
    assert play.asked() == {("a", "CONFIRM"), ("b", "CONFIRM")}


def test_group_is_not_settled_by_hand() -> None:
    """Its members are (T8)."""
    child = Step("c", BranchKind.SAGA, (), child=definition(step("x")))
    play = Play.begin(Submit(saga_request(), definition(child)))
    play.happen(CancelByOperator("alice", "no"))

    with pytest.raises(PreconditionFailed, match="settle each of its members"):
        play.happen(Resolve("c", "alice", "by cheque"))


# ---- Quarantine (V6) --------------------------------------------------------------


def test_quarantine_holds_calls_and_deadlines(play: Play) -> None:
    """V6: nothing is asked and nothing is due before the trial."""
    play.happen(Confirm())
    play.tx = machine.evolve(play.tx, hold(play.tx, 5))
    play.now = 10 * DEADLINE
    assert play.due() == {}
    assert machine.due_at(play.tx) == 5 + QUARANTINE_MS


def test_a_retry_ends_quarantine_at_once(play: Play) -> None:
    """V6: pausing and resuming do not let it go on; then all that was due is."""
    play.happen(Confirm())
    play.tx = machine.evolve(play.tx, hold(play.tx, 5))
    play.happen(Pause("ann", "odd"))
    assert machine.due_at(play.tx) is None
    play.happen(Resume("ann", "no more"))
    assert play.due() == {}
    play.happen(RetryNow("ann", "the node has more memory now"))
    assert play.asked() == {("a", "CONFIRM"), ("b", "CONFIRM")}
    assert machine.due_at(play.tx) is not None
