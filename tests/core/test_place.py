"""Promises of where a branch stands."""

import pytest

from coordinator.core.changed import changed
from coordinator.core.errors import InvariantViolated
from coordinator.core.inputs import Refused, Signal
from coordinator.core.place import (
    Place,
    find_place,
    group_of,
    is_pivot_out,
    item_count,
    last_choice,
    locate,
    place_of,
)
from tests.core.world import (
    Play,
    await_step,
    call_step,
    child_step,
    definition,
    for_each,
    pivot,
    step,
    submit,
    tcc_request,
    with_fallback,
)

CHILD = definition(
    step("reserve"),
    child_step("deep", child=definition(step("x"))),
    call_step("each", for_each=for_each("input.items")),
)
SAGA = definition(
    with_fallback(step("book"), step("y"), step("z")),
    call_step("items", for_each=for_each("input.items")),
    child_step("loan", child=CHILD),
    child_step("loans", child=CHILD, for_each=for_each("input.items")),
    with_fallback(call_step("many", for_each=for_each("input.items")), step("other")),
)


@pytest.mark.parametrize(
    ("branch_id", "parent_id", "step_id", "index", "choice"),
    [
        ("book", "", "book", None, 0),
        ("book:fallback-2", "", "book", None, 2),
        ("items", "", "items", None, 0),
        ("items:12", "items", "items", 12, 0),
        ("many:3:fallback-1", "many", "many", 3, 1),
        ("loan", "", "loan", None, 0),
        ("loan:reserve", "loan", "reserve", None, 0),
        ("loan:deep:x", "loan:deep", "x", None, 0),
        ("loans:3:reserve", "loans:3", "reserve", None, 0),
        ("loans:3", "loans", "loans", 3, 0),
        ("loan:each", "loan", "each", None, 0),
        ("loan:each:0", "loan:each", "each", 0, 0),
    ],
)
def test_every_place_has_one_id(
    branch_id: str, parent_id: str, step_id: str, index: int | None, choice: int
) -> None:
    """An id is read back to the place that it was made of."""
    place = locate(SAGA, branch_id)

    assert place is not None
    assert place.branch_id == branch_id
    assert place.parent_id == parent_id
    assert (place.step.step_id, place.index, place.choice) == (step_id, index, choice)


@pytest.mark.parametrize(
    "branch_id",
    [
        "",
        "nobody",
        "book:",
        "book:1",
        "book:fallback-0",
        "book:fallback-3",
        "book:fallback-1:x",
        "loan:nobody",
        "loan:3:reserve",
        "loans:reserve",
        "items:x",
        "many:fallback-1",
        ":signal:ok",
        "tercet:check-back",
    ],
)
def test_what_is_no_place_has_none(branch_id: str) -> None:
    """Nothing is guessed from an id that no step stands at."""
    assert locate(SAGA, branch_id) is None


def test_list_and_its_items_differ() -> None:
    """The list is a group; an item is a unit of it."""
    whole = Place("", SAGA, SAGA.by_id["items"])

    assert whole.is_list
    with pytest.raises(InvariantViolated, match="is no child saga"):
        _ = whole.child
    with pytest.raises(InvariantViolated, match="is no list"):
        _ = Place("", SAGA, SAGA.by_id["loan"]).for_each
    assert not whole.item(0).is_list
    assert whole.item(4).list_id == whole.branch_id


def test_place_of_a_stranger_is_an_alarm() -> None:
    """The rules never act on a branch that their definition does not know."""
    play = submit(await_step("ok", signal="go"))
    play.happen(Signal("go"))

    assert find_place(play.tx, ":signal:go") is None
    with pytest.raises(InvariantViolated, match="is at no step of its saga"):
        place_of(play.tx, "stranger")


def test_saga_without_its_definition_is_an_alarm() -> None:
    """It was loaded wrongly; nothing may be decided about it."""
    tx = changed(submit(step("a")).tx, definition=None)

    with pytest.raises(InvariantViolated, match="came without its definition"):
        find_place(tx, "a")
    assert not is_pivot_out(tx)
    assert tcc_request().definition_digest == ""


def test_group_of_a_place_is_the_list_or_the_child_saga() -> None:
    """And the whole saga is none."""
    play = submit(child_step("loan", child=CHILD))
    inner = place_of(play.tx, "loan:deep:x")
    group = group_of(play.tx, inner)

    assert group is not None
    assert group.branch_id == "loan:deep"
    assert group_of(play.tx, place_of(play.tx, "loan")) is None


def begun(count: int) -> Play:
    data = b'{"items": [' + b",".join([b"1"] * 9) + b"]}"
    play = submit(call_step("a", for_each=for_each("input.items", 3)), data=data)
    for index in range(count - 3):
        play.answer(f"a:{index}")
    return play


@pytest.mark.parametrize("count", [3, 4, 8, 9])
def test_items_begun_are_counted(count: int) -> None:
    """However many other branches there are."""
    play = begun(count)

    assert item_count(play.tx, place_of(play.tx, "a")) == count


def test_last_choice_is_the_latest_that_was_begun() -> None:
    """``None`` before the step has started."""
    play = submit(with_fallback(step("a"), step("x"), step("y")), step("b", "a"))
    a, b = place_of(play.tx, "a").step, place_of(play.tx, "b").step
    assert last_choice(play.tx, a, "a") is play.branch("a")
    for asked, following in (("a", "a:fallback-1"), ("a:fallback-1", "a:fallback-2")):
        play.answer(asked, Refused("NO"))
        last = last_choice(play.tx, a, "a")
        assert last is not None
        assert last.spec.branch_id == following

    assert last_choice(play.tx, b, "b") is None


def test_pivot_is_out_from_its_start_to_its_answer() -> None:
    """Not before, not after, and never in a saga that has none (S5)."""
    play = submit(step("a"), pivot("p", "a"), step("b", "p", undo=False))
    assert not is_pivot_out(play.tx)
    play.answer("a")
    assert is_pivot_out(play.tx)
    play.answer("p")
    assert not is_pivot_out(play.tx)
    assert not is_pivot_out(submit(step("a")).tx)
    assert is_pivot_out(submit(step("beside"), pivot("p")).tx)
