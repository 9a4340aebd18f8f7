"""Promises of what time, signals and people decide about a saga."""

import pytest
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.backoff import PHASE_TWO, RetryPolicy
from coordinator.core.events import AttentionRaised
from coordinator.core.inputs import (
    BranchReplied,
    Cancel,
    Refused,
    Resolve,
    Signal,
    Unknown,
    Woken,
)
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)
from tests.core.world import (
    DEADLINE,
    Play,
    await_step,
    child_step,
    compensation,
    definition,
    pivot,
    step,
    submit,
    tcc_step,
)


def committed() -> Play:
    """Its pivot has succeeded, a confirm and a step after it are out."""
    play = submit(
        tcc_step("hold"),
        pivot("pay", "hold"),
        step("after", "pay", undo=False),
        step("last", "after", undo=False),
    )
    play.answer("hold")
    play.answer("pay")
    return play


def test_cancel_after_the_commit_changes_nothing() -> None:
    """A saga past its pivot only goes forward (S5)."""
    play = committed()

    assert play.happen(Cancel()) == ()
    assert play.tx.decision is Decision.COMMIT


def test_saga_that_is_too_late_turns_back_and_calls_nobody() -> None:
    """A person is called only where nothing can be undone."""
    play = submit(step("a"))
    play.now = DEADLINE
    play.happen(Woken())

    assert play.tx.reason_code == "TIMEOUT"
    assert play.tx.attention_since is None


def test_saga_that_goes_back_has_no_deadline() -> None:
    """While its compensation is out, nothing is due (S4)."""
    play = submit(step("a"), step("b", "a"))
    play.answer("a")
    play.answer("b", Refused("NO"))

    assert play.asked() == {("a", "COMPENSATION")}
    assert machine.due_at(play.tx, {"a"}) is None


@pytest.mark.parametrize("optional", [False, True])
def test_step_whose_signal_did_not_come_is_refused(*, optional: bool) -> None:
    """Nothing has happened there, so nothing is undone (S3)."""
    ok = await_step("ok", signal="go", timeout_ms=100, optional=optional)
    play = submit(ok, step("b", "ok"))
    play.now = 100
    play.happen(Woken())

    assert play.statuses()["ok"] == "REFUSED"
    assert (play.tx.status is Status.RUNNING) is optional


def test_signal_that_is_bound_is_awaited_again_and_a_person_called_once() -> None:
    """Each time that passes is counted, and the next one begins then (S5)."""
    play = submit(pivot("pay"), await_step("ok", "pay", signal="go", timeout_ms=100))
    play.answer("pay")
    said = "ok: no signal 'go' in time; it is still awaited"
    for times, expected in ((1, [said]), (2, []), (3, [])):
        play.now = times * 100
        events = play.happen(Woken())
        raised = [e.reason for e in events if isinstance(e, AttentionRaised)]
        assert raised == expected
        assert play.branch("ok").attempts == times
        assert play.branch("ok").due_at == play.now + 100


def test_signal_that_a_child_alone_awaits_reaches_it() -> None:
    """However deep it is."""
    inner = definition(await_step("in", signal="go"))
    play = submit(child_step("c", child=definition(child_step("d", child=inner))))
    play.happen(Signal("go"))

    assert play.tx.status is Status.COMPLETED


def test_step_settled_by_hand_lets_those_start_that_need_it() -> None:
    """Its work counts as done."""
    play = committed()
    play.answer("hold")
    play.happen(Resolve("after", "alice", "by letter"))

    assert play.asked() == {("last", "ACTION")}


def test_refusal_after_the_commit_calls_a_person_once() -> None:
    """Asked or reported unasked: the first says so, all are counted (S5)."""
    play = committed()
    for attempt, counted, calls in ((1, 1, 1), (2, 2, 0), (0, 3, 0)):
        refused = BranchReplied("after", Phase.ACTION, attempt, Refused("NO", "not I"))
        events = play.happen(refused)
        raised = [e for e in events if isinstance(e, AttentionRaised)]
        assert len(raised) == calls
        assert play.branch("after").attempts == counted

    assert "failed 1 times, last: NO not I" in play.tx.attention_reason


def test_compensation_is_asked_at_its_own_pace() -> None:
    """Not at that of other transactions' second phase."""
    hours = RetryPolicy(
        attempt_max=0, initial_interval_ms=3_600_000, interval_max_ms=3_600_000
    )
    first = step("a")
    call = first.calls[0]
    undo = replace(compensation("a"), retry=hours)
    play = submit(
        replace(first, calls=(replace(call, compensation=undo),)), step("b", "a")
    )
    play.answer("a")
    play.answer("b", Refused("NO"))
    play.answer("a", Unknown("LOST"))
    due_at = play.branch("a").due_at

    assert due_at is not None
    assert due_at > PHASE_TWO.interval_max_ms


def test_confirm_settled_by_hand_may_be_the_last() -> None:
    """Then the saga ends, and says that a person has had a hand in it (T8)."""
    play = committed()
    play.answer("after")
    play.answer("last")
    assert play.asked() == {("hold", "CONFIRM")}
    play.happen(Resolve("hold", "alice", "by cheque"))

    assert play.tx.status is Status.RESOLVED
