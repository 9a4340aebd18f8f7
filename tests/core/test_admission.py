"""Promises of admission: who is taken on, and who is told to come back (V5)."""

from dataclasses import dataclass

import pytest

from coordinator.core.admission import why_refused


@dataclass(frozen=True)
class Bounds:
    inbox_max: int = 10
    changes_max: int = 5


def refused(**work: int) -> str:
    usual = {"is_new": True, "is_full": False, "inputs": 0, "changes": 0}
    return why_refused(Bounds(), **{**usual, **work})


def test_who_finds_room_is_taken_on() -> None:
    """Up to one below each bound."""
    assert refused(inputs=9, changes=4) == ""


@pytest.mark.parametrize("work", [{"is_full": True}, {"changes": 5}, {"changes": 6}])
def test_what_was_begun_goes_on_where_nothing_new_is_begun(work) -> None:
    """A node that is busy, or full, ends what it has before it begins anything (V5)."""
    assert refused(**work)
    assert refused(**work, is_new=False) == ""


def test_nobody_is_taken_on_beyond_the_inbox() -> None:
    """The last bound is for everything."""
    assert refused(inputs=10)
    assert refused(inputs=10, is_new=False)
