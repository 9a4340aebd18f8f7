"""Promises of a TCC transaction."""

import pytest

from coordinator.core import machine
from coordinator.core.errors import (
    AlreadyExists,
    IllegalTransition,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
)
from coordinator.core.events import AttentionRaised, BranchRegistered, Decided
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Cancel,
    CancelByOperator,
    Confirm,
    Observe,
    Pending,
    Refused,
    Register,
    Resolve,
    RetryNow,
    StillWaiting,
    Succeeded,
    Try,
    Unknown,
    Woken,
)
from coordinator.core.model import Payload
from coordinator.core.tcc import ATTENTION_AFTER, BRANCH_MAX, PENDING_POLL_MS
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)
from tests.core.world import DEADLINE, JSON, Play, spec, tcc_request


@pytest.fixture
def play() -> Play:
    """A transaction that has just begun."""
    return Play.begin(Begin(tcc_request()))


def tried(play: Play, *names: str) -> Play:
    """The same with branches whose tries have succeeded."""
    play.happen(Try(tuple(spec(name) for name in names)))
    for name in names:
        play.answer(name)
    return play


def test_commit_confirms_every_branch(play: Play) -> None:
    """Tried, confirmed, and only then CONFIRMED (T8)."""
    tried(play, "a", "b")
    play.happen(Confirm())

    assert play.asked() == {("a", "CONFIRM"), ("b", "CONFIRM")}
    play.answer("a")
    assert play.tx.status is Status.CONFIRMING
    play.answer("b")
    assert play.tx.status is Status.CONFIRMED
    assert play.tx.decision is Decision.COMMIT
    assert machine.due_at(play.tx) is None


def test_intent_is_a_fact_before_the_call(play: Play) -> None:
    """A try is due only for a branch that is registered (T4)."""
    events = play.happen(Try((spec("a"),)))

    assert [type(e) for e in events] == [BranchRegistered]
    assert play.asked() == {("a", "TRY")}


def test_repeated_try_is_the_same_branch(play: Play) -> None:
    """The same key and body registers nothing new (T10)."""
    play.happen(Try((spec("a"),)))

    assert play.happen(Try((spec("a"),))) == ()


def test_same_branch_with_another_body_is_refused(play: Play) -> None:
    """The same key with another input changes nothing (T10)."""
    play.happen(Try((spec("a"),)))
    before = play.tx

    with pytest.raises(AlreadyExists) as refusal:
        play.happen(Try((spec("a", data=b'{"x":1}'),)))

    assert refusal.value.detail_reason == "BRANCH_EXISTS"
    assert play.tx is before


def test_repeated_begin_is_the_same_transaction(play: Play) -> None:
    """The same gid and body begins nothing new; another body is refused (T10)."""
    assert play.happen(Begin(tcc_request())) == ()
    with pytest.raises(AlreadyExists, match="another body"):
        play.happen(Begin(tcc_request(digest="other")))


def test_unknown_gid_is_not_found() -> None:
    """Nothing happens to a transaction that never began."""
    with pytest.raises(NotFound):
        machine.step(None, Observe(), 0)


def test_refused_try_cancels_the_others(play: Play) -> None:
    """A business no decides against the transaction; the refuser needs no cancel."""
    play.happen(Try((spec("a"), spec("b"))))
    play.answer("a")
    play.answer("b", Refused("INSUFFICIENT_FUNDS", "balance too low"))

    assert play.tx.status is Status.CANCELLING
    assert play.tx.reason_code == "INSUFFICIENT_FUNDS"
    assert play.asked() == {("a", "CANCEL")}
    play.answer("a")
    assert play.tx.status is Status.CANCELLED
    assert play.statuses() == {"a": "CANCELLED", "b": "REFUSED"}


def test_cancel_does_not_wait_for_a_try_in_flight(play: Play) -> None:
    """A branch with an open try is cancelled too; its late answer means nothing."""
    play.happen(Try((spec("a"),)))
    play.happen(Cancel())

    assert play.asked() == {("a", "CANCEL")}
    assert play.happen(BranchReplied("a", Phase.TRY, 1, Succeeded())) == ()


