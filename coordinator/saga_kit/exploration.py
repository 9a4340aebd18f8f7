"""Which runs a saga is put through: every fault at every point that any run reaches.

The first run is the one in which nothing goes wrong. Each point that a run reaches and
no run reached before gets every fault that can happen there, on top of the faults that
led to it: so compensations, confirms and fallbacks are disturbed as well.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from coordinator.core.definition import BranchKind, SagaDefinition, Step
from coordinator.core.model import Payload
from coordinator.saga_kit.oracle import broken_rules
from coordinator.saga_kit.participants import Answer
from coordinator.saga_kit.rehearsal import End, Rehearsal, rehearse
from coordinator.saga_kit.scenario import KINDS_AT, Fault, Point, Scenario
from coordinator.saga_kit.stub import step_name

FAULTS_MAX = 4
"""In one run: enough for a refusal, its fallbacks' and a failing compensation."""

SCENARIOS_MAX = 5_000
"""Of one exploration: of a saga of a hundred steps, with nine faults a step."""

ITEMS_LOOKED_AT = 2
"""Items of a list that are disturbed, from the first on, and one of the others."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run, and whether it kept the rules."""

    rehearsal: Rehearsal
    broken: tuple[str, ...]


@dataclass(slots=True)
class Exploration:
    """What was found out so far.

    Attributes:
        waiting: scenarios that are known and were not run yet.
        left_out: scenarios that were not run, because of a limit.
        reached: the steps that came to something in any run.
    """

    definition: SagaDefinition
    trials: list[Trial] = field(default_factory=list)
    waiting: int = 1
    left_out: int = 0
    reached: set[str] = field(default_factory=set)

    @property
    def ends(self) -> dict[End, int]:
        """How many runs came to which end."""
        return Counter(trial.rehearsal.end for trial in self.trials)

    @property
    def broken(self) -> list[Trial]:
        """The runs that broke a rule."""
        return [trial for trial in self.trials if trial.broken]

    @property
    def never_run(self) -> tuple[str, ...]:
        """The steps that no run came to: a condition was false, or a list empty."""
        return tuple(
            name for name in _calling(self.definition, "") if name not in self.reached
        )

    @property
    def missing(self) -> tuple[End, ...]:
        """The ends that the definition should have, and that no run came to."""
        expected = [End.COMPLETED]
        if may_turn_back(self.definition):
            expected.append(End.COMPENSATED)
        return tuple(end for end in expected if end not in self.ends)


def explore(
    definition: SagaDefinition,
    saga_input: Payload,
    answer: Answer,
    *,
    scenarios_max: int = SCENARIOS_MAX,
) -> Iterator[Exploration]:
    """Put a saga through its runs; yields the same exploration after each of them."""
    found = Exploration(definition)
    waiting = deque([Scenario()])
    seen: set[Point] = set()
    while waiting:
        if len(found.trials) == scenarios_max:
            found.left_out, found.waiting = len(waiting), 0
            yield found
            return
        run = rehearse(definition, saga_input, answer, waiting.popleft())
        found.trials.append(Trial(run, broken_rules(definition, run)))
        for point in run.points:
            found.reached.add(step_name(point.branch_id))
            alike = _alike(point)
            if alike in seen:
                continue
            seen.add(alike)
            if len(run.scenario.faults) < FAULTS_MAX:
                waiting.extend(
                    run.scenario.with_fault(Fault(point, kind))
                    for kind in KINDS_AT[point.moment]
                )
        found.waiting = len(waiting)
        yield found


def _alike(point: Point) -> Point:
    """The same for all items of a list but the first ones."""
    parts = point.branch_id.split(":")
    alike = [
        "*" if part.isdecimal() and int(part) >= ITEMS_LOOKED_AT and place else part
        for place, part in enumerate(parts)
    ]
    return Point(":".join(alike), point.moment)


def _calling(definition: SagaDefinition, prefix: str) -> Iterator[str]:
    """All steps but child sagas, whose own steps are told."""
    for step in definition.steps:
        if step.child is None:
            yield prefix + step.step_id
        else:
            yield from _calling(step.child, f"{prefix}{step.step_id}:")


def may_turn_back(definition: SagaDefinition) -> bool:
    """Whether anything may fail while the saga can still turn back."""
    behind = _behind_pivot(definition)
    return any(
        _may_fail(step)
        for step in definition.steps
        if not step.optional and step.step_id not in behind
    )


def _may_fail(step: Step) -> bool:
    match step.kind:
        case BranchKind.CALL | BranchKind.TCC:
            return True
        case BranchKind.SAGA:
            return step.child is not None and may_turn_back(step.child)
        case BranchKind.AWAIT:
            return step.timeout_ms > 0
        case _:
            return False


def _behind_pivot(definition: SagaDefinition) -> set[str]:
    """The steps that can only start when the saga cannot turn back any more."""
    behind: set[str] = set()
    for step_id in reversed(definition.last_first):
        step = definition.by_id[step_id]
        for need in step.needs:
            before = definition.by_id[need]
            has_pivot = before.child is not None and before.child.has_pivot
            if need in behind or before.pivot or has_pivot:
                behind.add(step_id)
    return behind
