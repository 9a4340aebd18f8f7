"""A saga definition, compiled: what the rules of a saga read.

Text becomes this in :mod:`coordinator.saga_yaml`; nothing here knows YAML. The
graph is proved acyclic when it is built, so the rules never meet a cycle.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Protocol, TypeAlias

from msgspec import Struct

from coordinator.core.backoff import RetryPolicy

JsonScalar: TypeAlias = str | int | float | bool | None
JsonValue: TypeAlias = "JsonScalar | list[JsonValue] | dict[str, JsonValue]"


_encode = json.JSONEncoder(
    separators=(",", ":"),
    ensure_ascii=False,
    check_circular=False,  # what was read from JSON, or computed of that, is a tree
).encode


def to_json(value: JsonValue) -> bytes:
    """Compact JSON."""
    if type(value) is int:  # for which the encoder costs ten times what it says
        return repr(value).encode()
    return _encode(value).encode(errors="surrogatepass")


class Reference(Struct, frozen=True):
    """``${steps.reserve.output.id}``: a plain path; its value keeps its type.

    Attributes:
        path: the parts, the root first: ``("steps", "reserve", "output", "id")``.
            Roots are ``input``, ``steps`` and ``saga``. An ``int`` indexes a list.
        source: as written, for messages.
    """

    path: tuple[str | int, ...]
    source: str


class Program(Protocol):
    """A compiled expression: total, bounded, and without any effect."""

    def __call__(self, values: Mapping[str, JsonValue]) -> JsonValue:
        """The value of the expression.

        Args:
            values: by root: ``input``, ``steps`` (id to ``{"output": ...}``, those of
                ``Computed.reads`` that have an output), ``saga`` and, where the step
                is run for each item of a list, ``item`` and ``index``.

        Raises:
            ExpressionFailed: it cannot be computed from these values; the message
                names how it failed and the type that it met, never the value.
        """


@dataclass(frozen=True, slots=True)
class Computed:
    """``${input.amount > 10000}``: more than a path; its value keeps its type.

    Attributes:
        source: as written, for messages.
        reads: ids of the steps whose outputs it may read.
    """

    source: str
    reads: tuple[str, ...]
    program: Program = field(compare=False)


class Interpolation(Struct, frozen=True):
    """Text with expressions inside; the value is always text."""

    parts: tuple["str | Reference | Computed", ...]


class TemplateList(Struct, frozen=True):
    """A list in which something has to be evaluated."""

    items: tuple["Template", ...]


class TemplateMap(Struct, frozen=True):
    """A map in which something has to be evaluated."""

    entries: tuple[tuple[str, "Template"], ...]


class Constant(Struct, frozen=True, dict=True):
    """A JSON value without any expression inside."""

    value: JsonValue

    @cached_property
    def as_json(self) -> bytes:
        """The value as it is stored and sent; written once, however often it is."""
        return to_json(self.value)


Template: TypeAlias = (
    Constant | Reference | Computed | Interpolation | TemplateList | TemplateMap
)


class BranchKind(StrEnum):
    """What a branch of a transaction stands for."""

    TCC = "TCC"
    """An operation that is tried, then confirmed or cancelled."""
    CALL = "CALL"
    """An action, undone by its compensation."""
    SAGA = "SAGA"
    """A child saga; its steps are branches of the same transaction."""
    FOR_EACH = "FOR_EACH"
    """A list; the step is run for each of its items, in a branch of its own."""
    WAIT = "WAIT"
    """A timer."""
    AWAIT = "AWAIT"
    """Waits for a named signal."""
    SIGNAL = "SIGNAL"
    """A signal that came."""

    __hash__ = str.__hash__


class Compensation(Struct, frozen=True):
    """How a step is undone.

    Attributes:
        operation: what is called, in the compensation phase of the step's own branch.
        input: evaluated when the compensation starts; ``None`` = the step's own input.
        retry: unlimited (``attempt_max`` is 0); the intervals are the author's.
        timeout_ms: of one attempt.
        attention_after: failed attempts after which a person is called.
    """

    operation: str
    input: Template | None
    retry: RetryPolicy
    timeout_ms: int
    attention_after: int


class Call(Struct, frozen=True):
    """One operation that a step calls: its first choice, or a fallback.

    Attributes:
        kind: ``CALL`` or ``TCC``.
        timeout_ms: of one attempt.
        compensation: ``None`` when there is nothing to undo; always ``None`` for TCC,
            which is cancelled.
        expires_ms: how long a reservation holds; 0 = until it is decided upon. The
            saga turns back when it has run for longer and is not decided.
        pending_timeout_ms: how long it may stay pending; 0 = as long as the saga may.
    """

    operation: str
    input: Template
    retry: RetryPolicy
    timeout_ms: int
    kind: BranchKind = BranchKind.CALL
    compensation: Compensation | None = None
    expires_ms: int = 0
    pending_timeout_ms: int = 0


class ForEach(Struct, frozen=True):
    """A step is run once for every item of a list.

    Attributes:
        items: evaluates to the list.
        parallel_max: how many items may be under way at a time.
    """

    items: Template
    parallel_max: int


class Step(Struct, frozen=True):
    """One step of a saga.

    Attributes:
        kind: ``CALL``, ``TCC``, ``SAGA``, ``WAIT`` or ``AWAIT``.
        needs: the steps that must be satisfied before this one starts: succeeded,
            skipped by their condition, or failed and optional.
        calls: for ``CALL`` and ``TCC``: what is called, and after it the fallbacks,
            each called when the one before was refused. Never empty for these kinds.
        child: for ``SAGA``: the saga that is run as this step.
        input: for ``SAGA``: what the child gets; ``None`` = an empty map.
        wait: for ``WAIT``: evaluates to milliseconds, or to text such as ``30s``.
        signal: for ``AWAIT``: the name of the signal.
        timeout_ms: for ``AWAIT`` and ``SAGA``: how long it may take; 0 = as long as
            the saga may.
        condition: when it is false, the step is skipped; ``None`` = always run.
        for_each: run for every item of a list; ``None`` = once.
        optional: its failure is no failure of the saga.
        pivot: once it has succeeded, the saga only goes forward.
    """

    step_id: str
    kind: BranchKind
    needs: tuple[str, ...]
    calls: tuple[Call, ...] = ()
    child: "SagaDefinition | None" = None
    input: Template | None = None
    wait: Template | None = None
    signal: str = ""
    timeout_ms: int = 0
    condition: Template | None = None
    for_each: ForEach | None = None
    optional: bool = False
    pivot: bool = False


@dataclass(frozen=True, slots=True)
class SagaDefinition:
    """A published saga.

    Attributes:
        digest: content hash of the normal form; pins running sagas (S7).
        steps: in the order of the text.
        output: evaluated when the saga completes; ``None`` = no output.
        input_schema: JSON Schema of the input as text, empty when there is none.
        successors: step id to the steps that need it; derived.
        by_id: step id to step; derived.
        starts: the steps that need no other one; derived.
        last_first: all step ids, each after every step that needs it; derived.
        ends: the steps that no other one needs; when they are done, all are; derived.
        has_pivot: it, or a child saga of it, has one; derived.
        has_times: something of it may end by time alone; derived. Calls do not.
    """

    name: str
    version: str
    digest: str
    timeout_ms: int
    steps: tuple[Step, ...]
    output: Template | None = None
    labels: tuple[tuple[str, str], ...] = ()
    input_schema: str = ""
    successors: Mapping[str, tuple[str, ...]] = field(init=False, compare=False)
    by_id: Mapping[str, Step] = field(init=False, compare=False)
    starts: tuple[Step, ...] = field(init=False, compare=False)
    last_first: tuple[str, ...] = field(init=False, compare=False)
    ends: tuple[Step, ...] = field(init=False, compare=False)
    has_pivot: bool = field(init=False, compare=False)
    has_times: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        by_id = {step.step_id: step for step in self.steps}
        object.__setattr__(self, "by_id", by_id)
        needed_by: dict[str, list[str]] = {step_id: [] for step_id in by_id}
        for step in self.steps:
            for need in dict.fromkeys(step.needs):
                if need in needed_by:
                    needed_by[need].append(step.step_id)
        successors = {need: tuple(steps) for need, steps in needed_by.items()}
        object.__setattr__(self, "successors", successors)
        if cycle := find_cycle({s.step_id: s.needs for s in self.steps}):
            raise ValueError(f"steps need each other in a circle: {' -> '.join(cycle)}")
        object.__setattr__(self, "last_first", _last_first(self))
        starts = tuple(step for step in self.steps if not step.needs)
        object.__setattr__(self, "starts", starts)
        ends = tuple(step for step in self.steps if not successors[step.step_id])
        object.__setattr__(self, "ends", ends)
        has_pivot = any(
            step.pivot or (step.child is not None and step.child.has_pivot)
            for step in self.steps
        )
        object.__setattr__(self, "has_pivot", has_pivot)
        object.__setattr__(self, "has_times", not all(map(_only_calls, self.steps)))


def _only_calls(step: Step) -> bool:
    """Whether a step waits for nothing but answers; a fallback may be of any kind."""
    kinds = {step.kind, *(call.kind for call in step.calls)}
    return kinds == {BranchKind.CALL}


def signals_of(definition: SagaDefinition) -> frozenset[str]:
    """The names of all signals that steps of a saga or its children wait for."""
    names = {s.signal for s in definition.steps if s.kind is BranchKind.AWAIT}
    for step in definition.steps:
        if step.child is not None:
            names |= signals_of(step.child)
    return frozenset(names)


def _last_first(definition: SagaDefinition) -> tuple[str, ...]:
    waiting = {s: len(definition.successors[s]) for s in definition.by_id}
    order = [s for s, successors in waiting.items() if not successors]
    for step_id in order:
        for need in dict.fromkeys(definition.by_id[step_id].needs):
            if need in waiting:
                waiting[need] -= 1
                if not waiting[need]:
                    order.append(need)
    return tuple(order)


def find_cycle(needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """One circle in a graph of needs, first step repeated at the end; or ``()``.

    Iterative, so that no depth of graph exhausts the stack. Names that are no key
    of ``needs`` are passed over.
    """
    done: set[str] = set()
    for root in needs:
        path: list[str] = []
        on_path: set[str] = set()
        todo: list[tuple[str, bool]] = [(root, False)]
        while todo:
            node, leaving = todo.pop()
            if leaving:
                path.pop()
                on_path.discard(node)
                done.add(node)
            elif node in on_path:
                return (*path[path.index(node) :], node)
            elif node not in done and node in needs:
                path.append(node)
                on_path.add(node)
                todo.append((node, True))
                todo.extend((n, False) for n in needs[node])
    return ()
