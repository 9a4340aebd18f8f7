"""Promises of a saga on its way forward."""

import json

import pytest
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import BranchKind, Computed, Constant, ForEach, Step
from coordinator.core.draft import Draft
from coordinator.core.errors import InvariantViolated
from coordinator.core.expressions import ExpressionFailed
from coordinator.core.forward import (
    Forward,
    complete_if_done,
    is_complete,
)
from coordinator.core.inputs import (
    Cancel,
    Refused,
    Resolve,
    Signal,
    Succeeded,
    Unknown,
    Woken,
)
from coordinator.core.model import NO_PAYLOAD, Payload
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Status,
)
from tests.core.world import (
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


def items(*values: object) -> bytes:
    return json.dumps({"items": list(values)}).encode()


def answer_json(play: Play, branch_id: str, value: object) -> None:
    play.answer(branch_id, Succeeded(Payload(json.dumps(value).encode(), JSON)))


# ---- The beginning ----------------------------------------------------------------


def test_saga_goes_on_at_once_from_what_it_need_not_send() -> None:
    """Nothing is left where nothing was sent, and nothing is done where all was."""
    assert submit().tx.status is Status.COMPLETED
    assert submit(step("a")).tx.status is Status.RUNNING
    skipped = call_step("a", condition=Constant(False))
    assert submit(skipped, step("b", "a")).statuses() == {
        "a": "SKIPPED",
        "b": "RUNNING",
    }


# ---- Conditions -------------------------------------------------------------------


def test_step_with_a_false_condition_is_skipped_and_satisfies() -> None:
    """What needs it goes on; it is never asked, and its absence is stored (S7)."""
    play = submit(
        step("a"),
        call_step("b", "a", condition=Constant(False)),
        step("c", "b"),
    )
    play.answer("a")

    assert play.statuses() == {"a": "SUCCEEDED", "b": "SKIPPED", "c": "RUNNING"}
    play.answer("c")
    assert play.tx.status is Status.COMPLETED


def test_step_with_a_true_condition_runs() -> None:
    """As if it had none."""
    play = submit(call_step("a", condition=reference("input.go")), data=b'{"go": true}')

    assert play.asked() == {("a", "ACTION")}


@pytest.mark.parametrize("data", [b'{"go": 1}', b'{"go": null}', b"{}"])
def test_condition_that_is_no_boolean_refuses_the_step(data: bytes) -> None:
    """Nothing is guessed: the saga turns back, and the text names the step."""
    play = submit(
        step("a"), call_step("b", "a", condition=reference("input.go")), data=data
    )
    play.answer("a")

    assert play.tx.reason_code == "EXPRESSION"
    assert play.tx.reason_text.startswith("condition of step b")
    assert play.statuses() == {"a": "COMPENSATING", "b": "REFUSED"}


def test_long_chain_of_skipped_steps_needs_no_stack() -> None:
    """500 steps of which none runs are done at once (S9)."""
    names = [f"s{n}" for n in range(500)]
    play = submit(
        step("first"),
        *(
            call_step(name, before, condition=Constant(False))
            for before, name in zip(["first", *names], names, strict=False)
        ),
    )
    play.answer("first")

    assert play.tx.status is Status.COMPLETED


# ---- Optional, fallbacks ----------------------------------------------------------


def test_optional_step_may_be_refused() -> None:
    """The saga goes on without it."""
    play = submit(call_step("a", optional=True), step("b", "a"))
    play.answer("a", Refused("NO"))

    assert play.asked() == {("b", "ACTION")}
    play.answer("b")
    assert play.tx.status is Status.COMPLETED


def test_optional_step_of_unknown_outcome_is_undone_before_the_end() -> None:
    """It may have happened: the saga goes on at once, and completes after the undo."""
    play = submit(
        call_step("a", optional=True, calls=step("a", retry=RetryPolicy(1)).calls),
        step("b", "a"),
    )
    play.answer("a", Unknown("TIMEOUT"))

    assert play.asked() == {("a", "COMPENSATION"), ("b", "ACTION")}
    play.answer("b")
    assert play.tx.status is Status.CONFIRMING
    assert play.tx.decision is Decision.COMMIT
    play.answer("a")
    assert play.tx.status is Status.COMPLETED
    assert play.branch("a").error_code == "ATTEMPTS_USED_UP"


def test_fallback_is_called_when_the_first_choice_is_refused() -> None:
    """The step's output is that of the one that succeeded."""
    play = submit(
        with_fallback(step("a"), step("x"), step("y")),
        step("b", "a", input=reference("steps.a.output")),
    )
    play.answer("a", Refused("NO"))
    assert play.due()["a:fallback-1"].operation == "x.do"
    play.answer("a:fallback-1", Refused("NO"))
    answer_json(play, "a:fallback-2", 5)

    assert play.branch("b").spec.input.data == b"5"


def test_fallback_is_not_called_when_the_condition_fails() -> None:
    """A condition that cannot be told is no refusal: nothing is called, and the saga
    turns back.
    """
    play = submit(
        step("z"),
        replace(
            with_fallback(step("a", "z"), step("x")),
            condition=reference("input.amount"),
        ),
    )
    play.answer("z")

    assert play.tx.reason_code == "EXPRESSION"
    assert play.statuses() == {"z": "COMPENSATING", "a": "REFUSED"}


def test_last_fallback_refused_turns_back() -> None:
    """There is nothing left to try."""
    play = submit(step("z"), with_fallback(step("a", "z"), step("x")))
    play.answer("z")
    play.answer("a", Refused("NO"))
    play.answer("a:fallback-1", Refused("NEITHER"))

    assert play.tx.reason_code == "NEITHER"
    assert play.asked() == {("z", "COMPENSATION")}


def test_first_choice_of_unknown_outcome_is_undone_while_the_fallback_runs() -> None:
    """Otherwise both might take effect."""
    play = submit(with_fallback(step("a", retry=RetryPolicy(1)), step("x")))
    play.answer("a", Unknown("TIMEOUT"))

    assert play.asked() == {("a", "COMPENSATION"), ("a:fallback-1", "ACTION")}
    play.answer("a:fallback-1")
    assert play.tx.status is Status.CONFIRMING
    play.answer("a")
    assert play.tx.status is Status.COMPLETED


# ---- Reservations -----------------------------------------------------------------


def test_reservations_are_confirmed_when_all_steps_are_done() -> None:
    """A saga with open confirms is CONFIRMING before it is COMPLETED (T2, T4)."""
    play = submit(tcc_step("hold"), step("b", "hold"))
    assert play.asked() == {("hold", "TRY")}
    play.answer("hold")
    assert play.statuses() == {"hold": "TRIED", "b": "RUNNING"}
    play.answer("b")

    assert play.tx.status is Status.CONFIRMING
    assert play.tx.decision is Decision.COMMIT
    assert play.asked() == {("hold", "CONFIRM")}
    play.answer("hold")
    assert play.tx.status is Status.COMPLETED


def test_reservations_are_cancelled_in_reverse_order() -> None:
    """Like compensations (S2, T5)."""
    play = submit(tcc_step("hold"), tcc_step("more", "hold"), step("b", "more"))
    play.answer("hold")
    play.answer("more")
    play.answer("b", Refused("NO"))

    assert play.asked() == {("more", "CANCEL")}
    play.answer("more")
    assert play.asked() == {("hold", "CANCEL")}
    play.answer("hold")
    assert play.tx.status is Status.COMPENSATED


def test_expired_reservation_turns_back() -> None:
    """What is no longer held cannot be confirmed."""
    play = submit(tcc_step("hold", expires_ms=1_000), step("b", "hold"))
    play.answer("hold")
    assert machine.due_at(play.tx, {"b"}) == 1_000
    play.now = 1_000
    play.happen(Woken())

    assert play.tx.reason_code == "RESERVATION_EXPIRED"


# ---- The pivot --------------------------------------------------------------------


def with_pivot(**options: object) -> Play:
    play = submit(
        tcc_step("hold"),
        pivot("pay", "hold"),
        step("after", "pay", undo=False),
        **options,
    )
    play.answer("hold")
    return play


def test_pivot_commits_and_confirms() -> None:
    """Reservations are confirmed while the saga goes on (S5)."""
    play = with_pivot()
    play.answer("pay")

    assert play.tx.decision is Decision.COMMIT
    assert play.tx.status is Status.RUNNING
    assert play.asked() == {("hold", "CONFIRM"), ("after", "ACTION")}
    play.answer("after")
    assert play.tx.status is Status.CONFIRMING
    play.answer("hold")
    assert play.tx.status is Status.COMPLETED


def test_refused_pivot_turns_back() -> None:
    """It is the last step that may say no (S5)."""
    play = with_pivot()
    play.answer("pay", Refused("NO"))

    assert play.asked() == {("hold", "CANCEL")}


def test_pivot_of_unknown_outcome_is_asked_without_end() -> None:
    """Nobody knows whether there is a way back, so nothing turns back (S5)."""
    play = with_pivot()
    for _ in range(30):
        play.answer("pay", Unknown("TIMEOUT"))
    play.now = play.tx.request.deadline_at + 1
    play.happen(Woken())
    assert play.tx.status is Status.RUNNING
    assert play.tx.attention_since is not None
    assert machine.due_at(play.tx, {"pay"}) is None
    with pytest.raises(Exception, match="pivot has been sent"):
        play.happen(Cancel())
    play.answer("pay")
    assert play.tx.decision is Decision.COMMIT


def test_step_after_the_commit_that_is_refused_is_asked_to_reconsider() -> None:
    """Only forward: a person is called, and it is asked again (S5)."""
    play = with_pivot()
    play.answer("pay")
    play.answer("hold")
    play.answer("after", Refused("NO"))

    assert play.tx.status is Status.RUNNING
    assert play.tx.attention_since is not None
    play.wait_until_due()
    assert play.due()["after"].reconsider
    play.answer("after")
    assert play.tx.status is Status.COMPLETED


def test_step_after_the_commit_may_be_settled_by_hand() -> None:
    """When no participant ever will (T8)."""
    play = with_pivot()
    play.answer("pay")
    play.answer("hold")
    play.happen(Resolve("after", "alice", "paid by cheque"))

    assert play.tx.status is Status.RESOLVED


def test_expression_that_fails_after_the_commit_calls_a_person() -> None:
    """The step waits to be settled by hand."""
    play = submit(
        pivot("pay"),
        call_step(
            "x", "pay", calls=step("x", undo=False, input=reference("input.no")).calls
        ),
        step("y", "x", undo=False),
    )
    play.answer("pay")
    assert play.branch("x").status.value == "WAITING"
    assert play.tx.attention_since is not None
    assert play.asked() == set()
    play.happen(Resolve("x", "alice", "not needed"))
    play.answer("y")
    assert play.tx.status is Status.RESOLVED


# ---- Expressions ------------------------------------------------------------------


def test_computed_values_are_handed_what_they_read() -> None:
    """The roots, and only the steps that were named and have an output."""
    seen: list[object] = []

    def program(values: object) -> object:
        seen.append(values)
        return True

    computed = Computed("...", ("a", "none"), program)
    play = submit(
        step("a"),
        call_step(
            "b",
            "a",
            for_each=ForEach(Constant([4]), 1),
            calls=step("b", input=computed).calls,
        ),
    )
    answer_json(play, "a", {"n": 1})

    assert seen == [
        {
            "input": {"amount": 7},
            "steps": {"a": {"output": {"n": 1}}},
            "saga": {"gid": "s-1", "startedAt": 0},
            "item": 4,
            "index": 0,
        }
    ]


def test_computed_value_that_fails_names_its_source() -> None:
    """The step, the expression and why (S7)."""

    def program(values: object) -> object:
        raise ExpressionFailed("division by zero")

    play = submit(step("b", input=Computed("1 / 0", (), program)))

    assert play.tx.reason_text == "input of step b: ${1 / 0}: division by zero"


# ---- Ends, and what they rest on --------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        child_step("c", child=definition(step("x")), input=reference("input.no")),
        wait_step("c", wait=reference("input.no")),
        call_step("c", for_each=for_each("input.no")),
    ],
)
def test_step_that_cannot_be_evaluated_is_refused(broken: object) -> None:
    """Whatever its kind; an optional one is passed over."""
    play = submit(broken)
    assert play.tx.reason_code == "EXPRESSION"
    optional = submit(replace(broken, optional=True), step("b", "c"))
    assert optional.asked() == {("b", "ACTION")}
    assert optional.branch("c").status.value == "REFUSED"


