"""The steps as a graph: their ids, and how they need each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.core.definition import find_cycle
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
    order = _order(needs)
    if len(order) < len(needs):
        cycle = find_cycle(needs)
        circle = " -> ".join(cycle)
        if len(cycle) > _CYCLE_SHOWN_MAX:
            start = " -> ".join(cycle[: _CYCLE_SHOWN_MAX - 2])
            circle = f"{start} -> ... -> {cycle[-1]}"
        message = f"steps need each other in a circle: {circle}"
        at = steps[positions[cycle[0]]].place("needs")
        findings.add(at, Code.CYCLE, message)
        return Graph(ids, needs, positions, (), {})
    ancestors: dict[str, int] = {}
    for step_id in order:
        bits = 0
        for need in needs[step_id]:
            bits |= ancestors[need] | 1 << positions[need]
        ancestors[step_id] = bits
    return Graph(ids, needs, positions, order, ancestors)


def _order(needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Steps after what they need; those in and behind a circle are left out."""
    needed_by: dict[str, list[str]] = {step_id: [] for step_id in needs}
    for step_id, ids in needs.items():
        for need in ids:
            needed_by[need].append(step_id)
    waiting = {step_id: len(ids) for step_id, ids in needs.items()}
    order = [step_id for step_id, count in waiting.items() if not count]
    for done in order:
        for step_id in needed_by[done]:
            waiting[step_id] -= 1
            if not waiting[step_id]:
                order.append(step_id)
    return tuple(order)


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
