"""Promises of a saga."""

import pytest
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import Constant, Reference, TemplateList, TemplateMap
from coordinator.core.errors import InvariantViolated
from coordinator.core.events import AttentionRaised
from coordinator.core.inputs import (
    BranchReplied,
    Cancel,
    CancelByOperator,
    Pending,
    Refused,
    Resolve,
    Submit,
    Succeeded,
    Unknown,
    Woken,
)
from coordinator.core.model import Payload
from coordinator.core.saga import OUTPUT_NEEDED
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)
from tests.core.world import DEADLINE, JSON, Play, definition, saga_request, step


def submit(*steps: object, output: object = None) -> Play:
    return Play.begin(Submit(saga_request(), definition(*steps, output=output)))


def chain(**options: object) -> Play:
    return submit(step("a"), step("b", "a"), step("c", "b", **options))


def diamond() -> Play:
    return submit(
        step("top"),
        step("left", "top"),
        step("right", "top"),
        step("end", "left", "right"),
    )


def reference(path: str) -> Reference:
    return Reference(tuple(path.split(".")), path)


def test_steps_run_in_order_and_complete() -> None:
    """A step starts when what it needs has succeeded (S1)."""
    play = chain()
    for name in ("a", "b", "c"):
        assert play.asked() == {(name, "ACTION")}
        play.answer(name)

    assert play.tx.status is Status.COMPLETED
    assert play.tx.decision is Decision.COMMIT


def test_independent_steps_run_in_parallel_and_join() -> None:
    """The join starts after the last of its needs (S1)."""
    play = diamond()
    play.answer("top")
    assert play.asked() == {("left", "ACTION"), ("right", "ACTION")}
    play.answer("right")
    assert play.asked() == {("left", "ACTION")}
    play.answer("left")

    assert play.asked() == {("end", "ACTION")}


def test_next_step_starts_with_the_answer_before_it() -> None:
    """An answer and what it enables are one commit: N+1 durable waits for N steps."""
    play = chain()
    events = play.happen(BranchReplied("a", Phase.ACTION, 1, Succeeded()))

    assert [type(e).__name__ for e in events] == ["BranchSucceeded", "StepStarted"]
    assert not machine.is_lazy(events)


def test_answer_that_enables_nothing_may_wait() -> None:
    """The first half of a join needs no commit of its own."""
    play = diamond()
    play.answer("top")

    assert machine.is_lazy(
        play.happen(BranchReplied("left", Phase.ACTION, 1, Succeeded()))
    )


def test_refusal_compensates_in_reverse_order() -> None:
    """What succeeded is undone last first; the refuser is not (S2, S3)."""
    play = chain()
    play.answer("a")
    play.answer("b")
    play.answer("c", Refused("NO_FUNDS", "empty"))

    assert play.tx.reason_code == "NO_FUNDS"
    assert play.asked() == {("b", "COMPENSATION")}
    assert play.due()["b"].operation == "b.undo"
    play.answer("b")
    assert play.asked() == {("a", "COMPENSATION")}
    play.answer("a")
    assert play.tx.status is Status.COMPENSATED
    assert play.statuses() == {"a": "COMPENSATED", "b": "COMPENSATED", "c": "REFUSED"}


def test_siblings_are_compensated_in_parallel_and_before_what_they_needed() -> None:
    """Reverse order of the graph, not of time (S2)."""
    play = diamond()
    for name in ("top", "left", "right"):
        play.answer(name)
    play.answer("end", Refused("NO"))

    assert play.asked() == {("left", "COMPENSATION"), ("right", "COMPENSATION")}
    play.answer("left")
    assert play.asked() == {("right", "COMPENSATION")}
    play.answer("right")
    assert play.asked() == {("top", "COMPENSATION")}


