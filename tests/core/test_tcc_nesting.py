"""Nested tries, the question to the initiator, and pending tries' own deadline."""

import pytest
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.errors import InvalidRequest, PreconditionFailed
from coordinator.core.inputs import (
    Begin,
    Cancel,
    Confirm,
    Pending,
    Refused,
    Register,
    Submit,
    Try,
    Unknown,
    Woken,
)
from coordinator.core.model import BranchSpec, Payload
from coordinator.core.tcc import (
    CHECK_BACK_ATTEMPT_MAX,
    CHECK_BACK_ID,
    CHECK_BACK_PENDING_MS,
    NESTING_DEPTH_MAX,
)
from coordinator.core.words import Decision, Status
from tests.core.world import (
    DEADLINE,
    JSON,
    Play,
    definition,
    saga_request,
    spec,
    step,
    tcc_request,
)


@pytest.fixture
def play() -> Play:
    """A transaction that has just begun."""
    return Play.begin(Begin(tcc_request()))


@pytest.fixture
def asked_back() -> Play:
    """Tried, undecided, at its deadline: the initiator is being asked."""
    request = replace(tcc_request(), check_back="shop.paid", input=Payload(b"7", JSON))
    made = Play.begin(Begin(request))
    made.happen(Try((spec("a"),)))
    made.answer("a")
    made.now = DEADLINE
    made.happen(Woken())
    return made


def nested(branch_id: str, parent: str) -> BranchSpec:
    return replace(spec(branch_id), parent_branch_id=parent)


# ---- Nesting ----------------------------------------------------------------------


def test_nested_branch_follows_the_decision(play: Play) -> None:
    """What joined inside a try is confirmed with the rest (T12)."""
    play.happen(Try((spec("a"),)))
    play.happen(Try((nested("a.1", "a"),)))
    play.answer("a.1")
    play.answer("a")
    play.happen(Confirm())

    assert play.asked() == {("a", "CONFIRM"), ("a.1", "CONFIRM")}


def test_parent_that_has_answered_gains_no_branch(play: Play) -> None:
    """A nested branch joins while its parent's try runs, and not later (T12)."""
    play.happen(Try((spec("a"),)))
    play.answer("a")

    for parent in ("a", "zz"):
        with pytest.raises(PreconditionFailed) as refusal:
            play.happen(Try((nested("n", parent),)))
        assert refusal.value.detail_reason == "PARENT_NOT_OPEN"


def test_nesting_is_bounded(play: Play) -> None:
    """One level more than the limit is refused (T12, T14)."""
    play.happen(Try((spec("0"),)))
    for depth in range(1, NESTING_DEPTH_MAX):
        play.happen(Try((nested(str(depth), str(depth - 1)),)))
        assert play.due()[str(depth)].depth == depth

    with pytest.raises(InvalidRequest) as refusal:
        play.happen(Try((nested("deeper", str(NESTING_DEPTH_MAX - 1)),)))
    assert refusal.value.detail_reason == "NESTED_TOO_DEEP"


def test_nesting_counts_the_transactions_around() -> None:
    """What begins inside other transactions has as many levels less (T12)."""
    request = replace(tcc_request(), depth=NESTING_DEPTH_MAX - 2)
    play = Play.begin(Begin(request))
    play.happen(Try((spec("a"),)))
    play.happen(Try((nested("a.1", "a"),)))

    with pytest.raises(InvalidRequest) as refusal:
        play.happen(Try((nested("deeper", "a.1"),)))

    assert play.due()["a.1"].depth == NESTING_DEPTH_MAX - 1
    assert refusal.value.detail_reason == "NESTED_TOO_DEEP"


# ---- Check-back -------------------------------------------------------------------


def test_initiator_is_asked_at_the_deadline(asked_back: Play) -> None:
    """With the input of its own request; nothing is decided yet."""
    (call,) = asked_back.due().values()

    assert (call.operation, call.input.data) == ("shop.paid", b"7")
    assert asked_back.tx.decision is Decision.NONE
    assert machine.due_at(asked_back.tx) == DEADLINE


@pytest.mark.parametrize(
    ("answer", "end", "reason"),
    [
        (None, Status.CONFIRMED, ""),
        (Refused("NOT_PAID"), Status.CANCELLED, "NOT_PAID"),
    ],
)
def test_initiators_answer_decides(
    asked_back: Play, answer: object, end: Status, reason: str
) -> None:
    """Success means commit, a refusal abort (T9)."""
    asked_back.answer(CHECK_BACK_ID, answer)
    asked_back.answer("a")

    assert asked_back.tx.status is end
    assert asked_back.tx.reason_code == reason


def test_answer_that_does_not_come_means_abort(asked_back: Play) -> None:
    """The question is asked a bounded number of times."""
    for _ in range(CHECK_BACK_ATTEMPT_MAX):
        asked_back.wait_until_due()
        asked_back.answer(CHECK_BACK_ID, Unknown("TIMEOUT"))

    assert asked_back.tx.reason_code == "ATTEMPTS_USED_UP"
    asked_back.answer("a")
    assert asked_back.tx.status is Status.CANCELLED


