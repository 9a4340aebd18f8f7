"""How long a saga takes at least: when each step is asked once and uses its timeout.

What counts is the time until the saga is *decided*: until its pivot has succeeded, or
else until all steps have. After that no timeout and no reservation ends anything.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.core.definition import (
    BranchKind,
    Constant,
    SagaDefinition,
    Step,
)

_UNITS: Final = (
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
)


@dataclass(frozen=True, slots=True)
class Held:
    """A reservation that ends by itself.

    Attributes:
        branch_id: where it is made, below the saga that is looked at.
        choice: which of the step's calls; 0 = the first.
        expires_ms: how long it holds, counted from its start.
        needed_ms: how long it must hold at least.
    """

    branch_id: str
    choice: int
    expires_ms: int
    needed_ms: int

    @property
    def spare_ms(self) -> int:
        """How much longer it holds than it must; less than 0 = it does not."""
        return self.expires_ms - self.needed_ms


def spoken(milliseconds: int) -> str:
    """A span as people say it, such as ``7d 30s``: each unit with its part."""
    parts = []
    for unit, size in _UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0ms"


class Times:
    """The times of one saga.

    Attributes:
        longest_ms: until it is decided.
        last: the step that ends then.
        held: every reservation that ends by itself, until the decision.
    """

    def __init__(
        self,
        order: Sequence[str],
        steps: Mapping[str, Step],
        child_times: "Callable[[SagaDefinition], Times]",
    ) -> None:
        self._steps = steps
        self._child_times = child_times
        pivot = next((s for s in order if _decides(steps[s])), None)
        counted = set(order) if pivot is None else _with_ancestors(pivot, steps)
        counted_order = [step_id for step_id in order if step_id in counted]
        self._once = {s: self._once_ms(steps[s]) for s in counted_order}
        self._own = {s: self._once[s] * _rounds(steps[s]) for s in counted_order}
        ends: dict[str, int] = {}
        for step_id in counted_order:
            needs = steps[step_id].needs
            ends[step_id] = self._own[step_id] + max(
                (ends[n] for n in needs), default=0
            )
        self.longest_ms, self.last = max(
            ((end, step_id) for step_id, end in ends.items()), default=(0, "")
        )
        self.held = tuple(self._held(counted_order))

    def _once_ms(self, step: Step) -> int:
        match step.kind:
            case BranchKind.CALL | BranchKind.TCC:
                return step.calls[0].timeout_ms
            case BranchKind.SAGA if step.child is not None and not step.timeout_ms:
                return self._child_times(step.child).longest_ms
            case BranchKind.WAIT:
                known = isinstance(step.wait, Constant) and step.wait.value
                return known if isinstance(known, int) else 0
            case _:
                return step.timeout_ms

    def _held(self, order: list[str]) -> Iterable[Held]:
        after = dict.fromkeys(order, 0)
        for step_id in reversed(order):
            step = self._steps[step_id]
            for need in step.needs:
                after[need] = max(after[need], self._own[step_id] + after[step_id])
            beside_ms = self._own[step_id] - self._once[step_id] + after[step_id]
            for choice, call in enumerate(step.calls):
                if call.expires_ms:
                    needed_ms = call.timeout_ms + beside_ms
                    yield Held(step_id, choice, call.expires_ms, needed_ms)
            if step.child is not None and not step.child.has_pivot:
                for held in self._child_times(step.child).held:
                    needed_ms = held.needed_ms + beside_ms
                    branch_id = f"{step_id}:{held.branch_id}"
                    yield Held(branch_id, held.choice, held.expires_ms, needed_ms)


def _decides(step: Step) -> bool:
    return step.pivot or (step.child is not None and step.child.has_pivot)


def _with_ancestors(step_id: str, steps: Mapping[str, Step]) -> set[str]:
    found = {step_id}
    todo = [step_id]
    while todo:
        for need in steps[todo.pop()].needs:
            if need not in found:
                found.add(need)
                todo.append(need)
    return found


def _rounds(step: Step) -> int:
    """How often the step is run one after the other; 1 when nobody can know yet."""
    if step.for_each is None or not isinstance(step.for_each.items, Constant):
        return 1
    items = step.for_each.items.value
    count = len(items) if isinstance(items, list) else 1
    return -(-count // step.for_each.parallel_max)