def test_output_of_the_saga_is_evaluated_at_its_end() -> None:
    """One that fails is no reason to undo everything."""
    play = submit(step("a"), output=reference("steps.a.output"))
    answer_json(play, "a", {"n": 1})
    assert play.tx.output.data == b'{"n":1}'
    for output in (None, reference("steps.a.output")):
        play = submit(step("a"), output=output)
        play.answer("a")
        assert (play.tx.status, play.tx.output) == (Status.COMPLETED, NO_PAYLOAD)
        failed = "output of the saga" in play.tx.attention_reason
        assert failed is (output is not None)


def test_end_rests_on_every_branch() -> None:
    """COMPLETED is written for nothing that is open, reserved or settled by hand."""
    play = submit(tcc_step("hold"))
    assert not is_complete(play.tx)
    play.answer("hold")
    assert not is_complete(play.tx)
    reserved = replace(
        play.tx,
        branches={
            "hold": replace(play.branch("hold"), status=BranchStatus.TRIED, due_at=None)
        },
        open={},
    )
    assert not is_complete(reserved)
    by_hand = replace(
        reserved,
        branches={"hold": replace(play.branch("hold"), status=BranchStatus.RESOLVED)},
    )
    assert not is_complete(by_hand)
    play.answer("hold")
    assert is_complete(play.tx)
    assert not is_complete(replace(play.tx, definition=None))
    play = submit(step("a", undo=False), step("b"))
    play.answer("a")
    play.answer("b", Refused("NO"))
    assert play.branch("a").status is BranchStatus.SUCCEEDED
    assert not is_complete(play.tx)


