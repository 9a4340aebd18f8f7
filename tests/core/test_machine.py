"""Promises of the core as a whole."""

import pytest
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.definition import Constant
from coordinator.core.errors import (
    AlreadyExists,
    InvariantViolated,
    NotFound,
    PreconditionFailed,
)
from coordinator.core.events import BranchSucceeded, Decided, Event, TrialSurvived
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Cancel,
    CancelByOperator,
    Confirm,
    Input,
    Observe,
    Pause,
    Pending,
    Refused,
    Register,
    Resolve,
    Resume,
    RetryNow,
    StillWaiting,
    Submit,
    Succeeded,
    Survived,
    Try,
    Unknown,
    Woken,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    Branch,
    GlobalTransaction,
    Key,
    Payload,
    open_of,
)
from coordinator.core.quarantine import QUARANTINE_MS, hold, is_on_trial
from coordinator.core.tcc import CHECK_BACK_ID
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
    Status,
)
from coordinator.saga_yaml.language import STEP_ID
from tests.core.world import (
    DEADLINE,
    JSON,
    Play,
    call_step,
    definition,
    pivot,
    saga_request,
    spec,
    step,
    tcc_request,
)

ANYTHING: list[Input] = [
    Try((spec("a"),)),
    Register((spec("a"),)),
    Confirm(),
    Cancel(),
    Observe(wait=True),
    BranchReplied("a", Phase.TRY, 1, Succeeded()),
    Woken(),
    RetryNow("eve", "now"),
    CancelByOperator("eve", "no"),
    Pause("eve", "wait"),
    Resume("eve", "go"),
    Resolve("a", "eve", "by hand"),
    StillWaiting("a", Phase.TRY, 1),
    Survived("n-1"),
]


@pytest.fixture
def play() -> Play:
    """A TCC transaction with two open tries."""
    return Play.begin(Begin(tcc_request(), (spec("a"), spec("b"))))


def decided(play: Play, what: Input) -> Play:
    play.answer("a")
    play.answer("b")
    play.happen(what)
    return play


@pytest.mark.parametrize("what", ANYTHING, ids=lambda what: type(what).__name__)
def test_nothing_happens_to_what_never_began(what: Input) -> None:
    """A wish for an unknown gid is told so, and names the field."""
    with pytest.raises(NotFound) as refusal:
        machine.step(None, what, 0)

    assert refusal.value.field == "gid"


def test_begin_again_is_the_same_transaction(play: Play) -> None:
    """The same body means nothing new, another is refused; so for sagas (T10)."""
    assert play.happen(Begin(tcc_request())) == ()
    with pytest.raises(AlreadyExists) as refusal:
        play.happen(Begin(tcc_request(digest="other")))
    assert (refusal.value.field, refusal.value.detail_reason) == ("gid", "GID_EXISTS")

    saga = Play.begin(Submit(saga_request(), definition(step("a"))))
    assert saga.happen(Submit(saga_request(), definition(step("a")))) == ()
    with pytest.raises(AlreadyExists):
        saga.happen(Begin(tcc_request(digest="other")))


def test_decide_gives_the_facts_alone(play: Play) -> None:
    """The state stays with the caller."""
    facts = machine.decide(play.tx, Cancel(), 7)

    assert isinstance(facts[0], Decided)
    assert machine.step(play.tx, Cancel(), 7)[1] == facts
    assert play.tx.decision is Decision.NONE


def test_call_carries_all_that_the_participant_needs(play: Play) -> None:
    """Its own input, the attempt, the timeout, and since when the whole runs."""
    began = replace(tcc_request(), created_at=5, depth=2)
    own = Play.begin(Begin(began, (spec("a", data=b"[1]"),)))
    own.answer("a", Unknown("TIMEOUT", retry_after_ms=10))
    own.now = 10
    call = own.due()["a"]

    assert (call.key, call.branch_id) == (Key("default", "g-1"), "a")
    assert (call.operation, call.phase, call.attempt) == ("bank.move", Phase.TRY, 2)
    assert (call.input, call.output) == (Payload(b"[1]", JSON), NO_PAYLOAD)
    assert (call.timeout_ms, call.began_at, call.depth) == (3_000, 5, 2)


