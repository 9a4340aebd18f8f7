"""Promises of when something is due, and of whom it is asked."""

from coordinator.core import machine
from coordinator.core.inputs import Begin, Cancel, Refused, Unknown
from coordinator.core.recovery import NOBODY, Recovery, Return
from coordinator.core.words import Phase
from tests.core.world import (
    DEADLINE,
    Play,
    await_step,
    child_step,
    definition,
    spec,
    step,
    submit,
    tcc_request,
)


def test_time_of_a_group_that_goes_back_is_its_members() -> None:
    """The group itself is never asked; its status says that it is under way."""
    inner = definition(step("x"))
    play = submit(child_step("c", child=inner), step("b"))
    play.answer("c:x")
    play.now = 7
    play.answer("b", Refused("NO"))

    assert play.branch("c").due_at is None
    assert machine.due_at(play.tx) == 7
    assert machine.due_at(play.tx, {"c:x"}) is None
    assert set(play.due()) == {"c:x"}


def test_time_of_what_waits_for_no_participant_is_the_deadline() -> None:
    """A signal without a time of its own is waited for until the deadline."""
    play = submit(await_step("w", signal="paid"))

    assert set(play.tx.open) == {"w"}
    assert machine.due_at(play.tx) == DEADLINE
    assert play.due() == {}


def test_call_that_is_out_is_not_named_again() -> None:
    """Unless the branch is asked for something else meanwhile."""
    play = Play.begin(Begin(tcc_request(), (spec("a"), spec("b"))))
    out = {"a": Phase.TRY}

    assert [c.branch_id for c in machine.due(play.tx, 0, NOBODY, out)] == ["b"]
    play.happen(Cancel())
    calls = machine.due(play.tx, 0, NOBODY, out)
    assert [call.branch_id for call in calls] == ["a", "b"]


def test_participant_that_is_back_is_called_sooner() -> None:
    """By whoever knows of its return; the others wait as they would have."""
    play = Play.begin(Begin(tcc_request(), (spec("a"), spec("b"))))
    for attempt in range(2):
        play.now = attempt
        play.answer("a", Unknown("TIMEOUT", retry_after_ms=10_000))
    back = Recovery({"bank": Return(at=play.now, number=1, within_ms=0)})

    assert machine.due_at(play.tx, {"b"}) == 10_001
    assert machine.due_at(play.tx, {"b"}, back) == play.now
    assert {call.branch_id for call in machine.due(play.tx, play.now, back)} == {
        "a",
        "b",
    }