def test_deadline_beats_confirm(play: Play) -> None:
    """At the deadline the transaction is cancelled, whoever asks what (T9, T13)."""
    tried(play, "a")
    play.now = DEADLINE
    play.happen(Confirm())

    assert play.tx.status is Status.CANCELLING
    assert play.tx.reason_code == "DEADLINE"


def test_confirm_beats_deadline(play: Play) -> None:
    """A decision before the deadline stands after it (T1, T9)."""
    tried(play, "a")
    play.now = DEADLINE - 1
    play.happen(Confirm())
    play.now = DEADLINE + 1
    play.happen(Woken())

    assert play.tx.decision is Decision.COMMIT


def test_deadline_cancels_by_time_alone(play: Play) -> None:
    """An initiator that died is not waited for."""
    tried(play, "a")
    assert machine.due_at(play.tx) == DEADLINE
    play.wait_until_due()
    play.happen(Woken())

    assert play.tx.status is Status.CANCELLING


@pytest.mark.parametrize("late", [Cancel(), Confirm(), Woken()])
def test_losers_change_nothing(play: Play, late: object) -> None:
    """After the decision every other wish is a no-op that sees the decision (T9)."""
    tried(play, "a")
    play.happen(Confirm())

    assert play.happen(late) == ()
    assert machine.answerable(late, play.tx)


def test_no_branch_joins_after_the_decision(play: Play) -> None:
    """Registration closes with the decision (T3)."""
    tried(play, "a")
    play.happen(Confirm())

    with pytest.raises(PreconditionFailed) as refusal:
        play.happen(Try((spec("b"),)))
    assert refusal.value.detail_reason == "TRANSACTION_DECIDED"
    assert play.happen(Try((spec("a"),))) == ()


def test_confirm_waits_for_open_tries(play: Play) -> None:
    """A commit needs every try's success (T2); until then nothing is decided."""
    play.happen(Try((spec("a"),)))

    assert play.happen(Confirm()) == ()
    assert not machine.answerable(Confirm(), play.tx)
    assert not machine.is_ready(play.tx)
    play.answer("a")
    assert machine.is_ready(play.tx)
    play.happen(Confirm())
    assert play.tx.decision is Decision.COMMIT


@pytest.mark.parametrize("listed", [set(), {"a"}, {"a", "b", "c"}, {"a", "c"}])
def test_confirm_with_another_list_is_refused(play: Play, listed: set[str]) -> None:
    """A list that differs from what is registered is refused, and says how (T2)."""
    play.happen(Register((spec("a"), spec("b"))))

    with pytest.raises(PreconditionFailed) as refusal:
        play.happen(Confirm(frozenset(listed)))
    assert refusal.value.detail_reason == "BRANCH_LIST_DIFFERS"


def test_direct_branches_must_be_listed(play: Play) -> None:
    """The coordinator has not seen direct tries, so it takes no blank cheque (T2)."""
    play.happen(Register((spec("a"),)))

    assert play.asked() == set()
    with pytest.raises(PreconditionFailed) as refusal:
        play.happen(Confirm())
    assert refusal.value.detail_reason == "BRANCH_LIST_REQUIRED"
    play.happen(Confirm(frozenset({"a"})))
    assert play.asked() == {("a", "CONFIRM")}


def test_direct_branches_are_cancelled_too(play: Play) -> None:
    """A registered branch may have been tried, so it is cancelled."""
    play.happen(Register((spec("a"),)))
    play.happen(Cancel("BECAUSE", "of this"))

    assert play.asked() == {("a", "CANCEL")}
    assert (play.tx.reason_code, play.tx.reason_text) == ("BECAUSE", "of this")


@pytest.mark.parametrize(
    ("what", "end"), [(Confirm(), Status.CONFIRMED), (Cancel(), Status.CANCELLED)]
)
def test_no_branches_end_at_once(play: Play, what: object, end: Status) -> None:
    """Nothing to do is done with the decision."""
    play.happen(what)

    assert play.tx.status is end


def test_declared_transaction_decides_by_itself() -> None:
    """All tries succeeded is the decision, in the same step."""
    play = Play.begin(Begin(tcc_request(declared=True), (spec("a"), spec("b"))))
    assert play.asked() == {("a", "TRY"), ("b", "TRY")}
    play.answer("a")
    assert play.tx.decision is Decision.NONE
    play.answer("b")

    assert play.tx.decision is Decision.COMMIT
    assert play.asked() == {("a", "CONFIRM"), ("b", "CONFIRM")}