def test_sibling_in_flight_is_compensated_at_once() -> None:
    """Sent with unknown outcome counts as started; its late answer is ignored (S2)."""
    play = diamond()
    play.answer("top")
    play.answer("left", Refused("NO"))

    assert play.asked() == {("right", "COMPENSATION")}
    assert play.happen(BranchReplied("right", Phase.ACTION, 1, Succeeded())) == ()
    play.answer("right")
    assert play.asked() == {("top", "COMPENSATION")}


def test_step_never_sent_is_never_compensated() -> None:
    """A step without a branch gets no call (S3)."""
    play = chain()
    play.answer("a", Refused("NO"))

    assert play.tx.status is Status.COMPENSATED
    assert play.statuses() == {"a": "REFUSED"}


def test_nothing_new_is_sent_after_turning_back() -> None:
    """After the abort decision no action starts (S4)."""
    play = submit(step("a"), step("b"), step("c", "a"))
    play.answer("b", Refused("NO"))
    play.happen(BranchReplied("a", Phase.ACTION, 1, Succeeded()))

    assert "c" not in play.tx.branches
    assert play.asked() == {("a", "COMPENSATION")}


def test_step_with_nothing_to_undo_passes_the_turn_on() -> None:
    """`compensate: none` is skipped; what it needed waits for what needs it (S2)."""
    play = submit(
        step("a"), step("check", "a", undo=False), step("b", "check"), step("c", "b")
    )
    for name in ("a", "check", "b"):
        play.answer(name)
    play.answer("c", Refused("NO"))

    assert play.asked() == {("b", "COMPENSATION")}
    play.answer("b")
    assert play.asked() == {("a", "COMPENSATION")}
    play.answer("a")
    assert play.statuses()["check"] == "SUCCEEDED"
    assert play.tx.status is Status.COMPENSATED


def test_step_in_flight_with_nothing_to_undo_is_abandoned() -> None:
    """Its answer no longer matters."""
    play = submit(step("a"), step("check", undo=False))
    play.answer("a", Refused("NO"))

    assert play.statuses() == {"a": "REFUSED", "check": "ABANDONED"}
    assert play.tx.status is Status.COMPENSATED


def test_retry_then_success_and_used_up() -> None:
    """A step is asked as often as its policy says; then the saga turns back."""
    retry = RetryPolicy(attempt_max=2)
    play = submit(step("a"), step("b", "a", retry=retry))
    play.answer("a")
    play.answer("b", Unknown("TIMEOUT"))
    assert play.tx.status is Status.RUNNING
    play.wait_until_due()
    play.answer("b", Unknown("TIMEOUT"))

    assert play.tx.reason_code == "ATTEMPTS_USED_UP"
    assert play.asked() == {("b", "COMPENSATION")}


def test_unlimited_retry_is_never_used_up() -> None:
    """attempt_max 0 means without end."""
    play = submit(step("a", retry=RetryPolicy(attempt_max=0)))
    for _ in range(8):
        play.answer("a", Unknown("TIMEOUT"))

    assert play.tx.status is Status.RUNNING


def test_some_errors_are_not_retried() -> None:
    """A code of nonRetryable turns the saga back at once."""
    retry = RetryPolicy(non_retryable=frozenset({"SANCTIONED"}))
    play = submit(step("a", retry=retry))
    play.answer("a", Unknown("SANCTIONED"))

    assert play.tx.status is Status.COMPENSATING


def test_timeout_compensates() -> None:
    """Not completed in time is a decision against the saga."""
    play = chain()
    play.answer("a")
    play.now = DEADLINE
    play.happen(Woken())

    assert play.tx.reason_code == "TIMEOUT"
    assert play.asked() == {("b", "COMPENSATION")}


def test_cancel_compensates_and_late_cancel_does_nothing() -> None:
    """An initiator may cancel while the saga runs, and only then."""
    play = chain()
    play.happen(Cancel("STOP"))
    assert play.tx.reason_code == "STOP"
    assert play.happen(Cancel("AGAIN")) == ()


