"""Promises of lists and child sagas on their way forward."""

import json

import pytest
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import Constant, ForEach
from coordinator.core.events import AttentionRaised
from coordinator.core.forward import (
    ITEMS_MAX,
    SAGA_BRANCH_MAX,
)
from coordinator.core.inputs import (
    Refused,
    Resolve,
    Signal,
    Succeeded,
    Unknown,
    Woken,
)
from coordinator.core.model import Payload
from coordinator.core.saga import OUTPUT_NEEDED
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


def test_output_of_an_item_that_was_undone_is_null() -> None:
    """Also where its participant told what it had done, so that it could be undone."""
    once = step(
        "a",
        undo_input=reference("steps.a.output.id"),
        retry=RetryPolicy(attempt_max=1),
    )
    each = for_each("input.items", 3)
    play = submit(
        replace(once, optional=True, for_each=each),
        step("b", "a", input=reference("steps.a.output")),
        data=items(1, 2),
    )
    play.answer("a:0", Unknown("LOST"))
    told = Payload(b'{"id": 9}', JSON)
    play.answer("a:0", Unknown(OUTPUT_NEEDED, output=told))
    assert play.branch("a:0").output == told
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


def test_list_for_which_there_is_no_room_is_refused() -> None:
    """The list is a branch as well (S9)."""
    play = submit(
        await_step("ok", signal="go"),
        call_step("a", "ok", for_each=for_each("input.items")),
        data=items(1),
    )
    done = replace(play.branch("ok"), status=BranchStatus.REFUSED, due_at=None)
    others = {f"x{n}": done for n in range(SAGA_BRANCH_MAX)}
    play.tx = replace(play.tx, branches={**play.tx.branches, **others})
    play.happen(Signal("go"))

    assert play.tx.reason_code == "TOO_MANY_BRANCHES"


def crowded(play: Play, count: int) -> None:
    """As many branches more as lists of child sagas might have made."""
    done = replace(play.branch("ok"), status=BranchStatus.REFUSED, due_at=None)
    others = {f"x{n}": done for n in range(count)}
    play.tx = replace(play.tx, branches={**play.tx.branches, **others})


def test_optional_items_for_which_there_is_no_room_turn_the_saga_back() -> None:
    """Otherwise each of them would be one more branch (S9)."""
    each = for_each("input.items", 3)
    play = submit(
        await_step("ok", signal="go"),
        call_step("a", "ok", optional=True, for_each=each),
        data=items(1, 2, 3),
    )
    crowded(play, SAGA_BRANCH_MAX)
    play.happen(Signal("go"))

    assert play.tx.reason_code == "TOO_MANY_BRANCHES"
    assert "a" not in play.tx.branches


def test_limits_are_those_that_were_promised() -> None:
    """In the language's description (S9)."""
    assert (ITEMS_MAX, SAGA_BRANCH_MAX) == (1_000, 5_000)


def test_room_is_counted_to_the_last_branch() -> None:
    """With the branch that takes the last place, a saga has as many as it may."""
    for spare in (1, 0):
        play = submit(await_step("ok", signal="go"), step("a", "ok"))
        signal_and_step = 2
        crowded(play, SAGA_BRANCH_MAX - signal_and_step - spare)
        play.happen(Signal("go"))

        assert ("a" in play.tx.branches) is (spare == 1)
        if spare:
            assert len(play.tx.branches) == SAGA_BRANCH_MAX


def test_room_after_the_commit_is_counted_to_the_last_branch() -> None:
    """A refusal takes the last place; the next one calls a person."""
    for spare in (1, 0):
        play = submit(
            pivot("pay"),
            await_step("ok", "pay", signal="go"),
            call_step("a", "ok", optional=True, calls=step("a", undo=False).calls),
        )
        play.answer("pay")
        pay_and_signal_and_step = 3
        crowded(play, 2 * SAGA_BRANCH_MAX - pay_and_signal_and_step - spare)
        play.happen(Signal("go"))

        assert ("a" in play.tx.branches) is (spare == 1)
        assert bool(play.tx.attention_reason) is (spare == 0)


@pytest.mark.parametrize("count", [SAGA_BRANCH_MAX, 2 * SAGA_BRANCH_MAX])
def test_after_the_commit_there_is_twice_the_room_and_then_none(count: int) -> None:
    """A refusal is recorded as long as it may be; then a person is called (S9)."""
    play = submit(
        pivot("pay"),
        await_step("ok", "pay", signal="go"),
        call_step("a", "ok", optional=True, calls=step("a", undo=False).calls),
        call_step("b", "ok", optional=True, calls=step("b", undo=False).calls),
    )
    play.answer("pay")
    crowded(play, count)
    events = play.happen(Signal("go"))

    assert ("a" in play.tx.branches) is (count == SAGA_BRANCH_MAX)
    raised = [e for e in events if isinstance(e, AttentionRaised)]
    assert len(raised) == (count > SAGA_BRANCH_MAX)


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


def test_child_ends_with_the_last_of_its_steps() -> None:
    """Not with the first of several that nobody needs."""
    child = definition(step("x"), step("y"))
    play = submit(child_step("c", child=child), step("b", "c"))
    play.answer("c:x")
    assert play.branch("c").status is BranchStatus.WAITING
    assert "b" not in play.tx.branches
    play.answer("c:y")

    assert play.branch("c").status is BranchStatus.SUCCEEDED
    assert play.asked() == {("b", "ACTION")}


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


