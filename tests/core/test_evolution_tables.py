"""Promises of the tables that facts are looked up in."""

from typing import get_args

from coordinator.core import evolution
from coordinator.core.events import Event
from coordinator.core.evolution import BRANCH_MOVES
from coordinator.core.model import OPEN, UNDER_WAY
from coordinator.core.words import Phase


def test_every_fact_changes_something() -> None:
    """None is forgotten in the table that they are looked up in."""
    assert evolution.CHANGES.keys() == set(get_args(Event))


def test_success_is_a_legal_move_of_its_phase() -> None:
    """What a success makes of a branch is a move of the table, in the phase asked."""
    for (before, phase), done in evolution._DONE.items():
        assert done in BRANCH_MOVES[before]
        assert UNDER_WAY.get(before, Phase.ACTION) is phase

    assert {before for before, _ in evolution._DONE} == OPEN
