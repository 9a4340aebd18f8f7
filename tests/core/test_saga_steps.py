"""Promises of a saga whose steps are of every kind."""

from typing import get_args

import pytest
from msgspec.structs import replace

from coordinator.core import machine, saga
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import Constant
from coordinator.core.errors import (
    AlreadyExists,
    InvalidRequest,
    InvariantViolated,
    PreconditionFailed,
)
from coordinator.core.inputs import (
    BranchReplied,
    Cancel,
    CancelByOperator,
    Outcome,
    Pending,
    Refused,
    Resolve,
    RetryNow,
    Signal,
    Succeeded,
    Unknown,
    Woken,
)
from coordinator.core.model import Payload
from coordinator.core.saga import OUTPUT_NEEDED, compensation_of
from coordinator.core.tcc import ATTENTION_AFTER, PENDING_POLL_MS
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)
from tests.core.world import (
    DEADLINE,
    JSON,
    Play,
    await_step,
    call_step,
    child_step,
    definition,
    for_each,
    pivot,
    reference,
    step,
    submit,
    tcc_step,
    wait_step,
    with_fallback,
)

TOO_LARGE = Succeeded(Payload(b'"' + b"x" * 300_000 + b'"', JSON))


def with_pivot(*more: object) -> Play:
    play = submit(
        tcc_step("hold"), pivot("pay", "hold"), step("after", "pay", undo=False), *more
    )
    play.answer("hold")
    return play


def committed() -> Play:
    play = with_pivot()
    play.answer("pay")
    play.answer("hold")
    return play


# ---- Time -------------------------------------------------------------------------


def test_timer_ends_when_its_time_has_come() -> None:
    """Not a millisecond before, and with no participant asked."""
    play = submit(wait_step("w", wait=Constant(500)), step("b", "w"))
    play.now = 499
    play.happen(Woken())
    assert play.statuses() == {"w": "WAITING"}
    play.now = 500
    play.happen(Woken())
    assert play.statuses() == {"w": "SUCCEEDED", "b": "RUNNING"}


def test_operator_who_retries_does_not_cut_a_timer_short() -> None:
    """Calls are hastened, time is not."""
    play = submit(wait_step("w", wait=Constant(500)), step("b", "w"))
    play.happen(RetryNow("alice", "hurry"))

    assert machine.due_at(play.tx) == 500


def test_timers_that_end_together_each_count() -> None:
    """One look at the clock sees all of them."""
    play = submit(
        wait_step("v", wait=Constant(5)),
        wait_step("w", wait=Constant(5)),
        step("b", "v", "w"),
    )
    play.now = 5
    play.happen(Woken())

    assert play.asked() == {("b", "ACTION")}


def test_first_failure_of_one_look_ends_the_looking() -> None:
    """What the turning back has changed is not judged by its old state."""
    play = submit(
        tcc_step("hold", expires_ms=5),
        await_step("ok", signal="go", timeout_ms=5),
        step("b", "hold", "ok"),
    )
    play.answer("hold")
    play.now = 5
    play.happen(Woken())

    assert play.tx.reason_code == "RESERVATION_EXPIRED"
    assert play.statuses() == {"hold": "CANCELLING", "ok": "ABANDONED"}


def test_reservation_that_is_heard_of_after_its_time_turns_back() -> None:
    """However late the answer to its try comes, it is not confirmed any more."""
    play = submit(tcc_step("hold", expires_ms=1_000))
    play.now = 1_000
    play.answer("hold")

    assert play.tx.reason_code == "RESERVATION_EXPIRED"
    assert play.asked() == {("hold", "CANCEL")}
    play = submit(tcc_step("hold", expires_ms=1_000))
    play.now = 999
    play.answer("hold")
    assert play.asked() == {("hold", "CONFIRM")}


def test_expired_reservation_beside_the_pivot_is_confirmed() -> None:
    """What has committed does not turn back for it (S5)."""
    play = submit(pivot("pay"), tcc_step("hold", optional=True, expires_ms=1_000))
    play.answer("pay")
    play.now = 1_000
    play.answer("hold")

    assert play.asked() == {("hold", "CONFIRM")}


