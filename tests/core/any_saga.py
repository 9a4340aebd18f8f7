"""Random definitions of sagas with steps of every kind, as the checks allow them."""

from dataclasses import dataclass

from hypothesis import strategies as st

from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import (
    BranchKind,
    Call,
    Constant,
    ForEach,
    JsonValue,
    Reference,
    SagaDefinition,
    Step,
    Template,
)
from tests.core.world import DEADLINE, compensation

SIGNALS = ("go", "stop")
NAMES = ("a", "b", "c", "d")
CHILDREN_DEPTH_MAX = 2
NOBODY = Reference(("input", "nobody"), "input.nobody")
"""Fails wherever it is evaluated."""

DURATIONS: tuple[Template, ...] = (
    Constant(0),
    Constant(500),
    Constant(500),
    Constant("PT1S"),
    Constant("90s"),
    NOBODY,
)
RETRY = RetryPolicy(attempt_max=2, non_retryable=frozenset({"NEVER"}))


def one_in(number: int) -> st.SearchStrategy[bool]:
    """True that often; what shrinks is false."""
    return st.integers(0, number - 1).map(lambda drawn: drawn == number - 1)


@dataclass(frozen=True)
class Surroundings:
    """What a step may be where it stands.

    Attributes:
        is_undone: the saga may still turn back after it.
        needs: of the step.
    """

    depth: int
    is_undone: bool
    needs: tuple[str, ...]
    is_optional: bool


@st.composite
def sagas(draw: st.DrawFn) -> SagaDefinition:
    """Any saga, with child sagas inside child sagas."""
    return draw(scopes(0, has_pivot=draw(st.booleans()), is_undone=True))


@st.composite
def scopes(
    draw: st.DrawFn, depth: int, *, has_pivot: bool, is_undone: bool
) -> SagaDefinition:
    """One saga. Whatever is no option stands before the pivot or after it (S5)."""
    names = NAMES[: draw(st.integers(1, 4 if depth == 0 else 2))]
    pivot_at = draw(st.integers(0, len(names) - 1)) if has_pivot else -1
    steps: list[Step] = []
    after: set[str] = set()
    for number, name in enumerate(names):
        if number == pivot_at:
            must = tuple(s.step_id for s in steps if not s.optional)
            steps.append(draw(pivots(name, depth, must)))
            after.add(name)
            continue
        needs = {n for n in names[:number] if draw(st.booleans())}
        is_optional = draw(one_in(3))
        if after and not is_optional:
            needs |= {names[pivot_at]}
        is_after = bool(needs & after)
        if is_after:
            after.add(name)
        around = Surroundings(
            depth, is_undone and not is_after, tuple(sorted(needs)), is_optional
        )
        steps.append(draw(plain_steps(name, around)))
    output = draw(st.sampled_from([None] * 6 + [read(names[-1]), NOBODY]))
    return SagaDefinition("saga", "1.0.0", "sha256:1", DEADLINE, tuple(steps), output)


def read(step_id: str) -> Reference:
    return Reference(("steps", step_id, "output", "id"), f"steps.{step_id}.output.id")


@st.composite
def pivots(draw: st.DrawFn, name: str, depth: int, needs: tuple[str, ...]) -> Step:
    """A call, with a fallback or without, or the child saga that has the pivot."""
    if depth < CHILDREN_DEPTH_MAX and draw(one_in(3)):
        child = draw(scopes(depth + 1, has_pivot=True, is_undone=True))
        timeout_ms = draw(st.sampled_from([0, 2_000]))
        return Step(name, BranchKind.SAGA, needs, child=child, timeout_ms=timeout_ms)
    count = 1 + draw(one_in(3))
    calls = tuple(Call(f"{name}.do", Constant({}), RETRY, 3_000) for _ in range(count))
    return Step(name, BranchKind.CALL, needs, calls, pivot=True)


