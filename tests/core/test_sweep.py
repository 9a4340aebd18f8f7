"""Promises of the sweeper's plan (L3, L7)."""

from itertools import product

import pytest

from coordinator.core.model import GlobalTransaction, Key, Status
from coordinator.core.sweep import (
    OWNERS_LOST_MAX,
    Reason,
    Verdict,
    is_quarantined,
    plan,
    quarantine,
)
from coordinator.ports import SweepRow
from tests.core.world import tcc_request

NOW = 1_000
ME, PEER, DEAD = "n-me", "n-peer", "n-dead"
HERE = Key("default", "driven")
THERE = Key("default", "other")


def verdict_on(
    *,
    driven: bool = False,
    owner: str = DEAD,
    due_at: int | None = NOW,
    takeovers: int = 0,
) -> Verdict:
    row = SweepRow(HERE if driven else THERE, 3, owner, due_at, takeovers)
    (verdict,) = plan(
        [row],
        me=ME,
        driven={HERE},
        living={ME, PEER},
        known={ME, PEER, DEAD},
        now=NOW,
    )
    assert row is verdict.row
    taken = (Reason.OWNER_DEAD, Reason.OWNER_GONE, Reason.FORGOTTEN_HERE)
    assert verdict.take is (verdict.reason in taken)
    return verdict


def judge(*, driven: bool = False, owner: str = DEAD, due_at: int | None = NOW) -> str:
    return verdict_on(driven=driven, owner=owner, due_at=due_at).reason


def test_orphan_is_taken() -> None:
    """What a dead node wrote last is taken when it is due (L7)."""
    assert judge() == "OWNER_DEAD"
    assert judge(due_at=NOW - 1) == "OWNER_DEAD"
    assert judge(owner="") == "OWNER_GONE"


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
    verdicts = plan(iter(rows), me=ME, driven=(), living=(ME,), known=(DEAD,), now=1)

    assert (
        Verdict(rows[0], take=True, reason=Reason.OWNER_DEAD, takeovers=1),
        Verdict(rows[1], take=True, reason=Reason.OWNER_DEAD, takeovers=1),
        Verdict(rows[2], take=False, reason=Reason.NOT_DUE),
    ) == verdicts


# ---- Poison (V6) ------------------------------------------------------------------


def test_a_claim_from_a_dead_owner_counts_before_the_work() -> None:
    """V6: what the claim stores is one more than what is stored."""
    for takeovers in (0, 1):
        verdict = verdict_on(takeovers=takeovers)
        assert (verdict.reason, verdict.takeovers) == ("OWNER_DEAD", takeovers + 1)


def test_what_three_owners_died_with_is_left_alone() -> None:
    """V6: its first owner and two that took it over; whoever sweeps."""
    assert OWNERS_LOST_MAX == 3
    for takeovers in (2, 3, 99):
        assert verdict_on(takeovers=takeovers).reason == "QUARANTINED"


def test_an_owner_that_left_in_good_order_does_not_count() -> None:
    """V6: a rolling restart quarantines nothing, and forgives nothing."""
    for takeovers in (0, 2, 99):
        verdict = verdict_on(owner="n-left", takeovers=takeovers)
        assert (verdict.reason, verdict.takeovers) == ("OWNER_GONE", takeovers)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"driven": True}, "DRIVEN_HERE"),
        ({"owner": PEER}, "OWNED_BY_LIVING_PEER"),
        ({"owner": ME}, "FORGOTTEN_HERE"),
        ({"due_at": NOW + 1}, "NOT_DUE"),
    ],
)
def test_only_a_death_quarantines(fields: dict[str, object], reason: str) -> None:
    """V6: whoever still drives it may find its way."""
    assert verdict_on(takeovers=99, **fields).reason == reason


def test_a_person_is_told_what_to_do() -> None:
    """V6: how many died, where to look, and which command lets it go on."""
    event = quarantine(NOW)
    assert event.at == NOW
    assert event.reason.startswith("QUARANTINED: 3 nodes in a row died")
    assert "tercet tx retry GID --reason" in event.reason


@pytest.mark.parametrize(
    ("since", "reason", "expected"),
    [
        (NOW, quarantine(NOW).reason, True),
        (0, quarantine(NOW).reason, True),
        (None, quarantine(NOW).reason, False),
        (NOW, "CONFIRM of branch a failed 10 times: QUARANTINED: no", False),
    ],
)
def test_quarantine_is_a_kind_of_attention(
    since: int | None, reason: str, *, expected: bool
) -> None:
    """V6: it holds as long as the attention does."""
    tx = GlobalTransaction(
        tcc_request(), Status.TRYING, attention_since=since, attention_reason=reason
    )
    assert is_quarantined(tx) is expected


@pytest.mark.parametrize(
    ("reason", "takeovers", "expected"),
    [
        (Reason.OWNER_DEAD, 2, True),
        (Reason.OWNER_DEAD, 1, False),
        (Reason.FORGOTTEN_HERE, 2, False),
    ],
)
def test_what_may_have_killed_its_owner_is_claimed_by_itself(
    reason: Reason, takeovers: int, *, expected: bool
) -> None:
    """V6: so that what was claimed with it is not blamed for the next death."""
    row = SweepRow(Key("default", "g"), 1, DEAD, NOW)

    assert Verdict(row, True, reason, takeovers).is_suspect is expected