def test_saga_that_goes_back_has_no_timers() -> None:
    """Its deadline is over, too (S4)."""
    play = submit(wait_step("w", wait=Constant(500)), step("b"))
    play.answer("b", Refused("NO"))

    assert play.statuses() == {"w": "ABANDONED", "b": "REFUSED"}
    assert machine.due_at(play.tx) is None


def test_branch_that_stays_pending_too_long_fails() -> None:
    """It may have happened, so it is undone; the next choice has its turn."""
    calls = step("a").calls[0], step("x").calls[0]

    first = replace(calls[0], pending_timeout_ms=1_000)
    play = submit(call_step("a", calls=(first, calls[1])))
    play.answer("a", Pending())
    play.now = 1_000
    play.happen(Woken())

    assert play.asked() == {("a", "COMPENSATION"), ("a:fallback-1", "ACTION")}
    assert play.branch("a").error_code == "PENDING_TIMEOUT"


def test_every_outcome_means_something_in_every_phase() -> None:
    """None is forgotten in the tables that they are looked up in."""
    outcomes = set(get_args(Outcome))

    assert saga._FORWARD_ANSWERED.keys() == outcomes
    assert saga._PHASE_TWO_ANSWERED.keys() == outcomes


def test_settling_by_hand_after_the_deadline_ends_a_saga_once() -> None:
    """The clock is looked at first, and nothing is left to go on with."""
    once = RetryPolicy(attempt_max=1)
    play = submit(with_fallback(step("a", retry=once), step("x", undo=False)))
    play.answer("a", Unknown("TIMEOUT"))
    assert play.statuses() == {"a": "COMPENSATING", "a:fallback-1": "RUNNING"}
    play.now = DEADLINE
    play.happen(Resolve("a", "kim", "undone by hand"))

    assert play.statuses() == {"a": "RESOLVED", "a:fallback-1": "ABANDONED"}
    assert play.tx.status is Status.RESOLVED


def test_pivot_may_stay_pending_without_end() -> None:
    """A person is called, and it is polled at its own pace (S5)."""
    pay = pivot("pay")
    pay = replace(pay, calls=(replace(pay.calls[0], pending_timeout_ms=1_000),))
    play = submit(pay)
    play.answer("pay", Pending())
    assert machine.due_at(play.tx) == PENDING_POLL_MS
    assert play.tx.attention_since is None
    play.now = PENDING_POLL_MS
    play.answer("pay", Pending(retry_after_ms=50))
    assert machine.due_at(play.tx) == PENDING_POLL_MS + 50
    assert "still asked" in play.tx.attention_reason
    play.now += 50
    assert play.happen(Woken()) == ()
    play.answer("pay", Pending())
    play.answer("pay")
    assert play.tx.status is Status.COMPLETED


# ---- Signals ----------------------------------------------------------------------


def test_signal_of_a_child_reaches_every_step_that_awaits_it() -> None:
    """A name is the whole saga's."""
    child = definition(await_step("in", signal="go"), step("x", "in"))
    play = submit(child_step("c", child=child), await_step("out", signal="go"))
    play.happen(Signal("go"))

    assert play.asked() == {("c:x", "ACTION")}
    assert play.branch("out").status.value == "SUCCEEDED"


def test_same_signal_again_means_nothing() -> None:
    """Another body under the same name is refused (T10)."""
    play = submit(await_step("ok", signal="go"), step("b", "ok"))
    play.happen(Signal("go", Payload(b"1", JSON)))

    assert play.happen(Signal("go", Payload(b"1", JSON))) == ()
    with pytest.raises(AlreadyExists, match="before with another payload"):
        play.happen(Signal("go", Payload(b"2", JSON)))


def test_signal_that_nothing_awaits_is_refused() -> None:
    """And the ones that are awaited are named."""
    play = submit(await_step("ok", signal="go"), await_step("and", signal="also"))
    with pytest.raises(InvalidRequest, match="awaited are: also, go"):
        play.happen(Signal("gone"))
    with pytest.raises(InvalidRequest, match="awaited are: none"):
        submit(step("a")).happen(Signal("go"))