@st.composite
def plain_steps(draw: st.DrawFn, name: str, around: Surroundings) -> Step:
    """A step of any kind that may stand here."""
    kinds = [BranchKind.CALL, BranchKind.CALL, BranchKind.WAIT, BranchKind.AWAIT]
    if around.is_undone:
        kinds += [BranchKind.TCC, BranchKind.TCC]
    if around.depth < CHILDREN_DEPTH_MAX:
        kinds += [BranchKind.SAGA, BranchKind.SAGA]
    kind = draw(st.sampled_from(kinds))
    condition = draw(conditions(around.needs))
    optional, needs = around.is_optional, around.needs
    match kind:
        case BranchKind.WAIT:
            wait = draw(st.sampled_from(DURATIONS))
            return Step(
                name, kind, needs, wait=wait, optional=optional, condition=condition
            )
        case BranchKind.AWAIT:
            return Step(
                name,
                kind,
                needs,
                signal=draw(st.sampled_from(SIGNALS)),
                timeout_ms=draw(st.sampled_from([0, 700])),
                optional=optional,
                condition=condition,
            )
        case BranchKind.SAGA:
            return Step(
                name,
                kind,
                needs,
                child=draw(
                    scopes(
                        around.depth + 1, has_pivot=False, is_undone=around.is_undone
                    )
                ),
                input=draw(inputs(needs)),
                timeout_ms=draw(st.sampled_from([0, 2_000])),
                condition=condition,
                for_each=draw(lists()),
                optional=optional,
            )
        case _:
            return Step(
                name,
                kind,
                needs,
                draw(choices(name, kind, around)),
                condition=condition,
                for_each=draw(lists()),
                optional=optional,
            )


@st.composite
def choices(
    draw: st.DrawFn, name: str, kind: BranchKind, around: Surroundings
) -> tuple[Call, ...]:
    """A first choice, and often a fallback that may be of the other kind."""
    kinds = [kind]
    if draw(one_in(3)):
        other = draw(st.sampled_from([BranchKind.CALL, BranchKind.TCC]))
        kinds.append(other if around.is_undone else BranchKind.CALL)
    calls = []
    for choice in kinds:
        undo_input = draw(st.sampled_from([None, read(name), NOBODY]))
        is_undone = (
            choice is BranchKind.CALL and around.is_undone and not draw(one_in(4))
        )
        calls.append(
            Call(
                operation=f"{name}.do",
                input=draw(inputs(around.needs)),
                retry=RETRY,
                timeout_ms=3_000,
                kind=choice,
                compensation=compensation(name, undo_input) if is_undone else None,
                expires_ms=draw(st.sampled_from([0, 1_500]))
                * (choice is BranchKind.TCC),
                pending_timeout_ms=draw(st.sampled_from([0, 700])),
            )
        )
    return tuple(calls)


def inputs(needs: tuple[str, ...]) -> st.SearchStrategy[Template]:
    """Nothing, what a step before has answered, or what cannot be computed."""
    fixed: list[Template] = [Constant({})] * 14
    return st.sampled_from([*fixed, *map(read, needs), NOBODY])


def conditions(needs: tuple[str, ...]) -> st.SearchStrategy[Template | None]:
    """Mostly none; true, false, no boolean, not to be computed, or as was answered."""
    answered = [Reference(("steps", n, "output", "ok"), "ok") for n in needs]
    values: list[Template | None] = [None] * 24
    values += [Constant(True), Constant(False), Constant(False), Constant(1), NOBODY]
    return st.sampled_from([*values, *answered])


@st.composite
def lists(draw: st.DrawFn) -> ForEach | None:
    """None, up to three items, or what is no list."""
    if not draw(one_in(3)):
        return None
    values: list[Template] = [Constant(_items(count)) for count in (0, 1, 2, 3)]
    values += [*values[2:] * 4, Constant(7), NOBODY]
    return ForEach(draw(st.sampled_from(values)), draw(st.integers(1, 2)))


def _items(count: int) -> JsonValue:
    return list(range(count))