def test_failing_compensation_is_never_skipped() -> None:
    """It is asked without end and calls a person once (S6)."""
    play = chain()
    play.answer("a")
    play.answer("b", Refused("NO"))
    for outcome in (
        Unknown("X"),
        Refused("Y"),
        Unknown("X"),
        Unknown("Z"),
        Unknown("X"),
    ):
        play.wait_until_due()
        play.answer("a", outcome)

    assert play.tx.status is Status.COMPENSATING
    assert [f.reason for f in play.facts if isinstance(f, AttentionRaised)] == [
        "COMPENSATION of branch a (a.do) failed 4 times, last: Z"
    ]
    play.wait_until_due()
    play.answer("a")
    assert play.tx.status is Status.COMPENSATED


def test_inputs_come_from_stored_outputs() -> None:
    """A step reads the input and the outputs of its ancestors (S7, S10)."""
    play = submit(
        step("a", input=TemplateMap((("n", reference("input.amount")),))),
        step("b", "a", input=reference("steps.a.output.id")),
        output=TemplateMap((("id", reference("steps.b.output")),)),
    )
    assert play.due()["a"].input == Payload(b'{"n":7}', JSON)
    play.answer("a", Succeeded(Payload(b'{"id": "x-1"}', JSON)))
    assert play.due()["b"].input == Payload(b'"x-1"', JSON)
    play.answer("b", Succeeded(Payload(b"[1]", JSON)))

    assert play.tx.output == Payload(b'{"id":[1]}', JSON)


def test_expression_that_fails_turns_the_saga_back() -> None:
    """The error names step, expression and type, never the value."""
    play = submit(step("a"), step("b", "a", input=reference("steps.a.output.id.x")))
    play.answer("a", Succeeded(Payload(b'{"id": "secret"}', JSON)))

    assert play.tx.reason_code == "EXPRESSION"
    assert "step b" in play.tx.reason_text
    assert "secret" not in play.tx.reason_text
    assert play.asked() == {("a", "COMPENSATION")}


def test_output_that_cannot_be_written_does_not_undo_the_work() -> None:
    """The saga completes, and a person is told."""
    play = submit(step("a"), output=reference("input.nothing"))
    play.answer("a")

    assert play.tx.status is Status.COMPLETED
    assert "output of the saga" in play.tx.attention_reason


def test_oversized_input_turns_the_saga_back() -> None:
    """What an expression makes has the limit of every payload (S9)."""
    both = TemplateList((reference("steps.a.output"), reference("steps.a.output")))
    play = submit(step("a"), step("b", "a", input=both))
    play.answer("a", Succeeded(Payload(b'"' + b"x" * 200_000 + b'"', JSON)))

    assert play.tx.reason_code == "EXPRESSION"


def test_compensation_has_its_own_input() -> None:
    """It may read its own step's output."""
    play = submit(
        step("a", undo_input=reference("steps.a.output.entry")), step("b", "a")
    )
    play.answer("a", Succeeded(Payload(b'{"entry": 5}', JSON)))
    play.answer("b", Refused("NO"))

    assert play.due()["a"].input == Payload(b"5", JSON)


def test_compensation_without_the_output_asks_the_participant_for_it() -> None:
    """Unknown outcome: asked without input; OUTPUT_NEEDED brings the output (S10)."""
    play = submit(step("a", undo_input=reference("steps.a.output.entry")), step("b"))
    play.answer("b", Refused("NO"))
    assert play.due()["a"].input.data == b""
    output = Payload(b'{"entry": 5}', JSON)
    play.answer("a", Unknown(OUTPUT_NEEDED, output=output))

    assert play.due()["a"].input == Payload(b"5", JSON)
    assert play.due()["a"].attempt == 1
    play.answer("a")
    assert play.tx.status is Status.COMPENSATED