def test_signal_after_the_turn_is_refused() -> None:
    """Nothing waits any more."""
    play = submit(step("a"), await_step("ok", "a", signal="go"))
    play.happen(Cancel())

    with pytest.raises(PreconditionFailed, match="is COMPENSATING"):
        play.happen(Signal("go"))


def test_signal_for_one_step_leaves_the_others_waiting() -> None:
    """Each waits for its own name."""
    play = submit(await_step("a", signal="x"), await_step("b", signal="y"), step("c"))
    play.happen(Signal("x"))

    assert play.statuses() == {
        "a": "SUCCEEDED",
        "b": "WAITING",
        "c": "RUNNING",
        ":signal:x": "SUCCEEDED",
    }


def test_missing_signal_turns_the_saga_back() -> None:
    """Before the commit a wait has an end."""
    play = submit(step("a"), await_step("ok", "a", signal="go", timeout_ms=100))
    play.answer("a")
    play.wait_until_due()
    play.happen(Woken())

    assert play.tx.reason_code == "SIGNAL_TIMEOUT"
    assert play.asked() == {("a", "COMPENSATION")}


def test_signal_after_the_commit_is_awaited_further() -> None:
    """Its time is over, a person is called, and it still counts (S5)."""
    play = submit(pivot("pay"), await_step("ok", "pay", signal="go", timeout_ms=100))
    play.answer("pay")
    for _ in range(3):
        play.wait_until_due()
        play.happen(Woken())
    assert play.tx.status is Status.RUNNING
    assert "it is still awaited" in play.tx.attention_reason
    play.happen(Signal("go"))
    assert play.tx.status is Status.COMPLETED


def test_signal_does_not_end_a_step_that_could_not_begin() -> None:
    """Whether it was to be awaited at all is for a person to say."""
    play = submit(
        pivot("pay"),
        await_step("ok", "pay", signal="go", condition=reference("input.nobody")),
    )
    play.answer("pay")
    play.happen(Signal("go", Payload(b"1", JSON)))
    assert play.statuses()["ok"] == "WAITING"

    play.happen(Resolve("ok", "alice", "approved on paper"))
    assert play.tx.status is Status.RESOLVED


# ---- The pivot, and after ---------------------------------------------------------


def test_nobody_turns_back_a_saga_whose_pivot_is_out() -> None:
    """Neither the initiator nor an operator: whether there is a way is unknown (S5)."""
    play = with_pivot()
    for wish in (Cancel(), CancelByOperator("alice", "please")):
        with pytest.raises(PreconditionFailed, match="the saga's pivot has been sent"):
            play.happen(wish)

    play.answer("pay", Refused("NO"))
    assert play.tx.status is Status.COMPENSATING


def test_nothing_but_its_answer_is_due_while_a_pivot_is_out() -> None:
    """A timer of the past would only spin."""
    play = submit(
        tcc_step("hold", expires_ms=5),
        child_step("c", "hold", child=definition(pivot("pay")), timeout_ms=7),
    )
    play.answer("hold")

    assert machine.due_at(play.tx, {"c:pay"}) == DEADLINE
    play.now = 100_000
    play.happen(Woken())
    assert play.tx.status is Status.RUNNING
    assert machine.due_at(play.tx, {"c:pay"}) is None
    assert play.happen(Woken()) == ()
    play.answer("c:pay")
    assert play.tx.decision is Decision.COMMIT


def test_optional_child_has_its_timeout_even_then() -> None:
    """Its failure is nobody else's."""
    child = definition(step("x"))
    play = submit(
        pivot("pay"), child_step("c", child=child, timeout_ms=7, optional=True)
    )
    assert machine.due_at(play.tx, {"pay", "c:x"}) == 7
    play.now = 7
    play.happen(Woken())

    assert play.asked() == {("pay", "ACTION"), ("c:x", "COMPENSATION")}


def test_pivot_that_a_timer_sent_holds_what_expires_at_the_same_time() -> None:
    """One look at the clock sends it, and must not turn back after that (S5)."""
    play = submit(
        wait_step("w", wait=Constant(9)),
        tcc_step("hold", expires_ms=9),
        pivot("pay", "w", "hold"),
    )
    play.answer("hold")
    play.now = 9
    play.happen(Woken())

    assert play.statuses() == {"w": "SUCCEEDED", "hold": "TRIED", "pay": "RUNNING"}


