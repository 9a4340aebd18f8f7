"""Two sagas of one version: where they differ is said, and not too much."""

import pytest

from coordinator.saga_yaml import difference


@pytest.mark.parametrize(
    ("published", "other", "said"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 2}, "a: 1 is published, not 2"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1]: 2 is published, not 3"),
        ({"a": 1}, {}, "a: 1 is published, not nothing"),
        ({}, {"a": None}, "a: nothing is published, not null"),
        ({"a": [1]}, {"a": [1, 2]}, "a[1]: nothing is published, not 2"),
        ({"a": [1, 2]}, {"a": [1]}, "a[1]: 2 is published, not nothing"),
        ({"a": 1}, {"a": True}, "a: 1 is published, not true"),
        ({"a": [1]}, {"a": {"b": 1}}, 'a: [1] is published, not {"b": 1}'),
    ],
)
def test_a_difference_is_named_by_its_place(published, other, said):
    """With both values, an absent one and another type included."""
    assert difference(published, other) == said


def test_many_and_long_differences_are_cut():
    """A message stays readable, whatever was published."""
    published = {f"k{n}": "x" * 100 for n in range(9)}
    other = {f"k{n}": "y" for n in range(9)}

    said = difference(published, other)

    assert said.count("is published") == 3
    assert said.endswith("and 6 more")
    assert "x" * 50 not in said