def test_initiator_that_never_knows_means_abort(asked_back: Play) -> None:
    """Pending for longer than it may be."""
    asked_back.answer(CHECK_BACK_ID, Pending())
    asked_back.now = DEADLINE + CHECK_BACK_PENDING_MS
    asked_back.happen(Woken())

    assert asked_back.tx.reason_code == "PENDING_TIMEOUT"


@pytest.mark.parametrize(
    ("wish", "end"),
    [(Confirm(), Status.CONFIRMED), (Cancel("MINE"), Status.CANCELLED)],
)
def test_initiator_may_still_decide_itself(
    asked_back: Play, wish: object, end: Status
) -> None:
    """Then the question is dropped (T9)."""
    asked_back.happen(wish)
    asked_back.answer("a")

    assert asked_back.tx.status is end
    assert asked_back.statuses()[CHECK_BACK_ID] == "ABANDONED"


def test_no_branch_joins_while_the_initiator_is_asked(asked_back: Play) -> None:
    """The deadline has closed registration (T3)."""
    with pytest.raises(PreconditionFailed):
        asked_back.happen(Try((spec("b"),)))


def test_confirm_list_does_not_name_the_question() -> None:
    """The list is of participants' branches (T2)."""
    made = Play.begin(Begin(replace(tcc_request(), check_back="shop.paid")))
    made.happen(Register((spec("a"),)))
    made.now = DEADLINE
    made.happen(Woken())
    made.happen(Confirm(frozenset({"a"})))

    assert made.tx.decision is Decision.COMMIT


def test_nobody_is_asked_when_a_try_is_open() -> None:
    """A commit is impossible then, so the deadline cancels (T2, T9)."""
    made = Play.begin(Begin(replace(tcc_request(), check_back="shop.paid")))
    made.happen(Try((spec("a"),)))
    made.now = DEADLINE
    made.happen(Woken())

    assert made.tx.reason_code == "DEADLINE"


def test_branch_id_of_the_question_is_reserved(play: Play) -> None:
    """No participant's branch can have it."""
    with pytest.raises(InvalidRequest) as refusal:
        play.happen(Try((spec(CHECK_BACK_ID),)))
    assert refusal.value.detail_reason == "BRANCH_ID_RESERVED"


def test_history_with_a_question_folds(asked_back: Play) -> None:
    """The facts alone rebuild the state (T11)."""
    asked_back.answer(CHECK_BACK_ID)
    asked_back.answer("a")

    assert machine.fold(tuple(asked_back.facts)) == asked_back.tx


# ---- Pending ----------------------------------------------------------------------


def test_pending_try_has_its_own_deadline(play: Play) -> None:
    """Its polls go on until then, and then the transaction is cancelled."""
    play.happen(Try((replace(spec("a"), pending_timeout_ms=900),)))
    play.answer("a", Pending(500))
    play.wait_until_due()
    assert play.now == 500
    play.answer("a", Pending(500))
    play.wait_until_due()
    assert play.now == 900
    play.happen(Woken())

    assert play.tx.reason_code == "PENDING_TIMEOUT"
    assert play.asked() == {("a", "CANCEL")}


def test_pending_step_has_its_own_deadline() -> None:
    """The saga turns back, and that step is compensated."""
    made = Play.begin(Submit(saga_request(), definition(step("a"))))
    branch = made.branch("a")
    patient = replace(branch, spec=replace(branch.spec, pending_timeout_ms=100))
    made.tx = replace(made.tx, branches={"a": patient})
    made.answer("a", Pending(60_000))
    made.wait_until_due()
    assert made.now == 100
    made.happen(Woken())

    assert made.tx.reason_code == "PENDING_TIMEOUT"
    assert made.asked() == {("a", "COMPENSATION")}


def test_pending_confirm_is_polled_at_the_participants_pace(play: Play) -> None:
    """The try's own deadline does not hasten phase two, however often it says so."""
    play.happen(Try((replace(spec("a"), pending_timeout_ms=100),)))
    play.answer("a")
    play.happen(Confirm())
    for asked_at in (500, 1_000, 1_500):
        play.answer("a", Pending(500))
        play.wait_until_due()
        assert play.now == asked_at


def test_pending_confirm_is_asked_without_end(play: Play) -> None:
    """Phase two knows no deadline."""
    play.happen(Try((replace(spec("a"), pending_timeout_ms=100),)))
    play.answer("a")
    play.happen(Confirm())
    play.answer("a", Pending(60_000))
    play.now = 1_000_000
    play.happen(Woken())

    assert play.tx.status is Status.CONFIRMING
    assert play.asked() == {("a", "CONFIRM")}
