"""The page of the expressions: every example on it is true, and so are its limits."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from coordinator.core.expressions import ExpressionFailed
from coordinator.saga_yaml import check
from coordinator.saga_yaml.cel import Mistake, compile_expression
from coordinator.saga_yaml.cel.functions import ABSENT, FUNCTIONS
from coordinator.saga_yaml.cel.nodes import (
    DEPTH_MAX,
    LENGTH_MAX,
    NODES_MAX,
    PATH_PARTS_MAX,
)
from coordinator.saga_yaml.cel.values import BUDGET

PAGE = (Path(__file__).parents[2] / "docs" / "saga-expressions.md").read_text()
ROWS = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE, re.MULTILINE)


@cache
def values():
    """The input that the page shows."""
    [text] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    return {"input": json.loads(text)}


@pytest.mark.parametrize(("expression", "result"), ROWS)
def test_an_expression_yields_what_the_page_says(expression, result):
    """Row by row."""
    program = compile_expression(expression.replace("\\|", "|")).program

    assert json.dumps(program(values())) == result


def test_the_saga_of_the_page_is_right():
    """It can be published as it stands."""
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

    assert check(text)[1] == ()


def test_the_failure_of_the_page_is_what_is_said():
    """Word by word."""
    [(expression, message)] = re.findall(r"```text\n\$\{(.*)\}: (.*)\n", PAGE)

    with pytest.raises(ExpressionFailed, match=re.escape(message)):
        compile_expression(expression).program(values())


def test_the_page_names_every_function():
    """And those that there are not."""
    assert [name for name in FUNCTIONS if name not in PAGE and name != "dyn"] == []
    for name in ABSENT:
        with pytest.raises(Mistake, match="there is no function"):
            compile_expression(f"{name}(1)")


def test_the_limits_of_the_page_are_those_of_the_code():
    """No number is told that does not hold."""
    one = f"{LENGTH_MAX:,} characters, {NODES_MAX:,} parts, {DEPTH_MAX} levels"

    assert f"| an expression | {one} |" in PAGE
    assert f"| a path | {PATH_PARTS_MAX} parts |" in PAGE
    assert f"| one evaluation | {BUDGET:,} steps |" in PAGE
