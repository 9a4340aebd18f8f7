"""Promises of the copy."""

from pathlib import Path

import pytest
from mypy import api

from coordinator.core.changed import changed
from coordinator.core.place import Place
from tests.core.world import definition, step

MISTAKES = """
from coordinator.core.changed import changed
from coordinator.core.model import Branch

def change(branch: Branch) -> None:
    changed(branch, attempt=1)
    changed(branch, attempts="one")
"""


def test_copy_differs_in_what_was_named_and_nowhere_else() -> None:
    """And what was copied stays as it was."""
    saga = definition(step("a"))
    place = Place("", saga, saga.steps[0], 7)

    assert changed(place, index=3, choice=1) == Place("", saga, saga.steps[0], 3, 1)
    assert changed(place) == place == Place("", saga, saga.steps[0], 7)


def test_mistakes_are_found_before_the_code_is_run(tmp_path: Path) -> None:
    """A misspelt field, a wrong type; and nothing else is wrong with that text."""
    text = tmp_path / "mistakes.py"
    text.write_text(MISTAKES)
    told, _, code = api.run(["--strict", "--no-incremental", str(text)])

    assert code == 1
    assert 'Unexpected keyword argument "attempt"' in told
    assert 'Argument "attempts" to "replace" of "Branch"' in told
    assert "Found 2 errors" in told


def test_misspelt_field_is_an_error() -> None:
    """Nothing is silently left unchanged."""
    saga = definition(step("a"))
    with pytest.raises(TypeError):
        changed(Place("", saga, saga.steps[0]), indexx=3)  # type: ignore[call-arg]  # what is tested