def test_unknown_try_is_asked_again_and_then_given_up(play: Play) -> None:
    """Used-up attempts cancel the transaction and that branch, which may have run."""
    play.happen(Try((spec("a", attempt_max=2),)))
    play.answer("a", Unknown("TIMEOUT"))
    assert play.branch("a").attempts == 1
    assert play.tx.status is Status.TRYING
    play.wait_until_due()
    play.answer("a", Unknown("TIMEOUT"))

    assert play.tx.reason_code == "ATTEMPTS_USED_UP"
    assert play.asked() == {("a", "CANCEL")}
    assert play.branch("a").attempts == 0


def test_unknown_then_success(play: Play) -> None:
    """A try that was unknown once may still succeed."""
    play.happen(Try((spec("a"),)))
    play.answer("a", Unknown("TIMEOUT"))
    assert play.asked() == set() or play.now == 0
    play.wait_until_due()
    assert play.due()["a"].attempt == 2
    play.answer("a", Succeeded(Payload(b'{"id":1}', JSON)))

    assert play.branch("a").output == Payload(b'{"id":1}', JSON)


def test_answer_to_an_older_call_counts_once(play: Play) -> None:
    """A second unknown for the same attempt is not a second attempt."""
    play.happen(Try((spec("a"),)))
    failure = BranchReplied("a", Phase.TRY, 1, Unknown("TIMEOUT"))
    play.happen(failure)

    assert play.happen(failure) == ()


def test_phase_two_is_asked_without_end_and_calls_a_person(play: Play) -> None:
    """Confirm is retried for ever; attention comes once, with the last error (T8)."""
    tried(play, "a", "b")
    play.happen(Confirm())
    play.answer("b")
    for _ in range(3 * ATTENTION_AFTER):
        play.wait_until_due()
        play.answer("a", Unknown("HANDLER_ERROR", "boom"))

    raised = [fact for fact in play.facts if isinstance(fact, AttentionRaised)]
    assert len(raised) == 1
    assert "branch a" in raised[0].reason
    assert "HANDLER_ERROR" in raised[0].reason
    assert play.tx.attention_since is not None
    play.wait_until_due()
    play.answer("a")
    assert play.tx.status is Status.CONFIRMED
    assert play.tx.attention_since is None


def test_refused_confirm_is_asked_again(play: Play) -> None:
    """Phase two knows no business no."""
    tried(play, "a")
    play.happen(Confirm())
    play.answer("a", Refused("NO"))

    assert play.tx.status is Status.CONFIRMING
    assert play.branch("a").error_code == "NO"


def test_one_failing_branch_holds_nobody_back(play: Play) -> None:
    """The others are confirmed while one fails (V2)."""
    tried(play, "a", "b", "c")
    play.happen(Confirm())
    play.answer("b", Unknown("TIMEOUT"))
    play.answer("a")
    play.answer("c")

    assert play.statuses() == {"a": "CONFIRMED", "b": "CONFIRMING", "c": "CONFIRMED"}


@pytest.mark.parametrize(("after", "wait"), [(250, 250), (None, PENDING_POLL_MS)])
def test_pending_is_asked_again_later(play: Play, after: int | None, wait: int) -> None:
    """A pending branch is polled, and its attempts are not used up by it."""
    play.happen(Try((spec("a", attempt_max=1),)))
    play.answer("a", Pending(after))

    assert play.branch("a").pending_since == 0
    assert play.branch("a").due_at == wait
    assert play.due() == {}
    play.now = wait
    assert play.due()["a"].attempt == 1
    play.answer("a")
    assert play.statuses() == {"a": "TRIED"}


def test_pending_branch_is_completed_from_outside(play: Play) -> None:
    """CompleteBranch is an answer like any other."""
    play.happen(Try((spec("a"),)))
    play.answer("a", Pending())
    play.happen(BranchReplied("a", Phase.TRY, 0, Succeeded()))

    assert play.statuses() == {"a": "TRIED"}


