"""The page of the checks: every code is explained, and every example is true."""

import re
from functools import cache
from pathlib import Path

import pytest

from coordinator.core.definition import SagaDefinition
from coordinator.core.model import Operation, participant_of
from coordinator.core.words import OperationKind
from coordinator.saga_yaml import Code, Finding, check, parse

PAGE = Path(__file__).parents[2] / "docs" / "saga-checks.md"
HEADER = (
    "apiVersion: tercet/v1\nkind: Saga\n"
    "metadata: {name: disburse-loan, version: 1.2.0}\n"
)


@cache
def sections() -> dict[str, str]:
    """The page by code."""
    _, *parts = re.split(r"^## (?=SAGA)", PAGE.read_text(), flags=re.MULTILINE)
    return {part[:7]: part for part in parts}


@cache
def catalogue() -> dict[str, Operation]:
    """The catalogue that the page shows."""
    rows = re.findall(
        r"^\| `(\S+)` \| (\w+) \| (\w+) \|$", PAGE.read_text(), re.MULTILINE
    )
    return {
        name: Operation(
            name, OperationKind(kind), participant_of(name), compensable == "yes"
        )
        for name, kind, compensable in rows
    }


@cache
def published() -> dict[tuple[str, str], SagaDefinition]:
    """The published sagas that the page shows."""
    head = PAGE.read_text().partition("## SAGA")[0]
    texts = re.findall(r"```yaml\n(apiVersion.*?)```", head, re.DOTALL)
    sagas = [parse(text) for text in texts if "steps:" in text]
    return {(saga.name, saga.version): saga for saga in sagas}


def checked(text: str) -> tuple[SagaDefinition | None, tuple[Finding, ...]]:
    """What is said about an example."""
    return check(
        text,
        operations=catalogue(),
        sagas=lambda name, version: published().get((name, version)),
    )


def example(code: str, which: str) -> str:
    found = re.search(
        rf"\*\*{which}\*\*\n\n```yaml\n(.*?)```", sections()[code], re.DOTALL
    )
    assert found, f"{code} has no {which.lower()} example"
    return found[1] if found[1].startswith("apiVersion") else HEADER + found[1]


def test_every_code_has_its_section_and_no_section_is_of_another_code():
    """Codes and sections are the same, in the same order."""
    assert list(sections()) == [code.value for code in Code]


@pytest.mark.parametrize("code", list(Code))
def test_the_wrong_example_yields_exactly_its_code(code):
    """What the page calls wrong is refused for that reason and no other."""
    definition, findings = checked(example(code, "Wrong"))

    assert definition is None
    assert {finding.code for finding in findings} == {code.value}, findings


@pytest.mark.parametrize("code", list(Code))
def test_the_right_example_yields_nothing(code):
    """What the page calls right is accepted."""
    definition, findings = checked(example(code, "Right"))

    assert findings == ()
    assert definition is not None