def test_compensation_whose_input_cannot_be_made_is_never_skipped() -> None:
    """An output that lacks the field leaves the saga waiting, with the error seen."""
    play = submit(step("a", undo_input=reference("steps.a.output.entry")), step("b"))
    play.answer("b", Refused("NO"))
    play.answer("a", Unknown(OUTPUT_NEEDED, output=Payload(b"{}", JSON)))

    assert play.tx.status is Status.COMPENSATING
    assert play.branch("a").error_code == OUTPUT_NEEDED
    assert play.branch("a").attempts == 1


def test_pending_step_waits() -> None:
    """A pending action is asked again after the time that it named."""
    play = submit(step("a"))
    play.answer("a", Pending(500))

    assert machine.due_at(play.tx) == 500


def test_state_is_the_fold_of_its_facts() -> None:
    """The facts alone rebuild the state (T11)."""
    play = diamond()
    play.answer("top")
    play.answer("left")
    play.answer("right", Refused("NO"))
    play.answer("left", Unknown("X"))
    play.wait_until_due()
    play.answer("left")
    play.answer("top")

    assert play.tx.status is Status.COMPENSATED
    assert machine.fold(tuple(play.facts)) == play.tx


def test_long_chain_is_undone_without_recursion() -> None:
    """500 steps one after the other go forward and back."""
    names = [f"s{n}" for n in range(500)]
    steps = [step(n, *names[max(0, i - 1) : i]) for i, n in enumerate(names)]
    play = submit(*steps)
    for name in names[:-1]:
        play.answer(name)
    play.answer(names[-1], Refused("NO"))
    for name in reversed(names[:-1]):
        play.answer(name)

    assert play.tx.status is Status.COMPENSATED


def test_repeated_submit_is_the_same_saga() -> None:
    """The same gid and body starts nothing new (T10)."""
    play = chain()
    what = Submit(saga_request(), definition(step("a")))

    assert play.happen(what) == ()
    other = replace(saga_request(), digest="other")
    with pytest.raises(Exception, match="another body"):
        play.happen(Submit(other, what.definition))


def test_constant_input_is_sent_as_it_is() -> None:
    """A constant needs no expression."""
    play = submit(step("a", input=Constant({"k": ["ü", 1.5, None]})))

    assert play.due()["a"].input.data.decode() == '{"k":["ü",1.5,null]}'


def test_answer_to_an_older_call_counts_once() -> None:
    """A late failure of an attempt that was counted changes nothing, either way."""
    play = chain()
    play.answer("a", Unknown("X"))
    assert play.happen(BranchReplied("a", Phase.ACTION, 1, Unknown("X"))) == ()
    play.happen(Cancel())
    play.answer("a", Unknown("X"))
    late = BranchReplied("a", Phase.COMPENSATION, 1, Unknown("X"))
    assert play.happen(late) == ()
    assert play.branch("a").attempts == 1


def test_operator_turns_a_running_saga_back_and_settles_a_step() -> None:
    """The reason is his; the saga goes on past what he settled (S2, T8)."""
    play = chain()
    play.answer("a")
    play.happen(CancelByOperator("eve", "wrong customer"))
    assert (play.tx.reason_code, play.tx.reason_text) == (
        "CANCELLED_BY_OPERATOR",
        "wrong customer",
    )
    assert play.asked() == {("b", "COMPENSATION")}
    play.happen(Resolve("b", "eve", "by hand"))
    assert play.asked() == {("a", "COMPENSATION")}
    play.answer("a")
    assert play.tx.status is Status.RESOLVED


def test_step_that_was_pending_too_long_turns_the_saga_back() -> None:
    """Its own time is up before the saga's."""
    play = chain()
    branch = play.branch("a")
    waiting = replace(
        branch,
        spec=replace(branch.spec, pending_timeout_ms=700),
        pending_since=0,
        due_at=700,
    )
    play.tx = replace(play.tx, branches={"a": waiting})
    play.now = 699
    assert play.happen(Woken()) == ()
    play.now = 700
    play.happen(Woken())

    assert (play.tx.reason_code, play.tx.reason_text) == (
        "PENDING_TIMEOUT",
        "a was pending for 700 ms",
    )
    assert play.asked() == {("a", "COMPENSATION")}


