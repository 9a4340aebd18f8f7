"""Promises of a saga on its way back."""

import json

import pytest
from msgspec.structs import replace

from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import Constant
from coordinator.core.errors import InvariantViolated
from coordinator.core.inputs import Cancel, Refused, Resolve, Unknown
from coordinator.core.place import Place, place_of
from coordinator.core.undo import is_undoable, is_undone
from coordinator.core.words import BranchStatus, Status
from tests.core.world import (
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


def items(count: int) -> bytes:
    return json.dumps({"items": list(range(count))}).encode()


def undo_all(play: Play) -> list[set[str]]:
    """Answer every compensation and cancel; who was asked together, in order."""
    rounds = []
    while play.asked():
        together = {branch_id for branch_id, _ in play.asked()}
        rounds.append(together)
        for branch_id in sorted(together):
            play.answer(branch_id)
    return rounds


def test_every_kind_goes_back_in_reverse_order() -> None:
    """Each in its own way: compensated, cancelled, given up, or nothing (S2, S3)."""
    play = submit(
        step("a"),
        tcc_step("hold", "a"),
        wait_step("w", "hold", wait=Constant(9)),
        call_step("skipped", "hold", condition=Constant(False)),
        call_step("none", "hold", calls=step("none", undo=False).calls),
        await_step("ok", "none", signal="go"),
        step("b", "none"),
    )
    play.answer("a")
    play.answer("hold")
    play.answer("none")
    play.answer("b", Refused("NO"))

    assert undo_all(play) == [{"hold"}, {"a"}]
    assert play.tx.status is Status.COMPENSATED
    assert play.statuses() == {
        "a": "COMPENSATED",
        "hold": "CANCELLED",
        "w": "ABANDONED",
        "skipped": "SKIPPED",
        "none": "SUCCEEDED",
        "ok": "ABANDONED",
        "b": "REFUSED",
    }


def test_timer_that_is_over_has_nothing_to_undo() -> None:
    """Time cannot be given back."""
    play = submit(step("a"), wait_step("w", "a", wait=Constant(0)), step("b", "w"))
    play.answer("a")
    play.happen(Cancel())
    assert undo_all(play) == [{"b"}, {"a"}]
    assert play.statuses()["w"] == "SUCCEEDED"


def test_items_go_back_last_first_and_no_more_at_a_time_than_forward() -> None:
    """What is in flight is resolved at once (S2, S4)."""
    play = submit(call_step("a", for_each=for_each("input.items", 2)), data=items(6))
    for index in range(4):
        play.answer(f"a:{index}")
    assert play.asked() == {("a:4", "ACTION"), ("a:5", "ACTION")}
    play.happen(Cancel())

    assert undo_all(play) == [{"a:5", "a:4"}, {"a:3", "a:2"}, {"a:1", "a:0"}]
    assert play.tx.status is Status.COMPENSATED


def test_slow_item_in_flight_does_not_wait_for_its_turn() -> None:
    """Nothing is asked forward after the turn (S4)."""
    play = submit(call_step("a", for_each=for_each("input.items", 2)), data=items(6))
    for index in range(1, 5):
        play.answer(f"a:{index}")
    play.happen(Cancel())

    assert play.asked() == {
        ("a:0", "COMPENSATION"),
        ("a:5", "COMPENSATION"),
        ("a:4", "COMPENSATION"),
    }
    assert {phase for _, phase in play.asked()} == {"COMPENSATION"}
    undo_all(play)
    assert play.tx.status is Status.COMPENSATED


def test_items_without_a_compensation_are_left_or_given_up() -> None:
    """A list with nothing to undo is done at once."""
    play = submit(
        step("z"),
        call_step(
            "a",
            "z",
            for_each=for_each("input.items", 2),
            calls=step("a", undo=False).calls,
        ),
        data=items(4),
    )
    play.answer("z")
    play.answer("a:0")
    play.happen(Cancel())

    assert play.statuses()["a:1"] == "ABANDONED"
    assert play.statuses()["a"] == "COMPENSATED"
    assert undo_all(play) == [{"z"}]


def test_items_with_fallbacks_are_undone_at_each_choice() -> None:
    """Refused first choices have nothing to undo."""
    play = submit(
        with_fallback(call_step("a", for_each=for_each("input.items", 3)), step("x")),
        data=items(3),
    )
    play.answer("a:0", Refused("NO"))
    play.answer("a:0:fallback-1")
    play.answer("a:1")
    play.happen(Cancel())

    assert undo_all(play) == [{"a:2", "a:1", "a:0:fallback-1"}]
    assert play.tx.status is Status.COMPENSATED


def test_list_that_never_began_is_undone() -> None:
    """And one that was skipped, refused or empty."""
    play = submit(
        step("z"),
        call_step(
            "skipped", "z", for_each=for_each("input.items"), condition=Constant(False)
        ),
        call_step("later", "skipped", "b", for_each=for_each("input.items")),
        call_step("empty", for_each=for_each("input.items")),
        step("b", "z"),
        data=items(0),
    )
    play.answer("z")
    play.answer("b", Refused("NO"))

    assert undo_all(play) == [{"z"}]
    assert play.statuses()["empty"] == "COMPENSATED"
    assert "later" not in play.tx.branches


def test_child_goes_back_before_what_it_needed_and_after_what_needs_it() -> None:
    """The border of a child saga is no gap in the order (S2, S8)."""
    child = definition(step("x"), step("y", "x"))
    play = submit(step("a"), child_step("c", "a", child=child), step("b", "c"))
    for branch_id in ("a", "c:x", "c:y"):
        play.answer(branch_id)
    play.happen(Cancel())

    assert undo_all(play) == [{"b"}, {"c:y"}, {"c:x"}, {"a"}]


def test_children_of_a_list_go_back_item_by_item() -> None:
    """A finished one is undone like one that is under way."""
    child = definition(step("x"), step("y", "x"))
    play = submit(
        child_step("c", child=child, for_each=for_each("input.items", 2)),
        data=items(3),
    )
    for branch_id in ("c:0:x", "c:0:y", "c:1:x"):
        play.answer(branch_id)
    play.happen(Cancel())

    assert undo_all(play) == [{"c:1:y", "c:2:x"}, {"c:1:x", "c:0:y"}, {"c:0:x"}]
    assert play.tx.status is Status.COMPENSATED


def test_child_that_is_given_up_twice_is_undone_once() -> None:
    """An optional child inside an optional child, both failing."""
    inner = definition(step("x"), step("y", "x"))
    outer = definition(child_step("in", child=inner, optional=True), step("z", "in"))
    play = submit(child_step("out", child=outer, optional=True), step("b", "out"))
    play.answer("out:in:x")
    play.answer("out:in:y", Refused("NO"))
    play.answer("out:z", Refused("NO"))

    assert play.asked() == {("out:in:x", "COMPENSATION"), ("b", "ACTION")}
    play.answer("b")
    play.answer("out:in:x")
    assert play.tx.status is Status.COMPLETED
    assert play.statuses()["out"] == "COMPENSATED"


def test_optional_step_with_nothing_to_undo_is_given_up() -> None:
    """Its outcome stays unknown; the code says why nobody asks any more."""
    play = submit(
        call_step("a", optional=True, calls=step("a", undo=False).calls), step("b", "a")
    )
    for _ in range(5):
        play.answer("a", Unknown("TIMEOUT"))

    assert play.branch("a").status is BranchStatus.ABANDONED
    assert play.branch("a").error_code == "ATTEMPTS_USED_UP"
    assert play.asked() == {("b", "ACTION")}


def test_optional_reservation_of_unknown_outcome_is_cancelled() -> None:
    """While the saga goes on (B2)."""
    play = submit(tcc_step("hold", optional=True), step("b", "hold"))
    for _ in range(3):
        play.answer("hold", Unknown("TIMEOUT"))

    assert play.asked() == {("hold", "CANCEL"), ("b", "ACTION")}
    play.answer("hold")
    play.answer("b")
    assert play.tx.status is Status.COMPLETED


def test_reservation_of_an_optional_child_waits_for_its_end() -> None:
    """The child may still fail after the commit, and what is confirmed could not be
    cancelled (T5).
    """
    child = definition(tcc_step("hold"), step("x", "hold", undo=False))
    for refused in (True, False):
        play = submit(pivot("pay"), child_step("c", child=child, optional=True))
        play.answer("c:hold")
        play.answer("pay")
        assert play.asked() == {("c:x", "ACTION")}
        play.answer("c:x", Refused("NO") if refused else None)
        assert play.asked() == {("c:hold", "CANCEL" if refused else "CONFIRM")}
        play.answer("c:hold")
        assert play.tx.status is Status.COMPLETED


def test_reservation_that_is_made_after_the_commit_is_confirmed_at_once() -> None:
    """Nothing can take it back any more (T4)."""
    play = submit(pivot("pay"), tcc_step("hold", optional=True))
    play.answer("pay")
    play.answer("hold")

    assert play.asked() == {("hold", "CONFIRM")}
    play.answer("hold")
    assert play.tx.status is Status.COMPLETED


def test_reservation_of_a_list_of_optional_children_waits_for_its_own() -> None:
    """And for every optional child around it."""
    inner = definition(tcc_step("hold"), step("x", "hold", undo=False))
    outer = definition(
        child_step("in", child=inner, optional=True, for_each=for_each("input.items")),
        step("z", "in", undo=False),
    )
    play = submit(
        pivot("pay"),
        child_step("out", child=outer, optional=True, input=reference("input")),
        data=items(1),
    )
    play.answer("pay")
    play.answer("out:in:0:hold")
    play.answer("out:in:0:x")
    assert play.asked() == {("out:z", "ACTION")}
    play.answer("out:z")
    assert play.asked() == {("out:in:0:hold", "CONFIRM")}


def test_undone_is_what_left_nothing() -> None:
    """Not what is open, not what succeeded and could be undone, not a person's word."""
    play = submit(step("a"), step("b", undo=False))
    play.answer("a")
    play.answer("b")
    tx = play.tx
    assert not is_undone(tx)
    for status, expected in (
        (BranchStatus.COMPENSATED, True),
        (BranchStatus.REFUSED, True),
        (BranchStatus.COMPENSATING, False),
        (BranchStatus.RESOLVED, False),
    ):
        branch = replace(tx.branches["a"], status=status)
        changed = replace(tx, branches={**tx.branches, "a": branch})
        assert is_undone(changed) is expected


def test_only_calls_can_be_undone() -> None:
    """A timer is no call, and a call may have nothing to undo."""
    play = submit(
        step("a"),
        step("n", undo=False),
        tcc_step("t"),
        wait_step("w", wait=Constant(1)),
    )
    found = {name: is_undoable(place_of(play.tx, name)) for name in "antw"}

    assert found == {"a": True, "n": False, "t": True, "w": False}


def test_saga_that_was_settled_by_hand_ends_so() -> None:
    """In a given-up child as well, when the saga turns back later (T8)."""
    child = definition(step("x"), step("y", "x"))
    play = submit(child_step("c", child=child, optional=True), step("b", "c"))
    play.answer("c:x")
    play.answer("c:y", Refused("NO"))
    play.happen(Resolve("c:x", "alice", "by cheque"))
    assert play.statuses()["c"] == "COMPENSATED"
    play.answer("b", Refused("NO"))

    assert play.tx.status is Status.RESOLVED


def test_compensation_input_of_an_item_reads_its_item() -> None:
    """Each its own (S7)."""
    play = submit(
        call_step(
            "a",
            for_each=for_each("input.items"),
            calls=step("a", undo_input=reference("item")).calls,
        ),
        data=items(2),
    )
    play.happen(Cancel())

    assert {i: c.input.data for i, c in play.due().items()} == {
        "a:0": b"0",
        "a:1": b"1",
    }
    assert isinstance(place_of(play.tx, "a:1"), Place)


def test_saga_does_not_turn_back_while_its_pivot_is_out() -> None:
    """Only a definition that was never checked gets there (S5)."""
    play = submit(pivot("pay"), step("beside"))

    with pytest.raises(InvariantViolated, match="S5: turned back"):
        play.answer("beside", Refused("NO"))


def test_first_choice_of_unknown_outcome_is_given_up_alone() -> None:
    """With its compensation's own input; an optional one without any is abandoned."""
    first = step("a", undo_input=reference("input.amount"))
    play = submit(with_fallback(first, step("x")), data=b'{"amount": 3}')
    for _ in range(5):
        play.answer("a", Unknown("TIMEOUT"))
    assert play.due()["a"].input.data == b"3"

    child = definition(child_step("in", child=definition(step("x"))), step("y", "in"))
    play = submit(child_step("out", child=child, optional=True))
    play.answer("out:in:x")
    play.answer("out:y", Refused("NO"))
    assert play.asked() == {("out:in:x", "COMPENSATION")}
    play.answer("out:in:x")
    assert play.tx.status is Status.COMPLETED


def test_undo_beside_a_running_child_leaves_it_alone() -> None:
    """Only the group that was given up goes back."""
    inner = definition(
        call_step("o", optional=True, calls=step("o", retry=RetryPolicy(1)).calls),
        step("x", "o"),
    )
    play = submit(child_step("c", child=inner))
    play.answer("c:o", Unknown("TIMEOUT"))
    assert play.asked() == {("c:o", "COMPENSATION"), ("c:x", "ACTION")}
    play.answer("c:o")
    assert play.asked() == {("c:x", "ACTION")}
    play.answer("c:x")
    assert play.tx.status is Status.COMPLETED


def test_branch_that_was_given_up_says_why() -> None:
    """The saga goes on, so the branch alone can."""
    once = step("a", retry=RetryPolicy(attempt_max=1))
    play = submit(replace(once, optional=True), step("b", "a"))
    play.answer("a", Unknown("LOST"))

    assert play.asked() == {("a", "COMPENSATION"), ("b", "ACTION")}
    assert play.branch("a").error_code == "ATTEMPTS_USED_UP"