def test_operator_asks_now(play: Play) -> None:
    """Retry-now makes open branches due at once and forgets no attempt."""
    tried(play, "a")
    play.happen(Confirm())
    for _ in range(5):
        play.wait_until_due()
        play.answer("a", Unknown("TIMEOUT"))
    play.branch("a")
    play.happen(RetryNow("ops", "participant is back"))

    assert play.due()["a"].attempt == 6


def test_operator_cannot_retry_what_has_ended(play: Play) -> None:
    """Retry-now after the end is refused."""
    play.happen(Cancel())

    with pytest.raises(PreconditionFailed):
        play.happen(RetryNow("ops", "again"))


def test_foreign_answers_mean_nothing(play: Play) -> None:
    """An answer for no branch, or for another phase, changes nothing."""
    tried(play, "a")

    assert play.happen(BranchReplied("zz", Phase.TRY, 1, Succeeded())) == ()
    assert play.happen(BranchReplied("a", Phase.CONFIRM, 1, Succeeded())) == ()


def test_branches_are_limited(play: Play) -> None:
    """One branch more than the limit is refused before anything is registered (T14)."""
    with pytest.raises(InvalidRequest):
        play.happen(Try(tuple(spec(str(n)) for n in range(BRANCH_MAX + 1))))

    assert play.tx.branches == {}


def test_decision_cannot_be_folded_twice(play: Play) -> None:
    """A history with two decisions is illegal (T1)."""
    decided = Decided(Decision.ABORT, "", "", 0)
    tx = machine.evolve(play.tx, decided)

    with pytest.raises(IllegalTransition):
        machine.evolve(tx, decided)


def test_state_is_the_fold_of_its_facts(play: Play) -> None:
    """The facts alone rebuild the state (T11)."""
    tried(play, "a", "b")
    play.happen(Confirm())
    play.answer("a")
    play.answer("b", Unknown("X"))
    play.wait_until_due()
    play.answer("b")

    assert machine.fold(tuple(play.facts)) == play.tx


def test_try_is_answerable_when_all_answered(play: Play) -> None:
    """The initiator is answered when the last try of its request is."""
    what = Try((spec("a"), spec("b")))
    play.happen(what)
    play.answer("a")
    assert not machine.answerable(what, play.tx)
    play.answer("b")

    assert machine.answerable(what, play.tx)


@pytest.mark.parametrize("what", [Confirm(wait=True), Observe(wait=True)])
def test_truthful_wait(play: Play, what: object) -> None:
    """Who waits for the end is answered at the end and not before."""
    tried(play, "a")
    play.happen(Confirm())
    assert not machine.answerable(what, play.tx)
    play.answer("a")

    assert machine.answerable(what, play.tx)


def test_operator_cancels_and_settles(play: Play) -> None:
    """His reason is the decision's; what he settles ends as RESOLVED (T8)."""
    tried(play, "a", "b")
    play.happen(CancelByOperator("eve", "wrong customer"))
    assert (play.tx.reason_code, play.tx.reason_text) == (
        "CANCELLED_BY_OPERATOR",
        "wrong customer",
    )
    play.answer("a")
    play.happen(Resolve("b", "eve", "by hand"))
    assert play.tx.status is Status.RESOLVED
    assert play.statuses() == {"a": "CANCELLED", "b": "RESOLVED"}


def test_operator_too_late_for_the_deadline_changes_nothing(play: Play) -> None:
    """Time is looked at first; the decision is its own (T9)."""
    tried(play, "a")
    play.now = DEADLINE
    play.happen(CancelByOperator("eve", "wrong customer"))

    assert (play.tx.reason_code, play.tx.status) == ("DEADLINE", Status.CANCELLING)


def test_a_confirm_that_waits_for_its_participant_calls_a_person(play: Play) -> None:
    """Once: what is known already is not said again."""
    tried(play, "a", "b")
    play.happen(Confirm())
    play.answer("a", Unknown("TIMEOUT"))
    (raised,) = play.happen(StillWaiting("a", Phase.CONFIRM, 2))
    assert isinstance(raised, AttentionRaised)
    assert raised.reason.endswith("after 1 failed attempts, last: TIMEOUT")
    assert play.happen(StillWaiting("a", Phase.CONFIRM, 2)) == ()