def test_call_inside_another_try_is_one_deeper() -> None:
    """Counted from the outermost transaction, through all that are nested (T12)."""
    play = Play.begin(Begin(replace(tcc_request(), depth=2), (spec("a"),)))
    play.happen(Try((replace(spec("b"), parent_branch_id="a"),)))

    assert {name: call.depth for name, call in play.due().items()} == {"a": 2, "b": 3}


def test_second_phase_brings_the_answer_of_the_first(play: Play) -> None:
    """So that a participant finds what it reserved."""
    play.answer("a", Succeeded(Payload(b"7", JSON)))
    play.answer("b")
    play.happen(Confirm())

    assert play.due()["a"].output == Payload(b"7", JSON)
    assert play.due()["a"].attempt == 1


def test_compensation_has_its_own_operation_and_timeout() -> None:
    """And the input that was evaluated for it."""
    undone = step("a", undo_input=Constant("undo"))
    play = Play.begin(Submit(saga_request(), definition(undone, step("b", "a"))))
    play.answer("a", Succeeded(Payload(b"7", JSON)))
    play.answer("b", Refused("NO"))
    call = play.due()["a"]

    assert (call.operation, call.phase) == ("a.undo", Phase.COMPENSATION)
    assert (call.timeout_ms, call.output) == (2_000, Payload(b"7", JSON))
    assert call.input == Payload(b'"undo"', JSON)


def test_compensation_that_is_not_there_stops_the_transaction() -> None:
    """A bug is never called: the state says what the definition does not know."""
    saga = Play.begin(Submit(saga_request(), definition(step("a", undo=False)))).tx
    branch = replace(saga.branches["a"], status=BranchStatus.COMPENSATING)

    with pytest.raises(InvariantViolated, match="step a has no compensation"):
        machine.due(replace(saga, branches={"a": branch}), 0)


def test_calls_are_due_from_their_instant_on(play: Play) -> None:
    """Not before it, and only while something is asked."""
    play.answer("a", Unknown("TIMEOUT", retry_after_ms=100))

    assert set(play.due()) == {"b"}
    play.now = 99
    assert set(play.due()) == {"b"}
    play.now = 100
    assert set(play.due()) == {"a", "b"}
    play.answer("b")
    assert set(play.due()) == {"a"}


def test_time_of_the_next_deed(play: Play) -> None:
    """The earliest branch that is not in flight, or the deadline while undecided."""
    assert machine.due_at(play.tx) == 0
    assert machine.due_at(play.tx, {"a", "b"}) == DEADLINE
    play.answer("a", Unknown("TIMEOUT", retry_after_ms=100))
    assert machine.due_at(play.tx, {"b"}) == 100
    play.answer("a")
    play.answer("b")
    assert machine.due_at(play.tx) == DEADLINE
    play.now = 5
    play.happen(Confirm())
    assert machine.due_at(play.tx) == 5
    assert machine.due_at(play.tx, {"a", "b"}) is None
    play.answer("a")
    play.answer("b")
    assert play.tx.status is Status.CONFIRMED
    assert machine.due_at(play.tx) is None


def test_paused_transaction_makes_no_call_and_keeps_its_deadline(play: Play) -> None:
    """Its calls go on where they were when it is resumed."""
    play.happen(Pause("eve", "wait"))

    assert play.due() == {}
    assert machine.due_at(play.tx) == DEADLINE
    play.now = DEADLINE
    play.happen(Woken())
    assert play.tx.status is Status.CANCELLING
    assert machine.due_at(play.tx) is None
    play.happen(Resume("eve", "go"))
    assert play.asked() == {("a", "CANCEL"), ("b", "CANCEL")}


def test_no_step_can_be_taken_for_the_check_back() -> None:
    """Its branch id is no step id, so every saga keeps its timeout (T13)."""
    import re

    assert re.fullmatch(STEP_ID, "check-back")
    assert not re.fullmatch(STEP_ID, CHECK_BACK_ID)
    play = Play.begin(Submit(saga_request(), definition(step("check-back"))))
    assert machine.due_at(play.tx, {"check-back"}) == DEADLINE


def test_try_is_answerable_when_its_own_branches_are(play: Play) -> None:
    """Others' open tries keep nobody; a decision answers everybody."""
    both, one = Try((spec("a"), spec("b"))), Try((spec("a"),))
    assert not machine.answerable(both, play.tx)
    play.answer("a")
    assert machine.answerable(one, play.tx)
    assert not machine.answerable(both, play.tx)
    assert machine.answerable(Try((spec("unknown"),)), play.tx)
    play.happen(Cancel())
    assert machine.answerable(both, play.tx)


