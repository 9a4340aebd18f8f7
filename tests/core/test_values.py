"""Values of the core are immutable, for the type checker and at run time."""

from pathlib import Path

import pytest
from mypy import api

from coordinator.core.changed import changed
from coordinator.core.inputs import Confirm

MUTATIONS = """
from coordinator.core.actions import CallBranch
from coordinator.core.events import AttentionRaised
from coordinator.core.inputs import Confirm
from coordinator.core.model import Branch, GlobalTransaction

def mutate(
    call: CallBranch, event: AttentionRaised, what: Confirm,
    branch: Branch, tx: GlobalTransaction,
) -> None:
    call.attempt = 2
    event.at = 2
    what.wait = True
    branch.attempts = 2
    tx.revision = 2
"""


def test_assigning_a_field_is_a_type_error(tmp_path: Path) -> None:
    """One for every kind of value, and nothing else is wrong with that text."""
    text = tmp_path / "mutations.py"
    text.write_text(MUTATIONS)
    told, _, code = api.run(["--strict", "--no-incremental", str(text)])

    assert code == 1
    assert told.count("is read-only") == 5, told
    assert "Found 5 errors" in told


def test_assigning_a_field_is_an_error_when_it_is_run_too() -> None:
    """Nobody can change a value that others share."""
    what = Confirm()
    with pytest.raises(AttributeError):
        what.wait = True  # type: ignore[misc]  # what is tested

    assert what == Confirm()


def test_values_compare_and_hash_by_content() -> None:
    """And have no room for other attributes."""
    assert changed(Confirm(), wait=True) == Confirm(wait=True) != Confirm()
    assert Confirm() in {Confirm(): "found"}
    assert not hasattr(Confirm(), "__dict__")
