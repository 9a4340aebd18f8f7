"""Two schemas are the same when they refuse the same values, as far as can be told."""

import json
from typing import Any

import pytest

from coordinator.api.schemas import same_schema

HAND = {
    "type": "object",
    "required": ["amount", "to"],
    "properties": {
        "amount": {"type": "integer"},
        "to": {"type": "object", "properties": {"title": {"type": "string"}}},
    },
}
GENERATED = {
    "$ref": "#/$defs/Posting",
    "$defs": {
        "Posting": {
            "title": "Posting",
            "description": "What is posted.",
            "type": "object",
            "required": ["to", "amount"],
            "properties": {
                "amount": {"type": "integer", "title": "Amount"},
                "to": {"$ref": "#/$defs/To"},
            },
        },
        "To": {"type": "object", "properties": {"title": {"type": "string"}}},
    },
}
LIST = {
    "$ref": "#/$defs/List",
    "$defs": {"List": {"properties": {"next": {"$ref": "#/$defs/List"}}}},
}


def same(one: Any, other: Any) -> bool:
    """Both ways round, which must not matter."""
    there = same_schema(json.dumps(one), json.dumps(other))
    assert there is same_schema(json.dumps(other), json.dumps(one))
    return there


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (HAND, GENERATED),
        ({"type": ["string", "null"]}, {"type": ["null", "string"]}),
        ({"enum": [1, "a"]}, {"enum": ["a", 1]}),
        ({"anyOf": [{"title": "x"}]}, {"anyOf": [{}]}),
        ({"type": "string", "default": "a"}, {"type": "string"}),
        (LIST, LIST),
        (True, True),
    ],
)
def test_what_refuses_the_same_is_the_same(one, other):
    """Words, order and places make no difference."""
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (HAND, {**HAND, "required": ["amount"]}),
        (HAND, {**HAND, "additionalProperties": False}),
        ({"properties": {"title": {}}}, {"properties": {}}),
        ({"const": {"title": 1}}, {"const": {}}),
        ({"enum": [{"title": 1}]}, {"enum": [{}]}),
        ({"prefixItems": [{}, {"type": "null"}]}, {"prefixItems": [{"type": "null"}]}),
        ({"$ref": "#/$defs/X"}, {"$ref": "#/$defs/Y"}),
        ({"$ref": "https://a/b"}, {}),
        ({"type": "integer"}, {"type": "number"}),
        (True, False),
        (LIST, HAND),
    ],
)
def test_what_may_refuse_something_else_is_another(one, other):
    """A name that looks like a keyword is none, and nothing is guessed."""
    assert not same(one, other)


def test_a_schema_that_doubles_itself_is_not_followed():
    """Few references that would mean very many are compared as they are written."""
    bomb = {
        "$ref": "#/$defs/d0",
        "$defs": {
            f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(30)
        },
    }

    assert same(bomb, json.loads(json.dumps(bomb, sort_keys=True)))
    assert not same(bomb, HAND)
