"""Promises of the quick copy."""

from dataclasses import dataclass, field, replace

import pytest

from coordinator.core.changed import changed
from coordinator.core.definition import SagaDefinition
from tests.core.world import definition, step


@dataclass(frozen=True)
class Point:
    x: int
    y: int
    name: str = "p"


@dataclass(frozen=True)
class Sum:
    x: int
    name: str
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", 2 * self.x)


def test_copy_differs_in_what_was_named_and_nowhere_else() -> None:
    """The same as ``dataclasses.replace``, also the second time a class is seen."""
    point = Point(1, 2)
    for _ in range(2):
        assert Point(1, 7, "p") == changed(point, y=7)
        assert Point(3, 2, "q") == changed(point, name="q", x=3)
    assert point == changed(point)
    assert Point(1, 2) == point


def test_derived_fields_are_derived_anew() -> None:
    """A field that the class itself computes is never copied."""
    assert changed(Sum(1, "s"), x=5).twice == 10

    saga: SagaDefinition = definition(step("a"))
    longer = changed(saga, steps=(*saga.steps, step("b", "a")))
    assert replace(saga, steps=longer.steps) == longer
    assert longer.successors == {"a": ("b",), "b": ()}


def test_misspelt_field_is_an_error() -> None:
    """Nothing is silently left unchanged."""
    with pytest.raises(KeyError):
        changed(Point(1, 2), z=3)  # type: ignore[call-arg]  # what is tested
