"""Checks of meaning: ids, the graph of needs, operations against the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from coordinator.core.definition import find_cycle
from coordinator.core.model import Operation, OperationKind, participant_of
from coordinator.saga_yaml.durations import format_duration
from coordinator.saga_yaml.findings import Code, Findings, shown
from coordinator.saga_yaml.shape import Fields, Placed
from coordinator.saga_yaml.tree import Scalar

_CYCLE_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Graph:
    """The steps and how they need each other.

    Attributes:
        ids: of each step, as written; empty when there is none.
        needs: of each step, known steps only.
        positions: the place of each step in the order of the text.
        order: steps after what they need; empty when there is a cycle.
        ancestors: bits of the positions of all that a step needs, also through others.
    """

    ids: tuple[str, ...]
    needs: Mapping[str, tuple[str, ...]]
    positions: Mapping[str, int]
    order: tuple[str, ...]
    ancestors: Mapping[str, int]


def check_graph(steps: list[Fields], findings: Findings) -> Graph:
    """The graph of the steps; what is wrong with it is noted and left out."""
    ids = tuple(_id(step) for step in steps)
    positions: dict[str, int] = {}
    for position, step_id in enumerate(ids):
        if step_id in positions:
            message = f"two steps are called {shown(step_id)}; rename one"
            at = steps[position].place("id")
            findings.add(at, Code.DUPLICATE_STEP, message)
        elif step_id:
            positions[step_id] = position
    needs: dict[str, tuple[str, ...]] = {}
    previous = ""
    for step_id, step in zip(ids, steps, strict=True):
        if step_id and step_id not in needs:
            needs[step_id] = _needs(step, previous, positions, findings)
        previous = step_id
    if cycle := find_cycle(needs):
        circle = " -> ".join(cycle)
        if len(cycle) > _CYCLE_SHOWN_MAX:
            start = " -> ".join(cycle[: _CYCLE_SHOWN_MAX - 2])
            circle = f"{start} -> ... -> {cycle[-1]}"
        message = f"steps need each other in a circle: {circle}"
        at = steps[positions[cycle[0]]].place("needs")
        findings.add(at, Code.CYCLE, message)
        return Graph(ids, needs, positions, (), {})
    order = tuple(TopologicalSorter(needs).static_order())
    ancestors: dict[str, int] = {}
    for step_id in order:
        bits = 0
        for need in needs[step_id]:
            bits |= ancestors[need] | 1 << positions[need]
        ancestors[step_id] = bits
    return Graph(ids, needs, positions, order, ancestors)


def _id(step: Fields) -> str:
    """As it is written, right or wrong, so that a wrong one has no second finding."""
    node = step.node.entries.get("id")
    value = node.value if isinstance(node, Scalar) else None
    return value if isinstance(value, str) else ""


def _needs(
    step: Fields, previous: str, positions: Mapping[str, int], findings: Findings
) -> tuple[str, ...]:
    if "needs" not in step.node.entries:
        return (previous,) if previous else ()
    written: list[Placed] = step.get("needs", list, [])
    needs: dict[str, None] = {}
    for need in written:
        if need.text not in positions:
            nearest = findings.nearest(need.text, positions)
            message = f"there is no step {need.text!r} to need"
            findings.add(need.at, Code.UNKNOWN_NEED, message, nearest)
        elif need.text in needs:
            message = f"the step {need.text!r} is named twice; drop one"
            findings.add(need.at, Code.WRONG_VALUE, message)
        else:
            needs[need.text] = None
    return tuple(needs)


def check_longest_path(
    graph: Graph,
    timeouts_ms: Mapping[str, int],
    saga_timeout_ms: int,
    at: int,
    findings: Findings,
) -> None:
    """Note when one attempt of each step on a path takes longer than the saga may."""
    ends: dict[str, tuple[int, str]] = {}
    for step_id in graph.order:
        before = max((ends[need][0] for need in graph.needs[step_id]), default=0)
        ends[step_id] = (before + timeouts_ms[step_id], step_id)
    longest_ms, last = max(ends.values(), default=(0, ""))
    if longest_ms > saga_timeout_ms:
        message = (
            f"the saga's timeout {format_duration(saga_timeout_ms)} is shorter than "
            f"one attempt of each step on the longest path, which ends at {last!r} "
            f"after {format_duration(longest_ms)}; raise it, or lower the timeouts"
        )
        findings.add(at, Code.TIMEOUT_TOO_SHORT, message)


def check_operations(
    step: Fields, operations: Mapping[str, Operation] | None, findings: Findings
) -> None:
    """Check a step's operations: known, of the right kind, and undone by its own."""
    operation = step.get("call", str, "")
    if not operation:
        return
    known = _check_operation(step, operation, operations, findings)
    written = "compensate" in step.node.entries
    if written and not isinstance(step.values.get("compensate"), Fields):
        return
    compensate = step.fields("compensate")
    if "call" in compensate.node.entries:
        undo = compensate.get("call", str, "")
        if undo and undo != operation:
            _check_undo(compensate, undo, operation, operations, findings)
            return
        if not undo:
            return
    if known and known.kind is OperationKind.ACTION and not known.compensable:
        undo = known.compensation or "..."
        message = (
            f"{operation} brings no compensation of its own; say how the step is "
            f"undone (compensate: {{call: {undo}}}), or that nothing is "
            "(compensate: none)"
        )
        findings.add(step.place("call"), Code.NO_COMPENSATION, message)


def _check_undo(
    compensate: Fields,
    undo: str,
    operation: str,
    operations: Mapping[str, Operation] | None,
    findings: Findings,
) -> None:
    mine, theirs = participant_of(operation), participant_of(undo)
    if mine != theirs:
        message = (
            f"{undo} belongs to {theirs!r}, but only {mine!r} can tell whether "
            f"{operation} has run; name an operation of {mine!r}"
        )
        findings.add(compensate.place("call"), Code.FOREIGN_COMPENSATION, message)
    else:
        _check_operation(compensate, undo, operations, findings)


def _check_operation(
    fields: Fields,
    name: str,
    operations: Mapping[str, Operation] | None,
    findings: Findings,
) -> Operation | None:
    """The catalogue's entry, when the catalogue is known and has it."""
    if operations is None:
        return None
    known = operations.get(name)
    at = fields.place("call")
    if known is None:
        message = f"the catalogue has no operation {name}; register it first"
        nearest = findings.nearest(name, operations)
        findings.add(at, Code.UNKNOWN_OPERATION, message, nearest)
    elif known.kind is not OperationKind.ACTION:
        message = f"{name} is of kind {known.kind}; 'call' needs one of kind ACTION"
        findings.add(at, Code.WRONG_KIND, message)
    return known
