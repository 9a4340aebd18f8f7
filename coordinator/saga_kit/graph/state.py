"""Where each step of a running saga is: the statuses of its branches, step by step."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coordinator.core.definition import SagaDefinition

_FALLBACK = "fallback-"
_FIRST_TO_TELL = (
    "COMPENSATING",
    "CANCELLING",
    "RUNNING",
    "TRYING",
    "WAITING",
    "CONFIRMING",
    "REFUSED",
    "RESOLVED",
    "ABANDONED",
    "COMPENSATED",
    "CANCELLED",
    "TRIED",
    "SUCCEEDED",
    "CONFIRMED",
    "SKIPPED",
)
"""Of several runs of one step, the picture has the colour of the first of these."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One branch, as a coordinator tells of it."""

    branch_id: str
    status: str
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Where a step is.

    Attributes:
        status: of its branch; of several, the one that matters most.
        note: what there is to add, such as attempts, or how many items are where.
    """

    status: str
    note: str = ""


def states_of(definition: SagaDefinition, branches: Iterable[Seen]) -> dict[str, State]:
    """By step (``parent:step`` in child sagas), from the branches of a saga."""
    groups: dict[str, Seen] = {}
    runs: dict[str, list[Seen]] = {}
    for seen in branches:
        name, is_list = _step_of(definition, seen.branch_id)
        if is_list:
            groups[name] = seen
        elif name:
            runs.setdefault(name, []).append(seen)
    states = {name: _state(_latest(seen)) for name, seen in runs.items()}
    for name, group in groups.items():
        counts = _counts(_latest(runs.get(name, [])))
        states[name] = State(group.status, f"items: {counts}" if counts else "")
    return states


def _latest(runs: list[Seen]) -> list[Seen]:
    """Without the choices that a fallback took the place of."""
    by_unit: dict[str, Seen] = {}
    for seen in runs:
        unit, _, last = seen.branch_id.rpartition(":")
        by_unit[unit if last.startswith(_FALLBACK) else seen.branch_id] = seen
    return list(by_unit.values())


def _state(runs: list[Seen]) -> State:
    if len(runs) == 1:
        tries = f"{runs[0].attempts} failed attempts" if runs[0].attempts > 1 else ""
        return State(runs[0].status, tries or ("1 failed attempt" * runs[0].attempts))
    statuses = {seen.status for seen in runs}
    status = next((s for s in _FIRST_TO_TELL if s in statuses), min(statuses))
    return State(status, _counts(runs))


def _counts(runs: list[Seen]) -> str:
    counts: Mapping[str, int] = Counter(seen.status for seen in runs)
    return ", ".join(f"{counts[status]} {status}" for status in sorted(counts))


def _step_of(definition: SagaDefinition, branch_id: str) -> tuple[str, bool]:
    """The step that a branch belongs to, and whether it is its list as a whole."""
    names: list[str] = []
    parts = branch_id.split(":")
    while parts and (step := definition.by_id.get(parts.pop(0))) is not None:
        names.append(step.step_id)
        if step.for_each is not None:
            if not parts:
                return ":".join(names), True
            parts.pop(0)
        if step.child is None or not parts:
            return ":".join(names), False
        definition = step.child
    return "", False
