"""Expressions in a saga's text: what they become, and where they are wrong."""

import json

import pytest

from coordinator.core.definition import Computed, Interpolation, TemplateMap
from coordinator.core.expressions import ExpressionFailed, Scope, evaluate, to_payload
from coordinator.saga_yaml import check, parse
from tests.saga_yaml.test_definition import HEADER, STEP, codes, steps

SCOPE = Scope(
    to_payload({"amount": 20, "name": "Ada"}),
    {"a": to_payload({"sum": 21})},
    {"gid": "g-1", "startedAt": 5},
)


def output_of(written):
    """The template of an ``output`` with one field."""
    output = parse(f"{HEADER}{STEP}output: {{x: {json.dumps(written)}}}\n").output
    assert isinstance(output, TemplateMap)
    [(_, template)] = output.entries
    return template


def test_an_expression_becomes_a_program():
    """What is more than a path is computed; its reads are the steps that it names."""
    total = output_of("${ steps.a.output.sum * 2 }")

    assert isinstance(total, Computed)
    assert total.source == "steps.a.output.sum * 2"
    assert total.reads == ("a",)
    assert evaluate(total, SCOPE) == 42


def test_expressions_in_text_become_text():
    """Computed ones and paths, side by side."""
    greeting = output_of("${input.name}: ${input.amount + 1}, ${input.amount > 3}")

    assert isinstance(greeting, Interpolation)
    assert evaluate(greeting, SCOPE) == "Ada: 21, true"


def test_the_output_of_a_step_that_has_none_is_not_there():
    """A guard sees it; without one the expression fails, and says which it was."""
    guarded = output_of("${has(steps.a.output.nothing) ? 1 : 0}")
    unguarded = output_of("${steps.a.output.sum + 1}")
    without = Scope(SCOPE.input, {}, SCOPE.saga)

    assert evaluate(guarded, without) == 0
    with pytest.raises(ExpressionFailed, match=r"\$\{steps.a.output.sum \+ 1\}: steps"):
        evaluate(unguarded, without)


@pytest.mark.parametrize(
    ("expression", "code", "at", "suggestion"),
    [
        ("input", None, 0, ""),
        ("input.a.b[0]['c d'][\"e\"]", None, 0, ""),
        ("saga.gid", None, 0, ""),
        ("saga.startedAt", None, 0, ""),
        ("steps.first.output", None, 0, ""),
        ("steps['pay-out'].output.x", None, 0, ""),
        ("input.a + 1 > size(input[input.b])", None, 0, ""),
        ("{'a': {'}': [1]}}['a']", None, 0, ""),
        ("has(steps.first.output.x) ? steps.first.output.x : null", None, 0, ""),
        ("steps.pay-out.output.x", "SAGA041", 0, "${steps['pay-out'].output.x}"),
        ("input..a", "SAGA040", 6, ""),
        ("input.", "SAGA040", 6, ""),
        ("input[-1]", "SAGA040", 6, ""),
        ("input.a = 1", "SAGA040", 8, "=="),
        ("", "SAGA040", 0, ""),
        ("inptu.a", "SAGA041", 0, "input"),
        ("1 + inptu.a", "SAGA041", 4, "input"),
        ("env.HOME", "SAGA041", 0, ""),
        ("lenght(input.a)", "SAGA041", 0, ""),
        ("input.a.startWith('b')", "SAGA041", 8, "startsWith"),
        ("saga", "SAGA041", 0, ""),
        ("saga.gid.x", "SAGA041", 9, ""),
        ("saga.git", "SAGA041", 5, "gid"),
        ("steps", "SAGA041", 0, ""),
        ("steps[0].output", "SAGA041", 0, ""),
        ("steps.first", "SAGA041", 0, ""),
        ("steps.first.input", "SAGA041", 0, ""),
        ("steps.frist.output", "SAGA041", 0, "first"),
        ("item.x", "SAGA041", 0, ""),
        ("1 + index", "SAGA041", 4, ""),
        ("steps.last.output", "SAGA042", 0, ""),
        ("steps.aside.output", "SAGA042", 0, ""),
        ("input.a ? 1 : steps.later.output", "SAGA042", 14, ""),
        ("steps[input.a].output", "SAGA044", 6, ""),
        ("input.a + 'b' + 1", "SAGA045", 14, ""),
        ("'a' == 1", "SAGA045", 4, ""),
        ("input" + ".a" * 40, "SAGA004", 69, ""),
        ("input." + "a" * 5000, "SAGA004", 0, ""),
        ("(" * 40 + "1" + ")" * 40, "SAGA004", 32, ""),
    ],
)
def test_expressions(expression, code, at, suggestion):
    """What may be written, and what is wrong with the rest, at the very character."""
    quoted = expression.replace('"', '\\"')
    text = steps(
        "- {id: first, call: a.b}",
        "- {id: pay-out, call: a.b}",
        "- {id: aside, needs: [], call: a.b}",
        "- id: last",
        "  needs: [pay-out]",
        "  call: a.b",
        "  input:",
        f'    x: "text ${{{quoted}}}"',
        "- {id: later, call: a.b}",
    )
    _, findings = check(text)

    assert [f.code for f in findings] == ([code] if code else [])
    places = [(f.line, f.column) for f in findings]
    assert places == ([(12, 16 + at)] if code else [])
    assert [f.suggestion for f in findings] == ([suggestion] if code else [])


