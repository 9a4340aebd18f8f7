"""Values of the core are immutable for the type checker, and cheap at run time."""

from dataclasses import replace
from pathlib import Path

from mypy import api

from coordinator.core.frozen import dataclass
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


def test_values_compare_and_hash_by_content() -> None:
    """As those of a frozen class do, without room for other attributes."""

    @dataclass(frozen=True, slots=True)
    class Pair:
        left: int
        right: int = 0

    assert replace(Pair(1), right=2) == Pair(1, 2)
    assert hash(Pair(1)) == hash(Pair(1))
    assert not hasattr(Pair(1), "__dict__")
    assert Confirm() in {Confirm(): "found"}
