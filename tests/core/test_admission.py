"""Promises of admission: who is taken on, and who is told to come back (V5)."""

from dataclasses import dataclass

import pytest

from coordinator.core.admission import STALL_MS, Backlog, why_refused


@dataclass(frozen=True)
class Bounds:
    inbox_max: int = 10
    changes_max: int = 5
    changes_stalled_max: int = 20


def refused(**work: int) -> str:
    usual = {"is_new": True, "is_full": False, "is_behind": False, "inputs": 0}
    return why_refused(Bounds(), **{**usual, **work})


def test_who_finds_room_is_taken_on() -> None:
    """Up to one below the bound."""
    assert refused(inputs=9) == ""


@pytest.mark.parametrize("work", [{"is_full": True}, {"is_behind": True}])
def test_what_was_begun_goes_on_where_nothing_new_is_begun(work) -> None:
    """A node that is busy, or full, ends what it has before it begins anything (V5)."""
    assert refused(**work)
    assert refused(**work, is_new=False) == ""


def test_nobody_is_taken_on_beyond_the_inbox() -> None:
    """The last bound is for everything."""
    assert refused(inputs=10)
    assert refused(inputs=10, is_new=False)


def test_a_stall_that_passes_refuses_nobody() -> None:
    """More than a node needs may wait for a moment, up to a second bound (V5)."""
    backlog = Backlog(Bounds())
    assert not backlog.is_full(19, now=1_000)
    assert not backlog.is_full(5, now=1_000 + STALL_MS - 1)
    assert not backlog.is_full(2, now=1_000 + STALL_MS)
    # The next one is a stall of its own.
    assert not backlog.is_full(19, now=1_000 + STALL_MS)
    assert not backlog.is_full(19, now=1_000 + 2 * STALL_MS - 1)


def test_a_stall_has_a_bound() -> None:
    """However short it is: what waits takes memory, and time afterwards (V5)."""
    assert Backlog(Bounds()).is_full(20, now=1_000)


def test_what_does_not_pass_is_overload() -> None:
    """Then the first bound holds, until half of it is over (V5)."""
    backlog = Backlog(Bounds())
    assert not backlog.is_full(5, now=1_000)
    assert backlog.is_full(5, now=1_000 + STALL_MS)
    assert not backlog.is_full(4, now=1_000 + STALL_MS)
    assert not backlog.is_full(3, now=1_000 + STALL_MS)
    assert backlog.is_full(5, now=1_000 + STALL_MS)
    assert not backlog.is_full(2, now=1_001 + STALL_MS)
    assert not backlog.is_full(5, now=1_001 + STALL_MS)
