"""Promises of a saga that waits: for a time, or for a signal."""

import pytest

from coordinator.core import machine
from coordinator.core.definition import Constant
from coordinator.core.durations import DURATION_MAX_MS
from coordinator.core.inputs import Signal, Woken
from coordinator.core.model import Payload
from coordinator.core.words import BranchStatus, Status
from tests.core.world import JSON, await_step, reference, step, submit, wait_step


@pytest.mark.parametrize(
    ("wait", "milliseconds"),
    [
        (Constant(30_000), 30_000),
        (Constant("30s"), 30_000),
        (Constant("PT1M"), 60_000 - 1),
    ],
)
def test_timer_holds_up_what_needs_it(wait: Constant, milliseconds: int) -> None:
    """No participant is asked, and the time is stored."""
    play = submit(wait_step("w", wait=wait), step("b", "w"))
    assert play.asked() == set()
    play.now = milliseconds - 1 if milliseconds == 30_000 else 59_999
    play.happen(Woken())
    assert "b" not in play.tx.branches
    if milliseconds == 30_000:
        assert machine.due_at(play.tx) == 30_000
        play.now = 30_000
        play.happen(Woken())
        assert play.asked() == {("b", "ACTION")}


@pytest.mark.parametrize("milliseconds", [0, DURATION_MAX_MS])
def test_timer_may_be_as_short_or_as_long_as_any_duration(milliseconds: int) -> None:
    """From nothing to a year, both inclusive."""
    play = submit(wait_step("w", wait=Constant(milliseconds)), step("b", "w"))

    assert play.branch("w").status is BranchStatus.WAITING
    assert play.branch("w").due_at == milliseconds
    assert play.branch("w").spec.attempt_max == 0


@pytest.mark.parametrize(
    "wait",
    [
        Constant("soon"),
        Constant(None),
        Constant(-1),
        Constant(True),
        Constant(DURATION_MAX_MS + 1),
    ],
)
def test_timer_without_a_duration_refuses_the_step(wait: Constant) -> None:
    """Bare words are no durations."""
    play = submit(wait_step("w", wait=wait))

    assert play.tx.reason_code == "EXPRESSION"


def test_signal_ends_the_waiting_and_is_its_output() -> None:
    """Whoever needs the step reads what was sent."""
    play = submit(
        await_step("ok", signal="approval"),
        step("b", "ok", input=reference("steps.ok.output.by")),
    )
    assert play.asked() == set()
    play.happen(Signal("approval", Payload(b'{"by": "ada"}', JSON)))

    assert play.branch("b").spec.input.data == b'"ada"'


def test_early_signal_is_kept() -> None:
    """It may come before the step begins."""
    play = submit(step("a"), await_step("ok", "a", signal="approval"), step("b", "ok"))
    play.happen(Signal("approval"))
    play.answer("a")

    assert play.asked() == {("b", "ACTION")}


def test_missing_signal_turns_back_unless_it_is_optional() -> None:
    """After the time that the step gives it."""
    for optional in (False, True):
        play = submit(
            await_step("ok", signal="approval", timeout_ms=100, optional=optional),
            step("b", "ok"),
        )
        assert play.branch("ok").due_at == 100
        play.wait_until_due()
        play.happen(Woken())

        assert play.branch("ok").error_code == "SIGNAL_TIMEOUT"
        assert ("b" in play.tx.branches) is optional
        assert (play.tx.status is Status.RUNNING) is optional