def failed_child(**options: object) -> Play:
    """An optional child that has failed, with a reservation that waits for its turn to
    be cancelled; its saga goes on.
    """
    child = definition(
        tcc_step("hold", expires_ms=9), step("x", "hold"), step("y", "x")
    )
    play = submit(
        child_step("c", child=child, optional=True), call_step("a", "c", **options)
    )
    play.answer("c:hold")
    play.answer("c:x")
    play.answer("c:y", Refused("NO"))
    return play


def test_reservation_that_was_given_up_does_not_expire() -> None:
    """It is cancelled in any case, and its saga does not turn back for it."""
    play = failed_child()
    assert machine.due_at(play.tx, {"a", "c:x"}) == play.tx.request.deadline_at
    play.now = 9
    play.happen(Woken())
    assert play.tx.decision is Decision.NONE

    play.answer("c:x")
    assert play.asked() == {("a", "ACTION"), ("c:hold", "CANCEL")}


def test_turning_back_while_a_pivot_is_out_is_an_alarm() -> None:
    """Only a definition that was never checked gets there (S5)."""
    play = submit(pivot("pay"), step("beside"))

    with pytest.raises(InvariantViolated, match="S5: turned back"):
        play.answer("beside", Refused("NO"))


def test_output_of_a_pivot_that_is_too_large_is_dropped() -> None:
    """The money has moved; only what it answered is lost, and a person is told."""
    play = with_pivot()
    play.answer("pay", TOO_LARGE)

    assert play.tx.decision is Decision.COMMIT
    assert play.branch("pay").output == Payload()
    assert "it is dropped" in play.tx.attention_reason


def test_output_that_is_too_large_is_undone() -> None:
    """The action has run, so it is compensated (S9)."""
    play = submit(step("a"))
    play.answer("a", TOO_LARGE)

    assert play.tx.reason_code == "OUTPUT_TOO_LARGE"
    assert play.asked() == {("a", "COMPENSATION")}


def test_what_is_bound_is_asked_without_end() -> None:
    """Its attempts never end, whatever its policy says; a person is called (S5)."""
    play = committed()
    for _ in range(ATTENTION_AFTER - 1):
        play.answer("after", Unknown("TIMEOUT"))
    assert play.tx.attention_since is None
    play.answer("after", Unknown("TIMEOUT"))

    assert play.tx.attention_since is not None
    assert play.tx.status is Status.RUNNING
    play.answer("after")
    assert play.tx.status is Status.COMPLETED


def test_late_refusal_after_the_commit_is_counted_once() -> None:
    """The answer to an older call was counted already."""
    play = committed()
    play.answer("after", Refused("NO"))

    again = BranchReplied("after", Phase.ACTION, 1, Refused("NO"))
    assert play.happen(again) == ()
    play.answer("after", Refused("STILL_NO"))
    assert play.branch("after").attempts == 2
    assert play.branch("after").error_code == "STILL_NO"


def test_saga_past_its_timeout_that_only_goes_forward_calls_a_person() -> None:
    """Once; whatever it waits for, and however long (S6)."""
    play = submit(pivot("pay"), await_step("ok", "pay", signal="go"))
    play.answer("pay")
    play.wait_until_due()
    assert play.now == DEADLINE
    play.happen(Woken())

    assert "only goes forward" in play.tx.attention_reason
    assert machine.due_at(play.tx) is None
    assert play.happen(Woken()) == ()
    play.happen(Signal("go"))
    assert play.tx.status is Status.COMPLETED


def test_optional_step_after_the_commit_may_fail() -> None:
    """It binds nobody."""
    play = submit(
        pivot("pay"),
        call_step("mail", "pay", optional=True, calls=step("mail", undo=False).calls),
    )
    play.answer("pay")
    play.answer("mail", Refused("NO_ADDRESS"))

    assert play.tx.status is Status.COMPLETED


