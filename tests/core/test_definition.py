"""Promises of a compiled saga."""

from dataclasses import replace

import pytest

from coordinator.core.backoff import FORWARD
from coordinator.core.definition import (
    BranchKind,
    Call,
    Computed,
    Constant,
    Step,
    find_cycle,
    signals_of,
    to_json,
)
from tests.core.world import (
    await_step,
    call_step,
    child_step,
    definition,
    for_each,
    pivot,
    step,
    tcc_step,
    wait_step,
    with_fallback,
)


def test_successors_are_derived_in_the_order_of_the_text() -> None:
    """Who needs a step, each once, also when a need is written twice."""
    saga = definition(step("a"), step("c", "a", "a"), step("b", "a", "c"))

    assert saga.successors == {"a": ("c", "b"), "c": ("b",), "b": ()}
    assert list(saga.by_id) == ["a", "c", "b"]
    assert saga.steps[1] is saga.by_id["c"]


def test_steps_are_known_last_first() -> None:
    """Each after all that need it, whatever is written twice or is no step."""
    saga = definition(
        step("a", "nobody"), step("b", "a", "a"), step("c", "a"), step("d", "b", "c")
    )

    assert saga.last_first == ("d", "b", "c", "a")


def test_saga_ends_with_what_nobody_needs() -> None:
    """In the order of the text."""
    saga = definition(step("a"), step("b", "a"), step("c"), step("d", "a"))

    assert saga.ends == (saga.by_id["b"], saga.by_id["c"], saga.by_id["d"])


def test_saga_starts_with_what_needs_nobody() -> None:
    """In the order of the text."""
    saga = definition(step("a"), step("b", "a"), step("c"), step("d", "a"))

    assert saga.starts == (saga.by_id["a"], saga.by_id["c"])


def test_pivot_of_a_child_is_one_of_the_saga() -> None:
    """However deep it is, and nowhere else."""
    inner = definition(step("in"), pivot("point"))
    outer = definition(step("a"), child_step("b", child=inner), step("c"))

    assert (inner.has_pivot, outer.has_pivot) == (True, True)
    assert definition(child_step("top", child=outer)).has_pivot
    assert not definition(step("a"), child_step("b", child=definition())).has_pivot


def test_only_calls_wait_for_no_time_of_their_own() -> None:
    """A timer, a signal, a child and a reservation do; it may be a fallback."""
    items = for_each("input.items")
    assert not definition(step("a"), call_step("b", "a", for_each=items)).has_times
    for other in (
        wait_step("x", wait=Constant("1s")),
        await_step("x", signal="paid"),
        child_step("x", child=definition(step("a"))),
        tcc_step("x"),
        with_fallback(step("x"), tcc_step("y")),
    ):
        assert definition(step("a"), other).has_times


def test_constant_is_written_once_as_compact_json() -> None:
    """As it is sent; what was written is no part of what the value is."""
    constant = Constant({"a": [1, "ü"]})

    assert constant.as_json == '{"a":[1,"ü"]}'.encode()
    assert constant.as_json is constant.as_json
    assert constant == Constant({"a": [1, "ü"]})
    assert to_json("\ud800") == b'"\xed\xa0\x80"'
    assert [to_json(value) for value in (-7, True, 7.0)] == [b"-7", b"true", b"7.0"]


def test_signals_of_a_child_are_awaited_by_the_saga() -> None:
    """Each name once, however deep it is; nothing else has a signal."""
    inner = definition(await_step("in", signal="paid"), step("x"))
    outer = definition(
        await_step("a", signal="seen"),
        await_step("b", "a", signal="paid"),
        child_step("c", child=inner),
    )

    assert signals_of(outer) == {"seen", "paid"}
    assert signals_of(definition(step("a"))) == set()


def test_derived_fields_make_no_difference() -> None:
    """Two definitions are equal when what was published is."""
    saga, other = definition(step("a"), step("b", "a")), definition(pivot("x"))
    same = replace(saga)
    derived = ("successors", "by_id", "starts", "last_first", "ends")
    for name in (*derived, "has_pivot", "has_times"):
        object.__setattr__(same, name, getattr(other, name))

    assert same == saga
    assert replace(saga, digest="sha256:2") != saga


def test_definition_can_be_the_key_of_a_table() -> None:
    """As long as its constants can."""
    saga = definition(step("a", input=Constant(1)), step("b", "a", input=Constant(2)))

    assert {saga: 1}[replace(saga)] == 1


def test_compiled_program_makes_no_difference() -> None:
    """The source says it all; the same text compiled twice is the same expression."""
    programs = (lambda _: 1, lambda _: 2)
    first, second = (Computed("${1 + 1}", (), program) for program in programs)

    assert first == second


def test_what_is_not_said_has_no_limit() -> None:
    """A step waits, stays pending and holds for as long as the saga may."""
    call = Call("a.do", Constant({}), FORWARD, timeout_ms=1)
    waits = Step("a", BranchKind.AWAIT, ())

    assert (call.kind, call.compensation) == (BranchKind.CALL, None)
    assert (call.expires_ms, call.pending_timeout_ms, waits.timeout_ms) == (0, 0, 0)
    assert (waits.optional, waits.pivot) == (False, False)


def test_need_that_is_no_step_has_no_successors() -> None:
    """Naming one is refused before; it cannot break what is read later."""
    assert definition(step("a", "nobody")).successors == {"a": ()}


@pytest.mark.parametrize(
    ("needs", "circle"),
    [
        ({"a": ("a",)}, ("a", "a")),
        ({"a": ("b",), "b": ("a",)}, ("a", "b", "a")),
        ({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("a",)}, ("a", "b", "c", "a")),
        ({"a": (), "b": ("a", "c"), "c": ("d",), "d": ("b",)}, ("b", "c", "d", "b")),
        ({"a": ("c", "leaf"), "leaf": (), "c": ("a",)}, ("a", "c", "a")),
    ],
)
def test_circle_is_found(
    needs: dict[str, tuple[str, ...]], circle: tuple[str, ...]
) -> None:
    """From its first step back to it, for the message (S9)."""
    assert circle == find_cycle(needs)


@pytest.mark.parametrize(
    "needs",
    [
        {},
        {"a": ()},
        {"a": ("nobody",)},
        {"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": ()},
        {"d": ("b", "c", "a"), "c": ("b",), "b": ("a", "a"), "a": ()},
    ],
)
def test_graph_without_a_circle(needs: dict[str, tuple[str, ...]]) -> None:
    """A diamond, a shortcut and a doubled need are no circle (S9)."""
    assert find_cycle(needs) == ()


def test_definition_with_a_circle_cannot_be_built() -> None:
    """The rules never meet one (S9)."""
    with pytest.raises(ValueError, match=r"circle: a -> b -> a$"):
        definition(step("a", "b"), step("b", "a"))


def test_depth_of_the_graph_is_no_matter() -> None:
    """10,000 steps in a row exhaust no stack."""
    needs = {str(n): (str(n + 1),) for n in range(10_000)}

    assert find_cycle(needs) == ()
    assert len(find_cycle({**needs, "10000": ("0",)})) == 10_002


def test_search_is_linear() -> None:
    """Every step is looked into once, however many ways lead to it."""
    wide = {f"{n}{side}": () for n in range(40) for side in "ab"}
    needs: dict[str, tuple[str, ...]] = {
        name: (f"{int(name[:-1]) + 1}a", f"{int(name[:-1]) + 1}b") for name in wide
    }

    assert find_cycle(needs) == ()
