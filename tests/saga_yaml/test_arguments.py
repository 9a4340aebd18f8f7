"""What is passed on, checked against the schemas that are known, before it runs."""

import json

import pytest

from coordinator.core.model import Operation
from coordinator.core.words import OperationKind
from coordinator.saga_yaml import check
from coordinator.saga_yaml.known_types import Known, Missing, decoded, find, types_of
from tests.saga_yaml.test_definition import HEADER

ORDER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["amount"],
    "properties": {
        "amount": {"type": "integer"},
        "rate": {"type": "number"},
        "note": {"type": ["string", "null"]},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}},
                "additionalProperties": False,
            },
        },
        "free": {"type": "object"},
        "any": {},
    },
}
TAKEN = {
    **ORDER,
    "properties": {
        **ORDER["properties"],
        "either": {"anyOf": [{"type": "string"}, {"type": "object"}]},
    },
}
RECEIPT = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "count": {"type": "integer"}},
    "additionalProperties": False,
}
OPERATIONS = {
    "shop.order": Operation(
        "shop.order",
        OperationKind.ACTION,
        "shop",
        compensable=True,
        input_schema=json.dumps(TAKEN),
        output_schema=json.dumps(RECEIPT),
    )
}


def findings_of(argument, *, output="{}"):
    """Codes, lines, columns, messages and suggestions."""
    text = (
        f"{HEADER}input: {{schema: {json.dumps(ORDER)}}}\n"
        "steps:\n"
        "- {id: first, call: shop.order, input: {amount: 1}}\n"
        "- id: second\n"
        "  call: shop.order\n"
        f"  input: {argument}\n"
        f"output: {output}\n"
    )
    return [
        (f.code, f.line, f.column, f.message, f.suggestion)
        for f in check(text, operations=OPERATIONS)[1]
    ]


@pytest.mark.parametrize(
    "argument",
    [
        "{amount: 1}",
        "{amount: 1.0}",
        "{amount: '${input.amount}', rate: '${input.amount}', note: null}",
        "{amount: '${input.rate}'}",
        "{amount: '${input.any}', either: '${input.note}'}",
        "{amount: '${input.amount + 1}', note: 'a ${input.amount}'}",
        "{amount: '${steps.first.output.count}', note: '${steps.first.output.id}'}",
        "{amount: 1, lines: [{sku: a}, {sku: '${input.lines[0].sku}'}]}",
        "{amount: 1, lines: '${input.lines}', free: {a: {b: '${input.free.x.y}'}}}",
        "{amount: 1, note: '${input.any.below}', either: {x: 1}}",
        "'${input}'",
        "'${input.any}'",
    ],
)
def test_what_fits_is_accepted(argument):
    """Also what cannot be told: doubt is no finding."""
    assert findings_of(argument) == []


@pytest.mark.parametrize(
    ("argument", "code", "column", "message", "suggestion"),
    [
        ("{amount: '1'}", "SAGA045", 19, "an integer is needed here", ""),
        ("{amount: null}", "SAGA045", 19, "and this is null", ""),
        ("{amount: [1]}", "SAGA045", 19, "and this is a list", ""),
        ("{amount: 'a ${input.rate}'}", "SAGA045", 19, "and this is a text", ""),
        ("{amount: '${input.note}'}", "SAGA045", 19, "this is a text or null", ""),
        ("{amount: '${steps.first.output.id}'}", "SAGA045", 19, "is a text", ""),
        ("{amount: 1, lines: [1]}", "SAGA045", 30, "a map is needed here", ""),
        ("{amount: 1, lines: [{sku: 1}]}", "SAGA045", 36, "a text is needed", ""),
        ("[1]", "SAGA011", 10, "", ""),
        ("{}", "SAGA045", 10, "needs the field 'amount'", ""),
        ("{amuont: 1, amount: 1}", "SAGA046", 11, "takes no field", "amount"),
        ("{amount: 1, lines: [{skuu: a}]}", "SAGA046", 31, "takes no field", "sku"),
        ("{amount: '${input.amuont}'}", "SAGA046", 28, "no field 'amuont'", "amount"),
        ("{amount: '${input.amount.x}'}", "SAGA046", 35, "is an integer, so", ""),
        ("{amount: '${input.lines.x}'}", "SAGA046", 34, "is a list, so", ""),
        ("{amount: '${input.lines[0].x + 1}'}", "SAGA046", 37, "no field 'x'", ""),
        ("{amount: '${size(input.x)}'}", "SAGA046", 33, "no field 'x'", ""),
        ("{amount: '${steps.first.output.cuont}'}", "SAGA046", 41, "", "count"),
    ],
)
def test_what_can_never_be_is_a_finding(argument, code, column, message, suggestion):
    """At the very value, with what was needed and what it is."""
    [(found, line, place, text, nearest)] = findings_of(argument)

    assert (found, line, place) == (code, 9, column)
    assert message in text
    assert nearest == suggestion


def test_the_saga_s_output_is_checked_too():
    """It reads outputs of steps like everything else."""
    found = findings_of("{amount: 1}", output="{id: '${steps.second.output.idd}'}")

    assert [(f[0], f[4]) for f in found] == [("SAGA046", "id")]


@pytest.mark.parametrize(
    "text", ["", "[]", "true", "not json", "{" * 5000, '{"type": "objekt"}']
)
def test_a_schema_that_is_none_allows_everything(text):
    """Participants write what they like; nothing breaks on it."""
    schema = decoded(text)

    assert len(types_of(schema)) == 7
    assert not isinstance(find(Known(schema), ("input", "a", 0, "b")), Missing)
