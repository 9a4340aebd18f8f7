"""What a saga would do with an input: before anything runs, and without running it.

What depends on outputs, on the gid or on the time of its start is not known yet; it
stays as it is written. Everything else is evaluated as it will be.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from coordinator.core import expressions
from coordinator.core.definition import (
    BranchKind,
    Computed,
    Constant,
    Interpolation,
    JsonValue,
    Reference,
    SagaDefinition,
    Step,
    Template,
    TemplateList,
    TemplateMap,
)
from coordinator.core.durations import parse_duration
from coordinator.core.expressions import ExpressionFailed, Item, Scope
from coordinator.core.model import NO_PAYLOAD, Payload

ITEMS_SHOWN_MAX = 3
"""Items of a list whose inputs are evaluated: the others look alike."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value as far as it is known.

    Attributes:
        value: with ``${...}`` where something is not known.
        unknown: the expressions that are not known yet; empty when all is known.
        problem: why it will fail; empty when it will not.
    """

    value: JsonValue = None
    unknown: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it is this and nothing else."""
        return not self.unknown and not self.problem


@dataclass(frozen=True, slots=True)
class Undo:
    """How a call is undone; ``input`` is ``None`` when it is the call's own."""

    operation: str
    input: Value | None


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call, or a fallback of it."""

    operation: str
    input: Value
    undo: Undo | None


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step.

    Attributes:
        branch_id: its id; ``parent:step`` in a child saga.
        wave: steps of one wave run side by side; from 1.
        condition: ``None`` = it runs in any case.
        calls: what is called first, and its fallbacks.
        items: of a list, as far as they are known.
        item_inputs: what is asked for the first items.
        input: what a child saga gets.
        child: what a child saga would do.
        wait: how long a timer waits.
        starts_ms: when it starts at the latest, if each call is asked once and uses
            its timeout.
        ends_ms: the same for its end.
    """

    branch_id: str
    step: Step
    wave: int
    condition: Value | None
    starts_ms: int
    ends_ms: int
    calls: tuple[PlannedCall, ...] = ()
    items: Value | None = None
    item_inputs: tuple[Value, ...] = ()
    input: Value | None = None
    child: "Plan | None" = None
    wait: Value | None = None

    @property
    def is_skipped(self) -> bool:
        """Known not to run."""
        condition = self.condition
        return condition is not None and condition.is_known and condition.value is False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a saga would do.

    Attributes:
        longest: the steps of the longest path.
        longest_ms: how long it takes, if each call is asked once and uses its timeout.
    """

    definition: SagaDefinition
    steps: tuple[PlannedStep, ...]
    longest: tuple[str, ...]
    longest_ms: int

    def problems(self) -> Iterator[str]:
        """What will fail whatever participants answer."""
        for step in self.steps:
            if step.is_skipped:
                continue
            values = [step.condition, step.items, step.input, step.wait]
            values += [*step.item_inputs, *(call.input for call in step.calls)]
            for value in values:
                if value is not None and value.problem:
                    yield f"{step.branch_id}: {value.problem}"
            if step.child is not None:
                yield from step.child.problems()


def plan(definition: SagaDefinition, saga_input: JsonValue) -> Plan:
    """What a saga would do with this input."""
    return _plan(definition, Value(saga_input), "")


@dataclass(frozen=True, slots=True)
class _Known:
    """What expressions may read, as far as it is known."""

    input: Value
    item: Item | None = None
    is_item_unknown: bool = False


def _plan(definition: SagaDefinition, saga_input: Value, prefix: str) -> Plan:
    known = _Known(saga_input)
    steps: dict[str, PlannedStep] = {}
    for step_id in reversed(definition.last_first):
        step = definition.by_id[step_id]
        before = [steps[need] for need in step.needs]
        wave = max((one.wave for one in before), default=0) + 1
        start = max((one.ends_ms for one in before), default=0)
        steps[step_id] = _step(step, prefix, known, wave, start)
    order = {step.step_id: place for place, step in enumerate(definition.steps)}
    planned = sorted(steps.items(), key=lambda pair: (pair[1].wave, order[pair[0]]))
    in_order = [steps[step.step_id] for step in definition.steps]
    last = max(in_order, key=lambda one: one.ends_ms)
    return Plan(
        definition,
        tuple(step for _, step in planned),
        tuple(_path(last, steps)),
        last.ends_ms,
    )


def _path(last: PlannedStep, steps: Mapping[str, PlannedStep]) -> list[str]:
    """The steps that make the last one end when it does, first one first."""
    path = [last]
    while path[-1].step.needs:
        before = [steps[need] for need in path[-1].step.needs]
        path.append(max(before, key=lambda one: one.ends_ms))
    return [step.branch_id for step in reversed(path)]


def _step(
    step: Step, prefix: str, known: _Known, wave: int, start_ms: int
) -> PlannedStep:
    branch_id = prefix + step.step_id
    condition = None
    if step.condition is not None:
        condition = _boolean(_evaluate(step.condition, known))
    planned = PlannedStep(branch_id, step, wave, condition, start_ms, start_ms)
    if planned.is_skipped:
        return planned
    if step.for_each is not None:
        planned = replace(planned, items=_list(_evaluate(step.for_each.items, known)))
        known = replace(known, is_item_unknown=True)
    calls = tuple(_calls(step, known))
    planned = replace(planned, calls=calls)
    if planned.items is not None and planned.items.is_known:
        planned = replace(planned, item_inputs=tuple(_item_inputs(planned, known)))
    if step.child is not None:
        given = Value({}) if step.input is None else _evaluate(step.input, known)
        child = _plan(step.child, given, f"{branch_id}:")
        planned = replace(planned, input=given, child=child)
    if step.wait is not None:
        planned = replace(planned, wait=_evaluate(step.wait, known))
    return replace(planned, ends_ms=start_ms + _once_ms(planned) * _rounds(planned))


def _calls(step: Step, known: _Known) -> Iterator[PlannedCall]:
    for call in step.calls:
        undo = None
        if call.compensation is not None:
            template = call.compensation.input
            given = None if template is None else _evaluate(template, known)
            undo = Undo(call.compensation.operation, given)
        yield PlannedCall(call.operation, _evaluate(call.input, known), undo)


def _item_inputs(planned: PlannedStep, known: _Known) -> Iterator[Value]:
    items = planned.items.value if planned.items is not None else None
    step = planned.step
    template = step.calls[0].input if step.calls else step.input
    if template is None or not isinstance(items, list):
        return
    for index, value in enumerate(items[:ITEMS_SHOWN_MAX]):
        at_item = replace(known, item=Item(value, index), is_item_unknown=False)
        yield _evaluate(template, at_item)


def _once_ms(planned: PlannedStep) -> int:
    """How long one run of a step takes, as far as that is known."""
    step = planned.step
    match step.kind:
        case BranchKind.CALL | BranchKind.TCC:
            return step.calls[0].timeout_ms
        case BranchKind.SAGA:
            longest_ms = planned.child.longest_ms if planned.child else 0
            return min(step.timeout_ms or longest_ms, longest_ms)
        case BranchKind.WAIT if planned.wait is not None:
            value = planned.wait.value
            duration = parse_duration(value) if isinstance(value, str) else value
            return duration if isinstance(duration, int) else 0
        case _:
            return step.timeout_ms


def _rounds(planned: PlannedStep) -> int:
    """How often a step runs one after the other; 1 when nobody can know."""
    if planned.step.for_each is None or planned.items is None:
        return 1
    items = planned.items.value
    count = len(items) if isinstance(items, list) else 1
    return -(-count // planned.step.for_each.parallel_max)


# ---- Values -----------------------------------------------------------------------


def _boolean(value: Value) -> Value:
    if not value.is_known or isinstance(value.value, bool):
        return value
    found = expressions.type_name(value.value)
    return replace(value, problem=f"its condition is {found}, not a boolean")


def _list(value: Value) -> Value:
    if not value.is_known or isinstance(value.value, list):
        return value
    found = expressions.type_name(value.value)
    return replace(value, problem=f"forEach is over {found}, not a list")


def _evaluate(template: Template, known: _Known) -> Value:
    match template:
        case Constant(value):
            return Value(value)
        case Reference() | Computed():
            return _one(template, known)
        case Interpolation(parts):
            values = [
                Value(part) if isinstance(part, str) else _one(part, known)
                for part in parts
            ]
            if all(value.is_known for value in values):
                return _computed(template, known)
            text = "".join(_as_text(value.value) for value in values)
            return _joined(values, text)
        case TemplateList(items):
            values = [_evaluate(item, known) for item in items]
            return _joined(values, [value.value for value in values])
        case TemplateMap(entries):
            pairs = {name: _evaluate(item, known) for name, item in entries}
            whole = {name: value.value for name, value in pairs.items()}
            return _joined(list(pairs.values()), whole)


def _as_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else str(value)


def _joined(values: list[Value], whole: JsonValue) -> Value:
    unknown = dict.fromkeys(source for value in values for source in value.unknown)
    problem = next((value.problem for value in values if value.problem), "")
    return Value(whole, tuple(unknown), problem)


def _one(expression: Reference | Computed, known: _Known) -> Value:
    unknown = Value(f"${{{expression.source}}}", (expression.source,))
    if isinstance(expression, Reference):
        match expression.path:
            case ("steps" | "saga", *_):
                return unknown
            case ("item" | "index", *_) if known.is_item_unknown:
                return unknown
            case ("input", *path) if not known.input.is_known:
                return _inside(known.input, path, unknown)
        return _computed(expression, known)
    if _is_open(expression, known):
        return unknown
    return _computed(expression, known)


def _is_open(expression: Computed, known: _Known) -> bool:
    """Whether a computed value may depend on what is not known."""
    source = expression.source
    return (
        bool(expression.reads)
        or "saga." in source
        or (known.is_item_unknown and ("item" in source or "index" in source))
        or ("input" in source and not known.input.is_known)
    )


def _inside(saga_input: Value, path: list[str | int], unknown: Value) -> Value:
    """A part of a child saga's input, which is known in part."""
    value = saga_input.value
    for part in path:
        match value, part:
            case dict(), str() if part in value:
                value = value[part]
            case list(), int() if part < len(value):
                value = value[part]
            case _:
                return unknown
    sources = tuple(s for s in saga_input.unknown if f"${{{s}}}" in str(value))
    return Value(value, sources)


def _computed(template: Template, known: _Known) -> Value:
    stored: Payload = expressions.to_payload(known.input.value)
    scope = Scope(input=stored, outputs=_NoOutputs(), saga={}, item=known.item)
    try:
        return Value(expressions.evaluate(template, scope))
    except ExpressionFailed as failure:
        return Value(problem=str(failure))


class _NoOutputs:
    """Nothing has answered yet."""

    def get(self, _step_id: str, /) -> Payload | None:
        return NO_PAYLOAD