@pytest.mark.parametrize(
    ("what", "open_", "turned", "ended"),
    [
        (Confirm(), False, True, True),
        (Confirm(wait=True), False, False, True),
        (Cancel(wait=True), False, False, True),
        (Observe(wait=True), False, False, True),
        (Cancel(), True, True, True),
        (Observe(), True, True, True),
        (Begin(tcc_request()), True, True, True),
        (RetryNow("eve", "now"), True, True, True),
    ],
    ids=str,
)
def test_waiting_is_answered_with_the_truth(
    play: Play, what: Input, *, open_: bool, turned: bool, ended: bool
) -> None:
    """At the decision or at the end, as it was asked; never before."""
    assert machine.answerable(what, play.tx) is open_
    decided(play, Confirm())
    assert machine.answerable(what, play.tx) is turned
    play.answer("a")
    play.answer("b")
    assert machine.answerable(what, play.tx) is ended


def test_confirm_is_ready_when_no_try_is_open(play: Play) -> None:
    """Nothing waits once it is decided."""
    assert not machine.is_ready(play.tx)
    play.answer("a")
    assert not machine.is_ready(play.tx)
    play.answer("b")
    assert machine.is_ready(play.tx)
    play.happen(Confirm())
    assert not machine.is_ready(play.tx)


def test_only_answers_alone_may_wait_in_memory() -> None:
    """One fact that must be durable makes the whole step so (T4)."""
    answer: Event = BranchSucceeded("a", Phase.TRY, NO_PAYLOAD, 1)
    turn: Event = Decided(Decision.COMMIT, "", "", 1)

    assert machine.is_lazy([answer, answer])
    assert machine.is_lazy([])
    assert not machine.is_lazy([answer, turn])
    assert not machine.is_lazy([turn, answer])


def test_no_answer_that_a_check_back_rests_on_waits_in_memory() -> None:
    """The initiator acts on it, and is asked about it after a crash."""
    answer: Event = BranchSucceeded("a", Phase.TRY, NO_PAYLOAD, 1)
    asks_back = replace(tcc_request(), check_back="shop.check")

    assert machine.is_lazy([answer], Play.begin(Begin(tcc_request())).tx)
    assert not machine.is_lazy([answer], Play.begin(Begin(asks_back)).tx)


@pytest.mark.parametrize("decision", [Decision.ABORT, Decision.NONE])
def test_changed_decision_is_an_alarm(play: Play, decision: Decision) -> None:
    """Whatever rule did it, this transaction is stopped (T1)."""
    before = decided(play, Confirm()).tx

    with pytest.raises(InvariantViolated, match="T1"):
        machine.check(before, replace(before, decision=decision))


def test_changed_end_is_an_alarm(play: Play) -> None:
    """Also a change that leaves the status alone (T8)."""
    play.happen(Cancel())
    play.answer("a")
    play.answer("b")
    ended = play.tx
    assert ended.status is Status.CANCELLED

    machine.check(ended, ended)
    with pytest.raises(InvariantViolated, match="T8: an ended transaction"):
        machine.check(ended, replace(ended, output=Payload(b"x")))


HONEST = {
    Status.CONFIRMED: {BranchStatus.CONFIRMED},
    Status.CANCELLED: {BranchStatus.CANCELLED, BranchStatus.REFUSED},
    Status.COMPLETED: {
        BranchStatus.SUCCEEDED,
        BranchStatus.CONFIRMED,
        BranchStatus.SKIPPED,
    },
    Status.COMPENSATED: {
        BranchStatus.COMPENSATED,
        BranchStatus.CANCELLED,
        BranchStatus.REFUSED,
        BranchStatus.ABANDONED,
        BranchStatus.SKIPPED,
        BranchStatus.SUCCEEDED,
    },
}


