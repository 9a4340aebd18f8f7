"""The page of the language: every example is right, every table and number is true."""

import re
from pathlib import Path

import pytest

from coordinator.core.backoff import FORWARD
from coordinator.core.forward import SAGA_BRANCH_MAX
from coordinator.saga_yaml import children_first, parse
from coordinator.saga_yaml.children import NESTING_MAX
from coordinator.saga_yaml.expressions import EXPRESSIONS_MAX
from coordinator.saga_yaml.language import (
    ATTENTION_AFTER,
    FALLBACKS_MAX,
    ITEMS_MAX,
    KINDS,
    PARALLEL,
    PARALLEL_MAX,
    SAGA,
    STEP,
    STEPS_MAX,
)
from tests.saga_yaml.sagas import Published, header
from tests.saga_yaml.test_pages import catalogue

PAGE = (Path(__file__).parents[2] / "docs" / "saga-language.md").read_text()
EXAMPLES = [
    text if "apiVersion" in text else header("example") + text
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    if "steps:" in text
]


def test_every_example_of_the_page_is_right():
    """Each is a saga as it stands, with the child sagas that the page shows."""
    assert len(EXAMPLES) >= len(STEP.keys) - len(KINDS)
    published = Published()
    for at in children_first(EXAMPLES):
        parse(EXAMPLES[at], operations=catalogue(), sagas=published)
        published.publish(EXAMPLES[at])


@pytest.mark.parametrize("key", [*STEP.keys, *SAGA.keys])
def test_every_key_is_shown(key):
    """In an example, not only in words."""
    assert any(re.search(rf"(^|[\s{{])(- )?{key}: ?", text) for text in EXAMPLES)


def test_the_table_of_keys_says_what_fits():
    """Row by row, as the checks have it."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|(.+)\|$", PAGE, re.MULTILINE)
    fits = {
        key: [bool(cell.strip()) for cell in cells.split("|")]
        for keys, cells in rows
        for key in re.findall(r"`(\w+)`", keys)
        if cells.count("|") == len(KINDS) - 1
    }
    keys = STEP.keys.keys() - KINDS.keys() - {"id"}

    assert fits.keys() == keys
    for name in keys:
        misfits = STEP.keys[name].misfits
        if beside := STEP.keys[name].beside:
            misfits = STEP.keys[beside].misfits
        assert fits[name] == [kind not in misfits for kind in KINDS], name


def test_the_limits_and_defaults_of_the_page_are_those_of_the_code():
    """No number is told that does not hold."""
    assert f"| steps, with those of child sagas | {STEPS_MAX} |" in PAGE
    assert f"| sagas in sagas | {NESTING_MAX} levels |" in PAGE
    assert f"| fallbacks of a step | {FALLBACKS_MAX} |" in PAGE
    items = f"{ITEMS_MAX:,}; {PARALLEL_MAX:,}"
    assert f"| items of a list; at the same time | {items} |" in PAGE
    assert f"| expressions | {EXPRESSIONS_MAX:,} |" in PAGE
    multiplied = "branches of one run, lists and child sagas multiplied"
    assert f"| {multiplied} | {SAGA_BRANCH_MAX:,} |" in PAGE
    assert f"`maxParallel` ({PARALLEL})" in PAGE
    assert f"failed attempts ({ATTENTION_AFTER})" in PAGE
    attempts = "attempts in all; then the saga turns back"
    assert f"| `maxAttempts` | {attempts} | {FORWARD.attempt_max} |" in PAGE
    first, last = FORWARD.initial_interval_ms, FORWARD.interval_max_ms // 1000
    assert f"| `{first}ms`, {FORWARD.coefficient}, `{last}s` |" in PAGE
