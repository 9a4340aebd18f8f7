"""The macros that go over the items of a list, or the keys of a map.

Each pays for its body before each item. ``all`` and ``exists`` are decided by one
item whatever the others are, so a failure counts only when no item decides.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from coordinator.core.expressions import ExpressionFailed
from coordinator.saga_yaml.cel.times import Moment, Span
from coordinator.saga_yaml.cel.values import Run, Value, kept, kind_of

Runner: TypeAlias = Callable[[Run], Value]


@dataclass(frozen=True, slots=True)
class Loop:
    """What a macro does.

    Attributes:
        kind: its name.
        slot: of its variable.
        cost: of its body and condition together, for one item.
    """

    kind: str
    target: Runner
    slot: int
    cost: int
    body: Runner
    condition: Runner | None

    def items(self, run: Run) -> Iterator[Value]:
        """The items, each paid for and in its slot."""
        target = self.target(run)
        if not isinstance(target, list | dict):
            message = f"{self.kind} takes a list or a map, not {kind_of(target)}"
            raise ExpressionFailed(message)
        for item in target:
            run.pay(self.cost)
            run.slots[self.slot] = kept(item)
            yield item

    def holds(self, run: Run, condition: Runner) -> bool:
        """What the condition says about the item in the slot."""
        value = condition(run)
        if isinstance(value, bool):
            return value
        message = f"{self.kind} needs a boolean for each item, not {kind_of(value)}"
        raise ExpressionFailed(message)


def _decided(loop: Loop, deciding: bool) -> Runner:
    def run(run: Run) -> Value:
        failure: ExpressionFailed | None = None
        for _ in loop.items(run):
            try:
                if loop.holds(run, loop.body) is deciding:
                    return deciding
            except ExpressionFailed as failed:
                failure = failure or failed
        if failure is not None:
            raise failure
        return not deciding

    return run


def _exists_one(loop: Loop) -> Runner:
    return lambda run: sum(loop.holds(run, loop.body) for _ in loop.items(run)) == 1


def _filter(loop: Loop) -> Runner:
    return lambda run: [i for i in loop.items(run) if loop.holds(run, loop.body)]  # type: ignore[misc]


def _map(loop: Loop) -> Runner:
    def run(run: Run) -> Value:
        results = []
        for _ in loop.items(run):
            if loop.condition is None or loop.holds(run, loop.condition):
                result = loop.body(run)
                if isinstance(result, Moment | Span):
                    raise ExpressionFailed(
                        f"an item of a list is {kind_of(result)}, which JSON has not;"
                        " use string()"
                    )
                results.append(result)
        return results

    return run


LOOPS: Final[Mapping[str, Callable[[Loop], Runner]]] = {
    "all": lambda loop: _decided(loop, False),
    "exists": lambda loop: _decided(loop, True),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
}
