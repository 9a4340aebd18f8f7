"""Promises of a saga on its way forward."""

import json

import pytest

from coordinator.core import machine
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import Computed, Constant, ForEach
from coordinator.core.expressions import ExpressionFailed
from coordinator.core.forward import ITEMS_MAX, SAGA_BRANCH_MAX
from coordinator.core.inputs import (
    Cancel,
    Refused,
    Resolve,
    Signal,
    Succeeded,
    Unknown,
    Woken,
)
from coordinator.core.model import Decision, Payload, Status
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


# ---- Conditions -------------------------------------------------------------------


def test_step_with_a_false_condition_is_skipped_and_satisfies() -> None:
    """What needs it goes on; it is never asked, and its absence is stored (S7)."""
    play = submit(
        step("a"),
        call_step("b", "a", condition=Constant(False)),  # noqa: FBT003
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
            call_step(name, before, condition=Constant(False))  # noqa: FBT003
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


# ---- Lists ------------------------------------------------------------------------


def test_list_runs_its_items_and_collects_their_outputs() -> None:
    """No more at a time than allowed, in the order of the list."""
    play = submit(
        call_step(
            "a",
            for_each=for_each("input.items"),
            calls=step("a", input=reference("item")).calls,
        ),
        step("b", "a", input=reference("steps.a.output")),
        data=items("x", "y", "z"),
    )
    assert play.asked() == {("a:0", "ACTION"), ("a:1", "ACTION")}
    assert play.due()["a:1"].input.data == b'"y"'
    answer_json(play, "a:1", 1)
    assert play.asked() == {("a:0", "ACTION"), ("a:2", "ACTION")}
    answer_json(play, "a:2", 2)
    play.answer("a:0")

    assert play.branch("b").spec.input.data == b"[null,1,2]"
    assert play.branch("a:0").spec.parent_branch_id == "a"


def test_empty_list_is_done_at_once() -> None:
    """With an empty list of outputs."""
    play = submit(
        call_step("a", for_each=for_each("input.items")),
        step("b", "a", input=reference("steps.a.output")),
        data=items(),
    )

    assert play.branch("b").spec.input.data == b"[]"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"items": {}}', "EXPRESSION"),
        (items(*range(ITEMS_MAX + 1)), "TOO_MANY_ITEMS"),
    ],
)
def test_what_is_no_list_or_too_long_refuses_the_step(data: bytes, code: str) -> None:
    """By name, before any item has begun (S9)."""
    play = submit(call_step("a", for_each=for_each("input.items")), data=data)

    assert play.tx.status is Status.COMPENSATED
    assert play.tx.reason_code == code


def test_full_list_fits() -> None:
    """The limit itself is allowed, and every item has its turn."""
    play = submit(
        call_step("a", for_each=for_each("input.items", 1_000)),
        data=items(*range(ITEMS_MAX)),
    )
    for index in range(ITEMS_MAX):
        play.answer(f"a:{index}")

    assert play.tx.status is Status.COMPLETED


def test_refused_item_turns_the_saga_back() -> None:
    """What its siblings did is undone, one by one."""
    play = submit(
        call_step("a", for_each=for_each("input.items", 3)), data=items(1, 2, 3)
    )
    play.answer("a:0")
    play.answer("a:1", Refused("NO"))

    assert play.asked() == {("a:0", "COMPENSATION"), ("a:2", "COMPENSATION")}
    play.answer("a:0")
    play.answer("a:2")
    assert play.tx.status is Status.COMPENSATED


def test_optional_item_may_be_refused() -> None:
    """Its output is null, the others go on."""
    play = submit(
        call_step("a", optional=True, for_each=for_each("input.items", 3)),
        step("b", "a", input=reference("steps.a.output")),
        data=items(1, 2),
    )
    play.answer("a:0", Refused("NO"))
    answer_json(play, "a:1", "done")

    assert play.branch("b").spec.input.data == b'[null,"done"]'


def test_item_has_a_fallback_of_its_own() -> None:
    """Refused items fall back one by one."""
    play = submit(
        with_fallback(call_step("a", for_each=for_each("input.items", 2)), step("x")),
        data=items(1, 2),
    )
    play.answer("a:0", Refused("NO"))

    assert play.asked() == {("a:0:fallback-1", "ACTION"), ("a:1", "ACTION")}
    play.answer("a:0:fallback-1")
    play.answer("a:1")
    assert play.tx.status is Status.COMPLETED


