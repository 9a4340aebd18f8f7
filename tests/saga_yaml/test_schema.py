"""The schemas: the one for editors, and the one of a saga's input."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.durations import (
    DURATION_PATTERN,
    format_duration,
    parse_duration,
)
from coordinator.saga_yaml import find_input_problems, parse
from coordinator.saga_yaml.language import KINDS, STEP
from coordinator.saga_yaml.schema import SCHEMA_FILE, saga_schema, schema_text


def test_the_shipped_schema_is_the_generated_one():
    """``python -m coordinator.saga_yaml.schema`` was run after the last change."""
    assert SCHEMA_FILE.read_text() == schema_text()


def test_the_schema_knows_the_keys_of_a_step():
    """Editors complete what the checks accept, and nothing that is not there yet."""
    step = saga_schema()["properties"]["steps"]["items"]

    assert list(step["properties"]) == list(STEP.keys)
    assert step["required"] == ["id"]
    assert step["oneOf"] == [{"required": [kind]} for kind in KINDS]
    assert step["additionalProperties"] is False


@given(
    st.from_regex(r"\AP?[0-9]{0,3}(ms|s|m|h|d|D)?T?([0-9]{0,2}[HMS.]){0,4}\Z")
    | st.from_regex(DURATION_PATTERN, fullmatch=True)
)
def test_editors_and_checks_agree_on_durations(text):
    """The pattern of the schema and the parser accept the same spellings."""
    matches = re.search(DURATION_PATTERN, text) is not None and text == text.strip()

    assert matches is (parse_duration(text) is not None)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("PT30S", 30_000),
        ("PT0.25S", 250),
        ("PT1H30M", 5_400_000),
        ("P1DT1S", 86_401_000),
        ("PT1.5M", None),
        ("PT", None),
        ("P1DT", None),
        ("1 s", None),
        ("-1s", None),
        ("٣s", None),
        ("", None),
    ],
)
def test_durations(text, milliseconds):
    """One number with its unit, or ISO 8601."""
    assert parse_duration(text) == milliseconds


@given(st.integers(1, 10**11))
def test_a_formatted_duration_is_exact(milliseconds):
    """What a message shows can be written back."""
    assert parse_duration(format_duration(milliseconds)) == milliseconds


SAGA = """\
apiVersion: tercet/v1
kind: Saga
metadata: {name: loan, version: 1.0.0}
input:
  schema:
    type: object
    required: [loanId, amount]
    additionalProperties: false
    properties:
      loanId: {type: string, minLength: 1, maxLength: 8}
      amount: {type: integer, minimum: 1, exclusiveMaximum: 100}
      rate: {type: [number, "null"]}
      kind: {enum: [fast, slow, 1]}
      fixed: {const: true}
      tags: {type: array, items: {type: string}, maxItems: 2}
steps:
- {id: a, call: x.y}
"""


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ({"loanId": "x", "amount": 1}, ()),
        ({"loanId": "x", "amount": 2.0, "rate": None, "tags": ["a"]}, ()),
        ({"loanId": "x", "amount": 1, "kind": 1, "fixed": True}, ()),
        ({"amount": 1}, ("input.loanId is missing",)),
        ([], ("input must be object, not array",)),
        (
            {"loanId": "", "amount": 0},
            (
                "input.loanId must have at least 1 characters",
                "input.amount must be at least 1",
            ),
        ),
        (
            {"loanId": "123456789", "amount": 100},
            (
                "input.loanId must have at most 8 characters",
                "input.amount must be less than 100",
            ),
        ),
        (
            {"loanId": "x", "amount": True},
            ("input.amount must be integer, not boolean",),
        ),
        ({"loanId": "x", "amount": 1.5}, ("input.amount must be integer, not number",)),
        ({"loanId": "x", "amount": 1, "more": 1}, ("input has no field 'more'",)),
        (
            {"loanId": "x", "amount": 1, "rate": "y"},
            ("input.rate must be number or null, not string",),
        ),
        (
            {"loanId": "x", "amount": 1, "kind": True},
            ('input.kind must be one of \'["fast", "slow", 1]\'',),
        ),
        ({"loanId": "x", "amount": 1, "fixed": 1}, ("input.fixed must be 'true'",)),
        (
            {"loanId": "x", "amount": 1, "tags": [1, "a", "b"]},
            (
                "input.tags must have at most 2 items",
                "input.tags[0] must be string, not integer",
            ),
        ),
    ],
)
def test_an_input_is_checked_against_its_schema(value, problems):
    """Each problem names the field, what was expected and the type, never the value."""
    assert find_input_problems(parse(SAGA).input_schema, value) == problems


def test_without_a_schema_every_input_is_right():
    """No promise, no check."""
    assert find_input_problems("", [1, "x"]) == ()


def test_problems_of_an_input_are_at_most_twenty():
    """A large wrong input does not make a large answer."""
    schema = '{"items": {"type": "string"}}'

    assert len(find_input_problems(schema, [1] * 1000)) == 20
