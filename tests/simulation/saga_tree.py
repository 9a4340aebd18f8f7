"""A saga written out: every step, item and fallback that may ever become a branch.

Made of the definition and the input alone, and with nothing of the core's own rules:
ids are built here from the words of the documentation, so that the oracle would see a
core that gives its branches other ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from coordinator.core.definition import (
    BranchKind,
    Call,
    Constant,
    JsonValue,
    Reference,
    SagaDefinition,
    Step,
    Template,
    TemplateMap,
)


class Special(Enum):
    """What a template yields, where that is no value."""

    BROKEN = "it cannot be evaluated"
    LATER = "it reads what a step will answer"


Value: TypeAlias = "JsonValue | Special"


@dataclass(eq=False, slots=True)
class Unit:
    """One run of a step: the step itself, or one item of its list.

    Attributes:
        branch_ids: of all its choices; of a timer, a signal or a child just the one.
    """

    place: "Place"
    unit_id: str
    item: Value = Special.BROKEN
    index: int | None = None
    child: "Scope | None" = None
    step: Step = field(init=False)
    branch_ids: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.step = self.place.step
        others = range(1, len(self.step.calls))
        fallbacks = [f"{self.unit_id}:fallback-{k}" for k in others]
        self.branch_ids = [self.unit_id, *fallbacks]


@dataclass(eq=False, slots=True)
class Place:
    """A step where it stands."""

    scope: "Scope"
    step: Step
    units: list[Unit] = field(default_factory=list)
    items: Value = Special.BROKEN

    @property
    def branch_id(self) -> str:
        return self.scope.prefix + self.step.step_id

    @property
    def is_list(self) -> bool:
        return self.step.for_each is not None

    def needs(self) -> list["Place"]:
        return [self.scope.places[need] for need in self.step.needs]

    def followers(self) -> list["Place"]:
        """All steps that need this one, through others too."""
        found: dict[str, Place] = {}
        todo = [self.step.step_id]
        while todo:
            need = todo.pop()
            for place in self.scope.places.values():
                step_id = place.step.step_id
                if need in place.step.needs and step_id not in found:
                    found[step_id] = place
                    todo.append(step_id)
        return list(found.values())


@dataclass(eq=False, slots=True)
class Scope:
    """A saga as it is run once: the whole, or a child."""

    prefix: str
    definition: SagaDefinition
    input: Value
    owner: Unit | None
    places: dict[str, Place] = field(default_factory=dict)

    def units(self) -> Iterator[Unit]:
        """All units in it, those of its children too."""
        for place in self.places.values():
            for unit in place.units:
                yield unit
                if unit.child is not None:
                    yield from unit.child.units()


class Tree:
    """A whole saga, written out.

    Attributes:
        branches: by id, the unit and which of its choices that is.
        lists: by id, the steps that are run for lists.
        pivots: ids of all branches that decide the saga.
        signals: names that are awaited somewhere.
    """

    def __init__(self, definition: SagaDefinition, data: JsonValue) -> None:
        self.root = _written_out("", definition, data, None)
        self.branches: dict[str, tuple[Unit, int]] = {}
        self.lists: dict[str, Place] = {}
        self.pivots: set[str] = set()
        self.signals: set[str] = set()
        self._index(self.root)

    def _index(self, scope: Scope) -> None:
        for place in scope.places.values():
            if place.is_list:
                self.lists[place.branch_id] = place
            if place.step.signal:
                self.signals.add(place.step.signal)
            for unit in place.units:
                for choice, branch_id in enumerate(unit.branch_ids):
                    self.branches[branch_id] = (unit, choice)
                    if place.step.pivot:
                        self.pivots.add(branch_id)
                if unit.child is not None:
                    self._index(unit.child)

    def calls(self) -> Iterator[tuple[str, Call]]:
        """All branches that participants may be asked about."""
        for branch_id, (unit, choice) in self.branches.items():
            if unit.step.calls:
                yield branch_id, unit.step.calls[choice]


def _written_out(
    prefix: str, definition: SagaDefinition, data: Value, owner: Unit | None
) -> Scope:
    scope = Scope(prefix, definition, data, owner)
    for step in definition.steps:
        place = Place(scope, step)
        scope.places[step.step_id] = place
        if step.for_each is None:
            place.units.append(_unit(place, None, Special.BROKEN))
            continue
        place.items = resolve(step.for_each.items, data)
        if isinstance(place.items, list):
            for index, item in enumerate(place.items):
                place.units.append(_unit(place, index, item))
    return scope


def _unit(place: Place, index: int | None, item: Value) -> Unit:
    step = place.step
    unit_id = place.branch_id if index is None else f"{place.branch_id}:{index}"
    unit = Unit(place, unit_id, item, index)
    if step.child is not None:
        template = Constant({}) if step.input is None else step.input
        data = resolve(template, place.scope.input, item)
        unit.child = _written_out(f"{unit_id}:", step.child, data, unit)
    return unit


def resolve(template: Template, data: Value, item: Value = Special.BROKEN) -> Value:
    """What a template yields from an input and an item; only what is generated."""
    match template:
        case Constant(value):
            return value
        case TemplateMap(entries):
            found = {name: resolve(part, data, item) for name, part in entries}
            special = [part for part in found.values() if isinstance(part, Special)]
            return special[0] if special else found
        case Reference(("steps", *_)):
            return Special.LATER
        case Reference((root, *path)):
            value = {"input": data, "item": item}.get(str(root), Special.BROKEN)
            for part in path:
                if not isinstance(value, dict) or part not in value:
                    return Special.BROKEN
                value = value[part]
            return value
        case _:
            raise TypeError(f"{template} is not generated")


def is_undoable(unit: Unit, choice: int) -> bool:
    """Whether what a participant did for this branch can be undone."""
    if not unit.step.calls:
        return False
    call = unit.step.calls[choice]
    return call.kind is BranchKind.TCC or call.compensation is not None