def test_saga_of_too_many_branches_turns_back() -> None:
    """Lists of child sagas multiply; what they come to is bounded (S9)."""
    child = definition(*(step(f"s{n}") for n in range(10)))
    play = submit(
        child_step("a", child=child, for_each=for_each("input.items", 1_000)),
        data=items(*range(600)),
    )

    assert play.tx.reason_code == "TOO_MANY_BRANCHES"
    assert len(play.tx.branches) <= SAGA_BRANCH_MAX + 1


# ---- Child sagas ------------------------------------------------------------------


def loan() -> object:
    return child_step(
        "loan",
        "a",
        input=reference("input"),
        child=definition(
            step("pay", input=reference("input.amount")),
            step("tell", "pay"),
            output=reference("steps.pay.output"),
        ),
    )


def test_child_saga_sees_its_own_input_and_gives_its_output() -> None:
    """Its steps are branches of the same transaction (S8)."""
    play = submit(
        step("a"), loan(), step("b", "loan", input=reference("steps.loan.output"))
    )
    play.answer("a")

    assert play.asked() == {("loan:pay", "ACTION")}
    assert play.branch("loan:pay").spec.input.data == b"7"
    answer_json(play, "loan:pay", {"paid": 7})
    play.answer("loan:tell")
    assert play.branch("loan").status.value == "SUCCEEDED"
    assert play.branch("b").spec.input.data == b'{"paid":7}'
    play.answer("b")
    assert play.tx.status is Status.COMPLETED


def test_refusal_in_a_child_undoes_it_before_what_it_needed() -> None:
    """The order of the graph holds across the border (S2, S8)."""
    play = submit(step("a"), loan())
    play.answer("a")
    play.answer("loan:pay")
    play.answer("loan:tell", Refused("NO"))

    assert play.asked() == {("loan:pay", "COMPENSATION")}
    play.answer("loan:pay")
    assert play.asked() == {("a", "COMPENSATION")}
    play.answer("a")
    assert play.tx.status is Status.COMPENSATED
    assert play.branch("loan").status.value == "COMPENSATED"


def test_completed_child_is_undone_with_its_own_input() -> None:
    """Compensating the step compensates the child (S8)."""
    play = submit(step("a"), loan(), step("b", "loan"))
    play.answer("a")
    answer_json(play, "loan:pay", "paid")
    play.answer("loan:tell")
    play.answer("b", Refused("NO"))

    assert play.asked() == {("loan:tell", "COMPENSATION")}
    play.answer("loan:tell")
    assert play.due()["loan:pay"].input.data == b"7"
    play.answer("loan:pay")
    play.answer("a")
    assert play.tx.status is Status.COMPENSATED


def test_optional_child_fails_alone() -> None:
    """It is undone while its saga goes on."""
    child = definition(step("x"), step("y", "x"))
    play = submit(child_step("c", child=child, optional=True), step("b", "c"))
    play.answer("c:x")
    play.answer("c:y", Refused("NO"))

    assert play.asked() == {("c:x", "COMPENSATION"), ("b", "ACTION")}
    play.answer("b")
    assert play.tx.status is Status.CONFIRMING
    play.answer("c:x")
    assert play.tx.status is Status.COMPLETED
    assert play.branch("c").status.value == "COMPENSATED"


def test_child_that_takes_too_long_turns_the_saga_back() -> None:
    """Its timeout is its own."""
    play = submit(child_step("c", child=definition(step("x")), timeout_ms=5_000))
    play.now = 5_000
    assert machine.due_at(play.tx, {"c:x"}) == 5_000
    play.happen(Woken())

    assert play.tx.reason_code == "TIMEOUT"
    assert play.asked() == {("c:x", "COMPENSATION")}


def test_child_whose_output_fails_is_undone() -> None:
    """Before the commit nothing is lost by going back."""
    child = definition(step("x"), output=reference("steps.x.output.id"))
    play = submit(child_step("c", child=child))
    play.answer("c:x")

    assert play.tx.reason_code == "EXPRESSION"
    assert play.asked() == {("c:x", "COMPENSATION")}


# ---- Timers and signals -----------------------------------------------------------


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


@pytest.mark.parametrize(
    "wait", [Constant("soon"), Constant(None), Constant(-1), Constant(True)]
)  # noqa: FBT003
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
        play.wait_until_due()
        play.happen(Woken())

        assert play.branch("ok").error_code == "SIGNAL_TIMEOUT"
        assert ("b" in play.tx.branches) is optional
        assert (play.tx.status is Status.RUNNING) is optional


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
