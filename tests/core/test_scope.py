"""Promises of what expressions may read, and where."""

import json

import pytest
from msgspec.structs import replace

from coordinator.core import expressions
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import Constant
from coordinator.core.expressions import ExpressionFailed
from coordinator.core.inputs import Refused, Succeeded, Unknown
from coordinator.core.model import NO_PAYLOAD, Payload
from coordinator.core.place import place_of
from coordinator.core.saga import OUTPUT_NEEDED
from coordinator.core.scope import (
    OUTPUT_BYTES_MAX,
    bounded,
    compensation_input,
    evaluated,
    items_of,
    scope_of,
)
from coordinator.core.words import BranchStatus
from tests.core.world import (
    JSON,
    Play,
    call_step,
    child_step,
    definition,
    for_each,
    reference,
    step,
    submit,
    with_fallback,
)


def read(play: Play, at: str, path: str) -> object:
    return expressions.evaluate(
        reference(path), scope_of(play.tx, place_of(play.tx, at))
    )


def answer_json(play: Play, branch_id: str, value: object) -> None:
    play.answer(branch_id, Succeeded(Payload(json.dumps(value).encode(), JSON)))


def test_steps_read_the_saga_and_what_was_answered() -> None:
    """Input, outputs, the saga's own facts; nothing else."""
    play = submit(step("a"), step("b", "a"))
    answer_json(play, "a", {"n": 1})

    assert read(play, "b", "input.amount") == 7
    assert read(play, "b", "steps.a.output.n") == 1
    assert read(play, "b", "saga.gid") == "s-1"
    for path in ("steps.b.output", "steps.nobody.output", "item", "index"):
        with pytest.raises(ExpressionFailed):
            read(play, "b", path)


def test_output_is_that_of_the_choice_that_has_one() -> None:
    """A refused first choice answered nothing."""
    play = submit(with_fallback(step("a"), step("x")), step("b", "a"))
    play.answer("a", Refused("NO"))
    answer_json(play, "a:fallback-1", "from the fallback")

    assert read(play, "b", "steps.a.output") == "from the fallback"


def test_child_reads_its_own() -> None:
    """Neither the input nor the steps of the saga around it."""
    child = child_step(
        "c",
        "a",
        input=Constant({"x": 2}),
        child=definition(step("in"), step("on", "in")),
    )
    play = submit(step("a"), child)
    answer_json(play, "a", 1)
    answer_json(play, "c:in", 5)

    assert read(play, "c:on", "input") == {"x": 2}
    assert read(play, "c:on", "steps.in.output") == 5
    with pytest.raises(ExpressionFailed):
        read(play, "c:on", "steps.a.output")


def test_item_is_read_where_it_is_run_for() -> None:
    """Each its own."""
    play = submit(
        call_step("a", for_each=for_each("input.items")), data=b'{"items": ["x", "y"]}'
    )

    assert read(play, "a:1", "item") == "y"
    assert read(play, "a:1", "index") == 1
    assert items_of(play.tx, place_of(play.tx, "a")) == ["x", "y"]
    with pytest.raises(ExpressionFailed):
        read(play, "a", "item")


def test_list_that_is_none_has_no_items() -> None:
    """A stored input that is no list is never run for."""
    play = submit(step("a", input=Constant(4)))

    assert items_of(play.tx, place_of(play.tx, "a")) == []


def test_limit_of_what_is_stored_is_exact() -> None:
    """256 KiB as it is sent (S9, T14)."""
    fits = Payload(b"x" * OUTPUT_BYTES_MAX, JSON)

    assert bounded(fits) is fits
    with pytest.raises(ExpressionFailed, match="262145 bytes, more than 262144"):
        bounded(Payload(b"x" * (OUTPUT_BYTES_MAX + 1), JSON))


def test_value_is_stored_as_json() -> None:
    """With its type."""
    play = submit(step("a"))
    scope = scope_of(play.tx, place_of(play.tx, "a"))

    assert evaluated(Constant({"a": [1]}), scope) == Payload(b'{"a":[1]}', JSON)


def undo_of(play: Play, branch_id: str, *, is_lenient: bool = False) -> Payload:
    branch = play.branch(branch_id)
    place = place_of(play.tx, branch_id)
    return compensation_input(play.tx, place, branch, is_lenient=is_lenient)


def test_compensation_reads_what_its_own_call_answered() -> None:
    """Not what another choice did; without a template, the call's own input."""
    play = submit(
        with_fallback(
            step("a", undo_input=reference("steps.a.output.id")),
            step("x", undo_input=reference("steps.a.output.id")),
        ),
        step("b", "a", undo=False),
    )
    play.answer("a", Refused("NO"))
    answer_json(play, "a:fallback-1", {"id": 9})

    assert undo_of(play, "a:fallback-1").data == b"9"
    assert undo_of(play, "a") == NO_PAYLOAD
    assert undo_of(play, "a", is_lenient=True).data == b"null"
    assert undo_of(play, "b") == play.branch("b").spec.input


def test_output_of_what_was_given_up_is_read_by_nobody() -> None:
    """The steps behind an optional one that is undone see that it has none."""
    play = submit(
        replace(
            step(
                "a",
                undo_input=reference("steps.a.output.id"),
                retry=RetryPolicy(attempt_max=1),
            ),
            optional=True,
        ),
        step("b", "a"),
    )
    play.answer("a", Unknown("LOST"))
    play.answer("a", Unknown(OUTPUT_NEEDED, output=Payload(b'{"id": 9}', JSON)))
    branch = play.branch("a")
    assert (branch.status, branch.output.data) == (
        BranchStatus.COMPENSATING,
        b'{"id": 9}',
    )

    with pytest.raises(ExpressionFailed):
        read(play, "b", "steps.a.output")


def test_compensation_reads_what_other_steps_answered() -> None:
    """Those of its own saga; its own answer stands under its own name alone."""
    child = definition(
        step("reserve"),
        step("pay", "reserve", undo_input=reference("steps.reserve.output.id")),
    )
    play = submit(child_step("loan", child=child))
    answer_json(play, "loan:reserve", {"id": 1})
    answer_json(play, "loan:pay", {"id": 2})

    assert undo_of(play, "loan:pay").data == b"1"


def test_compensation_without_the_output_it_needs_is_empty() -> None:
    """Or null in its place, when there will never be one."""
    play = submit(step("a", undo_input=reference("steps.a.output.id")))

    assert undo_of(play, "a") == NO_PAYLOAD
    assert undo_of(play, "a", is_lenient=True).data == b"null"
