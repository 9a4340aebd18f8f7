"""The table of rules says what the tests say."""

import ast
from pathlib import Path

import pytest

from tests.rules import table
from tests.rules.table import PAGE, Proof, collect, complaints, ids_of, page, proofs_in
from tests.rules.wording import RULES


def test_every_rule_is_named_by_a_test_or_has_a_reason() -> None:
    """And no reason outlives the first test."""
    assert complaints(collect()) == []


def test_page_is_up_to_date() -> None:
    """Run ``make rules`` when this fails."""
    assert PAGE.read_text() == page(collect())


def test_all_rules_are_there() -> None:
    """None is lost between two of its kind."""
    last = {"T": 14, "L": 7, "B": 10, "S": 10, "V": 8}

    assert list(RULES) == [
        f"{kind}{number}" for kind, end in last.items() for number in range(1, end + 1)
    ]


@pytest.mark.parametrize(
    ("name", "docstring", "expected"),
    [
        ("test_anything", "A promise (T1, B3).", {"T1", "B3"}),
        ("test_t9_one_winner", "", {"T9"}),
        ("check_b10", "", {"B10"}),
        ("test_anything", "B2 to B4 over all rows.", {"B2", "B3", "B4"}),
        ("test_anything", "T1 is not T11.", {"T1", "T11"}),
        ("test_anything", "F-1, x-T1, T1-x, T99, aT1 and T1a are none.", set()),
    ],
)
def test_ids_are_whole_words(name: str, docstring: str, expected: set[str]) -> None:
    """In a name or a docstring; a range counts for all in between."""
    assert ids_of(name, docstring) == expected


def test_only_tests_and_checkers_count() -> None:
    """A helper, a fixture or the head of a module proves nothing."""
    source = '''
"""T1"""
def helper():
    """T2"""
class TestIt:
    """T3"""
    async def test_inside(self):
        """T4"""
def check_t5():
    pass
def test_silent():
    pass  # T6
'''
    assert set(proofs_in(ast.parse(source), "x.py")) == {
        ("T4", Proof("x.py", "test_inside")),
        ("T5", Proof("x.py", "check_t5")),
    }


def test_gap_and_stale_reason_are_told() -> None:
    """A rule without a test needs a reason, one with a test has none."""
    found = {rule: [Proof("x.py", "test_x")] for rule in RULES}
    assert complaints(found, {}) == []
    assert "remove it" in complaints(found, {"T1": "later"})[0]
    assert complaints({**found, "T1": []}, {"T1": "later"}) == []
    assert "T1 is named by no test" in complaints({**found, "T1": []}, {})[0]
    assert complaints(found, {"T0": "x"}) == ["T0 is no rule"]


def test_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page of the command is the page that is compared."""
    monkeypatch.setattr(table, "PAGE", tmp_path / "rules.md")

    assert table.main() == 0
    assert (tmp_path / "rules.md").read_text() == page(collect())