def test_optional_child_whose_output_fails_is_undone_alone() -> None:
    """What it did counts for nothing, and the saga goes on."""
    child = definition(step("x"), output=reference("steps.x.output.id"))
    play = submit(child_step("c", optional=True, child=child), step("b", "c"))
    play.answer("c:x")

    assert play.asked() == {("c:x", "COMPENSATION"), ("b", "ACTION")}


def failed_child() -> Play:
    """An optional child that has failed, and whose reservation waits for its turn to be
    cancelled.
    """
    child = definition(tcc_step("hold"), step("x", "hold"), step("y", "x"))
    play = submit(child_step("c", child=child, optional=True), step("a", "c"))
    play.answer("c:hold")
    play.answer("c:x")
    play.answer("c:y", Refused("NO"))
    return play


def test_commit_confirms_nothing_of_a_child_that_is_being_undone() -> None:
    """Its reservations are cancelled in their turn, and not confirmed before (T5)."""
    play = failed_child()
    play.answer("a")
    assert play.asked() == {("c:x", "COMPENSATION")}

    play.answer("c:x")
    play.answer("c:hold")
    assert play.branch("c:hold").status is BranchStatus.CANCELLED
    assert play.tx.status is Status.COMPLETED


def test_saga_with_a_branch_settled_by_hand_is_decided_before_its_end() -> None:
    """Whoever reads the decision of what went forward reads the commit (T1)."""
    play = failed_child()
    play.happen(Resolve("c:x", "alice", "by cheque"))
    play.answer("c:hold")
    play.answer("a")

    assert play.tx.status is Status.RESOLVED
    assert play.tx.decision is Decision.COMMIT


def test_list_inside_a_child_and_a_child_inside_a_list() -> None:
    """Groups nest."""
    child = definition(
        call_step("each", for_each=for_each("input.items")), step("end", "each")
    )
    play = submit(
        child_step(
            "c", child=child, for_each=for_each("input.items"), input=reference("item")
        ),
        data=b'{"items": [{"items": [1, 2]}, {"items": []}]}',
    )
    assert play.asked() == {
        ("c:0:each:0", "ACTION"),
        ("c:0:each:1", "ACTION"),
        ("c:1:end", "ACTION"),
    }
    for branch_id in ("c:0:each:0", "c:0:each:1", "c:0:end", "c:1:end"):
        play.answer(branch_id)
    assert play.tx.status is Status.COMPLETED


def test_optional_child_of_a_list_fails_alone() -> None:
    """It gives null; whatever else it had begun is not begun any more."""
    child = definition(
        step("x", undo=False, input=reference("input.no")), step("y"), step("z", "y")
    )
    play = submit(
        child_step("c", child=child, optional=True, for_each=for_each("input.items")),
        step("b", "c", input=reference("steps.c.output")),
        data=items(1),
    )

    assert play.branch("c:0").status.value == "COMPENSATED"
    assert "c:0:y" not in play.tx.branches
    assert play.branch("b").spec.input.data == b"[null]"


def test_list_in_a_child_that_was_given_up_starts_no_more_items() -> None:
    """Its first item fails while it begins (S4)."""
    child = definition(
        call_step(
            "each",
            for_each=ForEach(Constant([1, 2]), 2),
            calls=step("each", input=reference("input.no")).calls,
        )
    )
    play = submit(child_step("c", child=child, optional=True), step("b", "c"))

    assert set(play.tx.branches) == {"c", "c:each", "c:each:0", "b"}
    assert play.asked() == {("b", "ACTION")}


def test_child_that_was_given_up_is_not_closed() -> None:
    """Even when the last of its steps succeeds in the same move."""
    child = definition(
        wait_step("w", wait=Constant(5)),
        await_step("s", signal="go", timeout_ms=5),
    )
    play = submit(child_step("c", child=child, optional=True), step("b", "c"))
    play.now = 5
    play.happen(Woken())

    assert play.branch("c").status.value == "COMPENSATED"
    assert play.asked() == {("b", "ACTION")}


def test_outputs_of_a_list_that_are_too_large_turn_back() -> None:
    """Each fits, all together do not (S9)."""
    big = Succeeded(Payload(b'"' + b"x" * 150_000 + b'"', JSON))
    for optional in (False, True):
        play = submit(
            call_step("a", optional=optional, for_each=for_each("input.items")),
            data=items(1, 2),
        )
        play.answer("a:0", big)
        play.answer("a:1", big)
        assert (play.tx.reason_code == "EXPRESSION") is not optional
        assert (play.tx.status is Status.COMPLETED) is optional


def test_output_of_a_bound_group_that_fails_is_dropped() -> None:
    """After the commit nothing is undone for a result (S5)."""
    child = definition(step("x", undo=False), output=reference("steps.x.output.no"))
    play = submit(pivot("pay"), child_step("c", "pay", child=child))
    play.answer("pay")
    play.answer("c:x")

    assert play.tx.status is Status.COMPLETED
    assert play.tx.attention_reason.startswith("output of child saga c:")


def test_opaque_output_of_an_item_is_null() -> None:
    """A list of outputs is JSON."""
    play = submit(
        call_step("a", for_each=for_each("input.items")),
        step("b", "a", input=reference("steps.a.output")),
        data=items(1),
    )
    play.answer("a:0", Succeeded(Payload(b"\x00", "application/x-protobuf")))

    assert play.branch("b").spec.input.data == b"[null]"