def test_confirm_that_fails_is_repeated_and_calls_a_person() -> None:
    """Like any phase two (T8)."""
    play = with_pivot()
    play.answer("pay")
    for _ in range(ATTENTION_AFTER):
        play.answer("hold", Unknown("TIMEOUT"))

    assert "CONFIRM of branch hold" in play.tx.attention_reason
    assert compensation_of(play.tx, "hold") is None


def test_only_what_is_bound_may_be_settled_by_hand() -> None:
    """Before the commit a step can still be turned back (T8)."""
    play = with_pivot()
    with pytest.raises(PreconditionFailed):
        play.happen(Resolve("pay", "alice", "by cheque"))
    play.answer("pay")
    play.happen(Resolve("hold", "alice", "by cheque"))
    play.answer("after")
    assert play.tx.status is Status.RESOLVED


def test_group_is_not_settled_by_hand() -> None:
    """Its members are."""
    play = submit(pivot("pay"), child_step("c", "pay", child=definition(step("x"))))
    play.answer("pay")

    with pytest.raises(PreconditionFailed, match="settle each of its members"):
        play.happen(Resolve("c", "alice", "by cheque"))


def test_list_that_could_not_begin_is_settled_by_hand() -> None:
    """After the commit nothing else is left to a list without members."""
    play = submit(
        pivot("pay"),
        replace(step("c", "pay", undo=False), for_each=for_each("input.x")),
    )
    play.answer("pay")
    assert play.branch("c").error_code == "EXPRESSION"
    play.happen(Resolve("c", "alice", "by cheque"))

    assert play.tx.status is Status.RESOLVED


def test_compensation_settled_by_hand_lets_the_others_go_on() -> None:
    """In reverse order, and the end says so (S2, T8)."""
    play = submit(step("a"), step("b", "a"), step("c", "b"))
    play.answer("a")
    play.answer("b")
    play.answer("c", Refused("NO"))
    play.happen(Resolve("b", "alice", "by cheque"))

    assert play.asked() == {("a", "COMPENSATION")}
    play.answer("a")
    assert play.tx.status is Status.RESOLVED


# ---- Compensations ----------------------------------------------------------------


def test_compensation_of_an_action_that_never_answers_gets_null() -> None:
    """An action that is pending for ever has no output to be undone with."""
    play = submit(step("a", undo_input=reference("steps.a.output.id")))
    play.answer("a", Pending())
    play.happen(Cancel())
    assert play.due()["a"].input == Payload()
    play.answer("a", Unknown(OUTPUT_NEEDED))

    assert play.due()["a"].input.data == b"null"
    play.answer("a", Unknown(OUTPUT_NEEDED))
    assert play.branch("a").attempts == 1
    play.now = 60_000
    play.answer("a")
    assert play.tx.status is Status.COMPENSATED


def test_answer_of_a_group_is_nobodys() -> None:
    """No participant stands behind a list or a child saga."""
    play = submit(child_step("c", child=definition(step("x"))))
    play.happen(Cancel())

    assert play.happen(BranchReplied("c", Phase.COMPENSATION, 0, Succeeded())) == ()


def test_refused_confirm_is_asked_again() -> None:
    """There is no business no in phase two."""
    play = submit(tcc_step("hold"))
    play.answer("hold")
    play.answer("hold", Refused("NO"))

    assert play.branch("hold").attempts == 1
    assert play.tx.status is Status.CONFIRMING


def test_used_up_step_turns_back() -> None:
    """After its last attempt, or a code that is not repeated."""
    for retry in (RetryPolicy(1), RetryPolicy(9, non_retryable=frozenset({"FATAL"}))):
        play = submit(step("a", retry=retry))
        play.answer("a", Unknown("FATAL"))

        assert play.tx.reason_code == "ATTEMPTS_USED_UP"
        assert play.asked() == {("a", "COMPENSATION")}


def test_steps_that_never_give_up_may_wait_for_their_participant() -> None:
    """A pivot, and a step whose policy has no end; the others use up their attempts."""
    endless = step("b", retry=RetryPolicy(attempt_max=0))
    play = submit(step("a"), endless, pivot("c"))
    assert {name: call.endless for name, call in play.due().items()} == {
        "a": False,
        "b": True,
        "c": True,
    }