@pytest.mark.parametrize(
    "broken",
    [
        Step("c", BranchKind.SAGA, ()),
        Step("c", BranchKind.WAIT, ()),
    ],
)
def test_step_without_what_its_kind_needs_is_an_alarm(broken: Step) -> None:
    """The compiler never builds one."""
    with pytest.raises(InvariantViolated):
        submit(broken)


def test_saga_without_its_definition_is_an_alarm() -> None:
    """Nothing may be decided about it."""
    play = submit(step("a"))
    draft = Draft(replace(play.tx, definition=None))
    with pytest.raises(InvariantViolated):
        complete_if_done(draft, 0)
    with pytest.raises(InvariantViolated):
        Forward(draft, 0).begin()


def test_what_was_satisfied_with_a_failure_starts_nothing() -> None:
    """The first of them turns the saga back, so the second is not followed (S4)."""
    play = submit(
        await_step("x", signal="go"),
        await_step("y", signal="go"),
        step("b", "x", input=reference("input.no")),
        step("c", "y"),
    )
    play.happen(Signal("go"))

    assert play.tx.status is Status.COMPENSATED
    assert "c" not in play.tx.branches


def test_join_waits_for_the_last_of_its_needs() -> None:
    """One is not enough."""
    play = submit(step("x"), step("y"), step("b", "x", "y"))
    play.answer("x")
    assert "b" not in play.tx.branches
    play.answer("y")
    assert play.asked() == {("b", "ACTION")}


def test_two_ends_of_a_join_in_one_move_start_it_once() -> None:
    """Both were satisfied together."""
    play = submit(
        await_step("x", signal="go"),
        await_step("y", signal="go"),
        step("b", "x", "y"),
        step("c", "x", "y"),
    )
    play.happen(Signal("go"))

    assert play.asked() == {("b", "ACTION"), ("c", "ACTION")}


def test_reservation_of_an_optional_child_is_confirmed_when_the_child_has_ended() -> (
    None
):
    """Until then it may still be given up (T4, S5)."""
    child = definition(tcc_step("hold"), step("x", "hold", undo=False))
    wrapped = definition(child_step("in", child=child), step("y", "in", undo=False))
    play = submit(pivot("pay"), child_step("c", child=wrapped, optional=True))
    play.answer("c:in:hold")
    play.answer("pay")
    play.answer("c:in:x")
    assert play.asked() == {("c:y", "ACTION")}
    play.answer("c:y")

    assert play.asked() == {("c:in:hold", "CONFIRM")}
