"""What a picture of a saga shows, before anybody decides where."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from coordinator.core.definition import (
    BranchKind,
    Computed,
    Constant,
    Reference,
    SagaDefinition,
    Step,
    Template,
)
from coordinator.core.durations import format_duration
from coordinator.saga_kit.graph.state import State

TEXT_MAX = 44
"""Characters of one line; what is cut can be read in the title."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step.

    Attributes:
        node_id: the step's id; ``parent:step`` in a child saga.
        word: its kind: ``call``, ``tcc``, ``saga``, ``wait`` or ``await``.
        detail: what it does: an operation, its fallbacks, a child saga, a signal.
        badges: what holds for it: ``if``, ``for each``, ``optional``.
        undo: the operation that compensates it; empty when there is none.
        needs: node ids of the steps that it needs.
        inside: the child saga.
    """

    node_id: str
    title: str
    word: str
    detail: tuple[str, ...]
    badges: tuple[str, ...]
    undo: str
    needs: tuple[str, ...]
    is_pivot: bool = False
    is_list: bool = False
    state: State | None = None
    inside: "Picture | None" = None

    @property
    def told(self) -> str:
        """All of it in one sentence, for those who cannot see the picture."""
        pivot = ["pivot: once it has succeeded, the saga only goes forward"]
        parts = [
            f"step {self.title} ({self.word})",
            *self.detail,
            *self.badges,
            *(pivot if self.is_pivot else []),
            *([f"undone by {self.undo}"] if self.undo else []),
            *([f"after {', '.join(self.needs)}"] if self.needs else []),
            *([f"{self.state.status} {self.state.note}".strip()] if self.state else []),
        ]
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Picture:
    """A saga, or a child saga inside it.

    Attributes:
        is_running: of one saga that runs, or ran: steps without a state have not begun.
    """

    title: str
    nodes: tuple[Node, ...]
    is_running: bool = False

    def everything(self) -> Iterator[Node]:
        """All steps, those of child sagas behind the step that runs them."""
        for node in self.nodes:
            yield node
            if node.inside is not None:
                yield from node.inside.everything()


def picture_of(
    definition: SagaDefinition,
    states: Mapping[str, State] | None = None,
    *,
    title: str = "",
    prefix: str = "",
) -> Picture:
    """What there is to show of a saga.

    Args:
        states: of one that runs, by step.
    """
    return Picture(
        title=title or f"{definition.name} {definition.version}",
        nodes=tuple(_node(step, prefix, states) for step in definition.steps),
        is_running=states is not None,
    )


def _node(step: Step, prefix: str, states: Mapping[str, State] | None) -> Node:
    node_id = prefix + step.step_id
    inside = None
    if step.child is not None:
        inside = picture_of(step.child, states, prefix=f"{node_id}:")
    return Node(
        node_id=node_id,
        title=step.step_id,
        word=step.kind.lower(),
        detail=tuple(_detail(step)),
        badges=tuple(_badges(step)),
        undo=_undo(step),
        needs=tuple(prefix + need for need in step.needs),
        is_pivot=step.pivot,
        is_list=step.for_each is not None,
        state=states.get(node_id) if states is not None else None,
        inside=inside,
    )


def _detail(step: Step) -> list[str]:
    match step.kind:
        case BranchKind.CALL | BranchKind.TCC:
            first, *others = [call.operation for call in step.calls]
            return [first, *(f"or else {other}" for other in others)]
        case BranchKind.SAGA if step.child is not None:
            return [f"{step.child.name}@{step.child.version}"]
        case BranchKind.WAIT if step.wait is not None:
            return [_duration(step.wait)]
        case _:
            within = f" within {format_duration(step.timeout_ms)}"
            return [f"signal {step.signal}{within if step.timeout_ms else ''}"]


def _duration(template: Template) -> str:
    if isinstance(template, Constant) and isinstance(template.value, int):
        return format_duration(template.value)
    return written(template)


def _badges(step: Step) -> list[str]:
    badges = []
    if step.condition is not None:
        badges.append(f"if {written(step.condition)}")
    if step.for_each is not None:
        items = written(step.for_each.items)
        badges.append(f"for each of {items}, {step.for_each.parallel_max} at a time")
    if step.optional:
        badges.append("optional")
    return badges


def _undo(step: Step) -> str:
    if step.kind is not BranchKind.CALL:
        return ""
    undos = [call.compensation.operation for call in step.calls if call.compensation]
    own = [call.operation for call in step.calls if call.compensation]
    if undos == own:
        return f"{undos[0]} (its own)" if undos else ""
    return ", ".join(dict.fromkeys(undos))


def written(template: Template) -> str:
    """A template as its author wrote it, where that fits a picture."""
    match template:
        case Reference(source=source) | Computed(source=source):
            return source
        case Constant(value):
            return str(value)
        case _:
            return "..."


def cut(text: str) -> str:
    """The text on one line of the picture."""
    return (
        text
        if len(text) <= TEXT_MAX
        else f"{text[: TEXT_MAX - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