@pytest.mark.parametrize(
    ("lines", "line", "column"),
    [
        (["input: {x: '${no}'}"], 7, 17),
        (["input: {x: 'it''s ${no}'}"], 7, 23),
        (['input: {x: "\\t\\x41\\u00e9\\ud83d\\ude00\\n ${no}"}'], 7, 44),
        (["input:", "  x: a ${1 +", "       no}"], 9, 10),
        (["input:", "  x: |", "     first", "     ${1 +", "        no}"], 11, 11),
        (["input:", "  x: >-  # folded", "", "    a", "    ${1 +", "    no}"], 12, 7),
        (["input:", "  x: 'a", "", "    ${no}'"], 10, 9),
        (["input:", '  x: "a\\', '    b ${no}"'], 9, 11),
        (["input:", "  x: |", "    ${input.a +", "    }"], 10, 7),
    ],
)
def test_a_mistake_has_its_place_however_the_text_is_written(lines, line, column):
    """Quoted, escaped, folded, in a block: line and column are those of the file."""
    text = HEADER + STEP + "".join(f"  {line}\n" for line in lines)

    assert [(f.line, f.column) for f in check(text)[1]] == [(line, column)]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("input: {x: ${input.a ? 1 : 2}}", 14),
        ("input: ${input.a ? 1 : 2}", 10),
        ("input: {x: [${input.a ? 1 : 2}, 3]}", 15),
        ("input: text ${input.a ? 1 : 2}", 15),
    ],
)
def test_an_expression_that_must_be_quoted_says_so(line, column):
    """YAML would read its braces or its colon as a map."""
    _, findings = check(f"{HEADER}{STEP}  {line}\n")

    assert [(f.code, f.line, f.column) for f in findings] == [("SAGA005", 7, column)]
    assert "quote" in findings[0].message


def test_an_expression_in_a_list_that_must_be_quoted_says_so():
    """There YAML reads a key up to the colon."""
    text = f"{HEADER}{STEP}  input:\n    x:\n    - ${{input.a ? 1 : 2}}\n"

    assert codes(text) == ["SAGA005"]


def test_the_second_of_two_equal_expressions_has_its_own_place():
    """Also behind escapes, the column is that of the text."""
    text = HEADER + STEP + '  input: {x: "\\t${no} ${input.a} ${no}"}\n'

    assert [(f.line, f.column) for f in check(text)[1]] == [(7, 19), (7, 36)]


def test_an_open_expression_is_a_finding():
    """``${`` without its brace."""
    assert codes(HEADER + STEP + '  input: {x: "a ${input.b"}\n') == ["SAGA040"]
