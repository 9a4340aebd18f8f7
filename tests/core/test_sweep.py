"""Promises of the sweeper's plan (L3, L7)."""

from itertools import product

import pytest

from coordinator.core.model import Key
from coordinator.core.sweep import Reason, Verdict, plan
from coordinator.ports import SweepRow

NOW = 1_000
ME, PEER, DEAD = "n-me", "n-peer", "n-dead"
HERE = Key("default", "driven")
THERE = Key("default", "other")


def judge(*, driven: bool = False, owner: str = DEAD, due_at: int | None = NOW) -> str:
    row = SweepRow(HERE if driven else THERE, 3, owner, due_at)
    (verdict,) = plan([row], me=ME, driven={HERE}, living={ME, PEER}, now=NOW)
    assert row is verdict.row
    assert verdict.take is (
        verdict.reason in (Reason.OWNER_DEAD, Reason.FORGOTTEN_HERE)
    )
    return verdict.reason


def test_orphan_is_taken() -> None:
    """What a dead node wrote last is taken when it is due (L7)."""
    assert judge() == "OWNER_DEAD"
    assert judge(due_at=NOW - 1) == "OWNER_DEAD"
    assert judge(owner="") == "OWNER_DEAD"


def test_what_this_node_let_go_of_is_taken_again() -> None:
    """Nobody else would: this node is alive (L7)."""
    assert judge(owner=ME) == "FORGOTTEN_HERE"


def test_living_peer_keeps_what_it_drives() -> None:
    """Two drivers would be harmless and wasteful (L4)."""
    assert judge(owner=PEER) == "OWNED_BY_LIVING_PEER"


@pytest.mark.parametrize("due_at", [None, NOW + 1])
def test_nothing_is_taken_before_its_time(due_at: int | None) -> None:
    """Also not from a dead node: there is nothing to do yet."""
    assert judge(due_at=due_at) == "NOT_DUE"


@pytest.mark.parametrize(
    ("owner", "due_at"), list(product([ME, PEER, DEAD], [None, NOW, NOW + 1]))
)
def test_what_is_driven_here_is_left_alone(owner: str, due_at: int | None) -> None:
    """Whoever wrote it last; the row may be older than what this node knows."""
    assert judge(driven=True, owner=owner, due_at=due_at) == "DRIVEN_HERE"


def test_every_row_gets_a_verdict_in_order() -> None:
    """The plan says also why something is left."""
    rows = [SweepRow(Key("default", str(n)), 1, DEAD, n) for n in range(3)]
    verdicts = plan(iter(rows), me=ME, driven=(), living=(ME,), now=1)

    assert (
        Verdict(rows[0], take=True, reason=Reason.OWNER_DEAD),
        Verdict(rows[1], take=True, reason=Reason.OWNER_DEAD),
        Verdict(rows[2], take=False, reason=Reason.NOT_DUE),
    ) == verdicts
