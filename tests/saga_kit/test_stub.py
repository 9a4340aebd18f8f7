"""Values made from schemas, and outputs made from what a saga reads."""

import json

import pytest

from coordinator.saga_kit.stub import read_outputs, step_name, stub
from coordinator.saga_yaml import find_input_problems
from tests.saga_kit.sagas import saga, whole

SCHEMAS = [
    {"type": "string", "minLength": 6},
    {"type": "string", "enum": ["EUR", "USD"]},
    {"type": "integer", "minimum": 5},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["null", "string"]},
    {"type": "array", "minItems": 3, "items": {"type": "integer"}},
    {"const": {"a": [1]}},
    {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_a_stub_fits_its_schema(schema):
    """The check of a saga's input accepts what was made from its schema."""
    whole_schema = json.dumps({"type": "object", "properties": {"it": schema}})

    assert find_input_problems(whole_schema, {"it": stub(schema)}) == ()


def test_a_schema_that_says_nothing_gives_an_empty_map():
    """A schema that refers to itself ends too."""
    endless = {"type": "object", "properties": {}}
    endless["properties"]["next"] = endless

    assert stub({}) == {}
    assert stub(True) == {}
    assert isinstance(stub(endless), dict)


def test_examples_and_defaults_are_taken_first():
    """The author of a schema knows best what fits."""
    assert stub({"type": "string", "default": "d", "examples": ["e"]}) == "d"
    assert stub({"type": "string", "examples": ["e"]}) == "e"


def test_outputs_have_what_the_saga_reads():
    """Also of fallbacks, compensations and the steps of child sagas."""
    assert read_outputs(whole()) == {
        "parts:hold": {"id": "hold-id"},
        "parts:label": {"id": "label-id"},
        "book": {"entry": "book-entry"},
        "pay": {"id": "pay-id"},
    }


def test_what_is_computed_with_is_a_number():
    """A plain path reads a text, an expression most often counts."""
    text = """
apiVersion: tercet/v1
kind: Saga
metadata: {name: c, version: 1.0.0}
timeout: 1m
steps:
- {id: score, call: risk.score, compensate: none}
- {id: pay, if: "${steps.score.output.points > 5}", call: p.p, compensate: none}
"""
    assert read_outputs(saga(text)) == {"score": {"points": 1}}


@pytest.mark.parametrize(
    ("branch_id", "name"),
    [
        ("book", "book"),
        ("book:fallback-1", "book"),
        ("parts:12:hold", "parts:hold"),
        ("7", "7"),
    ],
)
def test_a_branch_has_the_name_of_its_step(branch_id, name):
    """Items and fallbacks answer like the step that they belong to."""
    assert step_name(branch_id) == name
