"""A saga definition, compiled: what the rules of a saga read.

Text becomes this in :mod:`coordinator.saga_yaml`; nothing here knows YAML. The
graph is proved acyclic when it is built, so the rules never meet a cycle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from coordinator.core.backoff import RetryPolicy

JsonScalar: TypeAlias = str | int | float | bool | None
JsonValue: TypeAlias = "JsonScalar | list[JsonValue] | dict[str, JsonValue]"


@dataclass(frozen=True, slots=True)
class Reference:
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


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Text with expressions inside; the value is always text."""

    parts: tuple["str | Reference | Computed", ...]


@dataclass(frozen=True, slots=True)
class TemplateList:
    """A list in which something has to be evaluated."""

    items: tuple["Template", ...]


@dataclass(frozen=True, slots=True)
class TemplateMap:
    """A map in which something has to be evaluated."""

    entries: tuple[tuple[str, "Template"], ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A JSON value without any expression inside."""

    value: JsonValue


Template: TypeAlias = (
    Constant | Reference | Computed | Interpolation | TemplateList | TemplateMap
)


@dataclass(frozen=True, slots=True)
class Compensation:
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


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga.

    Attributes:
        needs: the steps that must have succeeded before this one starts.
        compensation: ``None`` when there is nothing to undo.
    """

    step_id: str
    operation: str
    input: Template
    needs: tuple[str, ...]
    retry: RetryPolicy
    timeout_ms: int
    compensation: Compensation | None


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