def test_saga_without_its_definition_is_stopped() -> None:
    """Nothing is guessed: whoever loaded it has a bug (S7)."""
    play = chain()
    play.tx = replace(play.tx, definition=None)

    with pytest.raises(InvariantViolated, match="s-1 came without its definition"):
        play.answer("a")


def test_compensation_that_the_definition_lacks_is_stopped() -> None:
    """A state that no rule leads to is not answered with a guess (S7)."""
    play = chain()
    play.happen(Cancel())
    other = definition(step("a", undo=False), step("b", "a"), step("c", "b"))
    play.tx = replace(play.tx, definition=other)
    failed = BranchReplied("a", Phase.COMPENSATION, 1, Unknown("X"))

    with pytest.raises(InvariantViolated, match="step a has no compensation"):
        play.happen(failed)


@pytest.mark.parametrize(
    ("size", "fits"), [(256 * 1024, True), (256 * 1024 + 1, False)]
)
def test_limit_of_an_evaluated_input_is_exact(size: int, *, fits: bool) -> None:
    """256 KiB as it is sent, quotes included (S9, T14)."""
    play = submit(step("a"), step("b", "a", input=reference("steps.a.output")))
    text = b'"' + b"x" * (size - 2) + b'"'
    play.answer("a", Succeeded(Payload(text, JSON)))

    assert ("b" in play.tx.branches) is fits
    assert (play.tx.reason_code == "OUTPUT_TOO_LARGE") is not fits


def test_saga_without_steps_has_completed() -> None:
    """There is nothing to wait for."""
    assert submit().tx.status is Status.COMPLETED


def test_compensation_gets_the_steps_own_input_by_default() -> None:
    """What was done is named by what it was done with."""
    play = submit(step("a", input=Constant({"n": 1})), step("b", "a"))
    play.answer("a")
    play.answer("b", Refused("NO"))

    assert play.due()["a"].input == Payload(b'{"n":1}', JSON)


def test_operator_too_late_for_the_timeout_changes_nothing() -> None:
    """Time is looked at first; the decision is its own (T9)."""
    play = chain()
    play.now = DEADLINE
    play.happen(CancelByOperator("eve", "wrong customer"))

    assert (play.tx.reason_code, play.tx.status) == ("TIMEOUT", Status.COMPENSATING)


def test_failure_told_from_outside_counts() -> None:
    """Attempt 0: not the called connection says it, but it is said of this call."""
    play = chain()
    play.happen(BranchReplied("a", Phase.ACTION, 0, Unknown("X")))
    assert play.branch("a").attempts == 1
    play.happen(Cancel())
    play.happen(BranchReplied("a", Phase.COMPENSATION, 0, Unknown("X")))
    assert play.branch("a").attempts == 1
    assert play.branch("a").error_code == "X"


def test_output_is_learned_once_and_only_when_it_is_said_to_be_one() -> None:
    """Any other failure may carry bytes; they mean nothing (S10)."""
    play = submit(step("a", undo_input=reference("steps.a.output.entry")), step("b"))
    play.answer("b", Refused("NO"))
    entry = Payload(b'{"entry": 5}', JSON)
    play.answer("a", Unknown("X", output=entry))
    assert play.branch("a").output.data == b""
    assert play.branch("a").attempts == 1
    play.wait_until_due()
    play.answer("a", Unknown(OUTPUT_NEEDED, output=entry))
    assert play.branch("a").output == entry
    other = Payload(b'{"entry": 6}', JSON)
    play.answer("a", Unknown(OUTPUT_NEEDED, output=other))
    assert play.branch("a").output == entry
    assert play.branch("a").attempts == 2