@pytest.mark.parametrize("end", HONEST)
@pytest.mark.parametrize("status", BranchStatus)
def test_end_without_the_answers_is_an_alarm(end: Status, status: BranchStatus) -> None:
    """No counter, timeout or operator can write it; one open branch is enough (T8)."""
    good = Branch(spec("a"), min(HONEST[end]))
    branches = {"a": good, "b": Branch(spec("b"), status)}
    tx = GlobalTransaction(
        tcc_request(),
        end,
        branches=branches,
        open=open_of(branches),
        definition=definition(step("a", undo=False), step("b", undo=False)),
    )

    if status in HONEST[end]:
        machine.check(None, tx)
    else:
        with pytest.raises(InvariantViolated, match=f"T8: {end} with branches"):
            machine.check(None, tx)


@pytest.mark.parametrize("status", BranchStatus)
def test_open_transaction_may_have_any_branches(status: BranchStatus) -> None:
    """And one that a person settled (T8)."""
    for open_ in (Status.TRYING, Status.CANCELLING, Status.RESOLVED):
        tx = GlobalTransaction(
            tcc_request(), open_, branches={"b": Branch(spec("b"), status)}
        )
        machine.check(None, tx)


def test_question_to_the_initiator_is_no_participants_answer() -> None:
    """It may end in any way; the participants' branches may not (T8)."""
    asked = Branch(spec(CHECK_BACK_ID), BranchStatus.ABANDONED)
    done = Branch(spec("a"), BranchStatus.CONFIRMED)
    branches = {CHECK_BACK_ID: asked, "a": done}
    tx = GlobalTransaction(tcc_request(), Status.CONFIRMED, branches=branches)

    machine.check(None, tx)


def test_every_step_is_checked(play: Play) -> None:
    """What check refuses never leaves the core."""
    play.happen(Cancel())
    wrong = replace(play.tx, branches={}, status=Status.CANCELLED)
    with pytest.raises(PreconditionFailed, match="has ended as CANCELLED"):
        machine.step(wrong, RetryNow("eve", "now"), 0)
    broken = {"a": Branch(spec("a"), BranchStatus.CANCELLING), "b": play.branch("b")}
    lying = replace(play.tx, branches={**broken, "c": Branch(spec("c"), "TRIED")})
    play.tx = lying
    play.answer("a")
    with pytest.raises(InvariantViolated, match="T8: CANCELLED"):
        play.answer("b")


@pytest.mark.parametrize(
    "what",
    [
        RetryNow("eve", "now"),
        CancelByOperator("eve", "no"),
        Pause("eve", "wait"),
        Resume("eve", "go"),
        Resolve("a", "eve", "by hand"),
    ],
    ids=lambda what: type(what).__name__,
)
def test_operator_is_heard_in_both_modes(what: Input) -> None:
    """His wish is a fact or a refusal of its own, never passed over."""
    saga = Play.begin(Submit(saga_request(), definition(step("a"))))
    tcc = Play.begin(Begin(tcc_request(), (spec("a"),)))
    for play in (saga, tcc):
        if isinstance(what, Resume):
            play.happen(Pause("eve", "wait"))
        if isinstance(what, Resolve):
            play.happen(Cancel())
        assert play.happen(what) != ()


def test_only_what_cannot_fail_is_asked_to_reconsider() -> None:
    """After the commit, and from the second call on (S5)."""
    must, may = step("must", "pay"), call_step("may", "pay", optional=True)
    play = Play.begin(Submit(saga_request(), definition(pivot("pay"), must, may)))
    play.answer("pay", Unknown("TIMEOUT"))
    play.wait_until_due()
    assert not play.due()["pay"].reconsider
    play.answer("pay")
    assert not play.due()["must"].reconsider
    play.answer("must", Refused("NO"))
    play.answer("may", Unknown("TIMEOUT"))
    play.now += 60_000

    asked_anew = {name: call.reconsider for name, call in play.due().items()}
    assert asked_anew == {"must": True, "may": False}


# ---- Calls that have to wait for their turn -----------------------------------------


def again(play: Play, branch_id: str, phase: Phase, attempt: int) -> object:
    return machine.due_again(play.tx, branch_id, phase, attempt, play.now)


def failed_confirm() -> Play:
    """A confirm of ``a`` has failed once."""
    play = Play.begin(Begin(tcc_request()))
    play.happen(Try((spec("a"),)))
    play.answer("a")
    play.happen(Confirm())
    play.answer("a", Unknown("PARTICIPANT_UNAVAILABLE", "bank is not attached"))
    return play


def test_a_call_that_waited_is_made_as_it_is_due() -> None:
    """V4: whatever its time was; it came before it had to wait."""
    play = failed_confirm()
    play.wait_until_due()
    (call,) = play.due().values()
    assert again(play, "a", Phase.CONFIRM, 2) == call
    play.now = 0
    assert again(play, "a", Phase.CONFIRM, 2) == call


def test_a_call_that_is_not_wanted_any_more_is_not_made() -> None:
    """V4: another attempt, another phase, no such branch, answered, or held."""
    play = failed_confirm()
    for branch_id, phase, attempt in (
        ("a", Phase.CONFIRM, 1),
        ("a", Phase.CONFIRM, 3),
        ("a", Phase.TRY, 2),
        ("b", Phase.CONFIRM, 2),
    ):
        assert again(play, branch_id, phase, attempt) is None
    play.happen(Pause("ann", "looks odd"))
    assert again(play, "a", Phase.CONFIRM, 2) is None
    play.happen(Resume("ann", "is not"))
    held = machine.evolve(play.tx, hold(play.tx, 0))
    assert machine.due_again(held, "a", Phase.CONFIRM, 2, 0) is None
    assert machine.due_at(held) == QUARANTINE_MS
    assert again(play, "a", Phase.CONFIRM, 2) is not None
    play.answer("a")
    assert again(play, "a", Phase.CONFIRM, 2) is None


def test_a_pending_call_that_waited_is_made_at_its_participants_pace() -> None:
    """V4: it was told to be working on it meanwhile."""
    play = failed_confirm()
    play.answer("a", Pending(5_000))
    assert again(play, "a", Phase.CONFIRM, 2) is None
    play.now += 5_000
    assert again(play, "a", Phase.CONFIRM, 2) is not None


def test_phase_two_may_wait_and_a_try_may_not() -> None:
    """Only who is asked without end may wait for a participant that is not there."""
    play = Play.begin(Begin(tcc_request()))
    play.happen(Try((spec("a"),)))
    assert not play.due()["a"].endless
    play.answer("a")
    play.happen(Cancel())
    assert play.due()["a"].endless


def test_a_call_that_waits_for_long_calls_a_person_once() -> None:
    """S6: its attempts do not count any more, so its age does."""
    play = failed_confirm()
    (raised,) = play.happen(StillWaiting("a", Phase.CONFIRM, 2))
    assert raised.reason == (
        "CONFIRM of branch a (bank.move) waits for its participant, after 1 failed"
        " attempts, last: PARTICIPANT_UNAVAILABLE bank is not attached"
    )
    assert play.happen(StillWaiting("a", Phase.CONFIRM, 2)) == ()


def test_a_call_that_waits_no_more_calls_nobody() -> None:
    """It was answered, or is another one by now."""
    play = failed_confirm()
    assert play.happen(StillWaiting("a", Phase.CONFIRM, 1)) == ()
    play.happen(Pause("ann", "looks odd"))
    assert play.happen(StillWaiting("a", Phase.CONFIRM, 2)) == ()


def on_trial(play: Play) -> Play:
    """Quarantined, and claimed by a node when its hold was over."""
    play.tx = replace(machine.evolve(play.tx, hold(play.tx, play.now)), owner="n-1")
    return play


def test_an_answer_to_a_trial_ends_it_whatever_it_says() -> None:
    """V6: who asked is alive; the answer counts as ever."""
    play = on_trial(failed_confirm())
    survived, failed = play.happen(
        BranchReplied("a", Phase.CONFIRM, 2, Unknown("TIMEOUT"))
    )
    assert survived == TrialSurvived(play.now)
    assert (failed.branch_id, failed.attempts) == ("a", 2)
    assert play.tx.attention_since is None


def test_time_spent_alive_with_a_trial_ends_it() -> None:
    """V6: the owner's; anybody else's means nothing, and nothing ends twice."""
    play = on_trial(failed_confirm())
    assert play.happen(Survived("n-2")) == ()
    assert play.happen(Survived("n-1")) == (TrialSurvived(play.now),)
    assert play.happen(Survived("n-1")) == ()


def test_what_time_decided_meanwhile_does_not_end_a_trial() -> None:
    """V6: nobody has been called yet."""
    play = on_trial(Play.begin(Begin(tcc_request(), (spec("a"),))))
    play.now = play.tx.request.deadline_at
    (fact,) = play.happen(Woken())
    assert fact.decision is Decision.ABORT
    assert is_on_trial(play.tx)
