"""Promises of the sweeper's plan (L3, L7), and of whose turn it is (V3)."""

from itertools import product

import pytest

from coordinator.core.model import Key
from coordinator.core.quarantine import NOBODY
from coordinator.core.sweep import (
    LINES_MAX,
    LINES_PER_PAGE,
    OWNERS_LOST_MAX,
    Ask,
    Gap,
    Line,
    Place,
    Reason,
    Turns,
    Verdict,
    distance,
    due_since,
    in_turn,
    interleaved,
    line_of,
    may_be_suspect,
    others,
    own,
    plan,
    rest_ms,
)
from coordinator.ports import SweepRow

NOW = 1_000
ME, PEER, DEAD = "n-me", "n-peer", "n-dead"
HERE = Key("default", "driven")
THERE = Key("default", "other")


def verdict_on(
    *,
    driven: bool = False,
    owner: str = DEAD,
    due_at: int = NOW,
    takeovers: int = 0,
) -> Verdict:
    row = SweepRow(HERE if driven else THERE, 3, owner, due_at, takeovers)
    (verdict,) = plan(
        [row],
        me=ME,
        drives=lambda row: row.key == HERE,
        living={ME, PEER},
        known={ME, PEER, DEAD},
        now=NOW,
    )
    assert row is verdict.row
    taken = (Reason.OWNER_DEAD, Reason.OWNER_GONE, Reason.FORGOTTEN_HERE)
    assert verdict.take is (verdict.reason in taken)
    return verdict


def judge(*, driven: bool = False, owner: str = DEAD, due_at: int = NOW) -> str:
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


def test_nothing_is_taken_before_its_time() -> None:
    """Also not from a dead node: there is nothing to do yet."""
    assert judge(due_at=NOW + 1) == "NOT_DUE"


@pytest.mark.parametrize(
    ("owner", "due_at"), list(product([ME, PEER, DEAD], [NOW, NOW + 1]))
)
def test_what_is_driven_here_is_left_alone(owner: str, due_at: int) -> None:
    """Whoever wrote it last; the row may be older than what this node knows."""
    assert judge(driven=True, owner=owner, due_at=due_at) == "DRIVEN_HERE"


def test_every_row_gets_a_verdict_in_order() -> None:
    """The plan says also why something is left."""
    rows = [SweepRow(Key("default", str(n)), 1, DEAD, n) for n in range(3)]
    verdicts = plan(
        iter(rows),
        me=ME,
        drives=lambda _: False,
        living=(ME,),
        known=(DEAD,),
        now=1,
    )

    assert (
        Verdict(rows[0], take=True, reason=Reason.OWNER_DEAD, takeovers=1),
        Verdict(rows[1], take=True, reason=Reason.OWNER_DEAD, takeovers=1),
        Verdict(rows[2], take=False, reason=Reason.NOT_DUE),
    ) == verdicts


# ---- Lines (V3) -------------------------------------------------------------------


def standing(line: Line, *numbers: int) -> list[SweepRow]:
    """Rows of a line, each due at its number."""
    return [
        SweepRow(Key(line.namespace, f"g-{n}"), 1, line.owner, n, line.takeovers)
        for n in numbers
    ]


CROWD, LONELY = Line(DEAD, "crowd", 0), Line(DEAD, "lonely", 0)


def in_gaps(gaps: list[Gap], owners: list[str]) -> list[str]:
    lines = [Line(owner, "a", 0) for owner in owners]
    return [
        line.owner
        for after, below in gaps
        for line in lines
        if line > after and (line.owner < below or line.owner == after.owner)
    ]


def test_living_owners_are_passed_over() -> None:
    """V3: what they drive is in no gap, and everything else is in one."""
    owners = ["", "n-0", "n-1", "n-2", "n-3", "n-4", "n-5"]
    assert in_gaps(others({"n-3", "n-1"}), owners) == ["", "n-0", "n-2", "n-4", "n-5"]
    assert in_gaps(others(()), owners) == owners


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("n-0", ["n-2", "n-4"]),
        ("n-1", ["n-2", "n-4"]),
        ("n-2", ["n-4"]),
        ("n-4", []),
    ],
)
def test_a_sweep_goes_on_behind_the_last_line(after: str, expected: list[str]) -> None:
    """V3: also where that line's owner has come back to life meanwhile."""
    owners = ["n-0", "n-1", "n-2", "n-3", "n-4"]
    gaps = others({"n-1", "n-3"}, Line(after, "a", 0))
    assert in_gaps(gaps, owners) == expected


def test_gaps_begin_and_end_where_lines_can_stand() -> None:
    """V3: before the very first one, and behind all that an owner may have."""
    first, last = Line("", "", -1), "\x7f"
    assert others(()) == [Gap(first, last)]
    assert others({"n-1"}) == [Gap(first, "n-1"), Gap(Line("n-1", last, 0), last)]
    here = Line("n-1", "a", 7)
    assert others({"n-1"}, here) == [
        Gap(here, "n-1"),
        Gap(Line("n-1", last, 0), last),
    ]
    assert here.end == Line("n-1", last, 0)


def test_own_lines_are_those_of_one_owner() -> None:
    """From the first one, or behind another."""
    assert own(ME) == [Gap(Line(ME, "", -1), ME)]
    assert own(ME, Line(ME, "a", 1)) == [Gap(Line(ME, "a", 1), ME)]


def test_a_walk_rests_in_proportion_and_never_long() -> None:
    """V1, F20: twenty times what its beginning took, half a minute at most."""
    assert [rest_ms(look_ms) for look_ms in (0, 7, 1_499)] == [0, 140, 29_980]
    assert [rest_ms(look_ms) for look_ms in (1_500, 1_501, 99_999)] == [30_000] * 3


def test_every_line_has_its_turn_on_the_first_page() -> None:
    """V3: a crowd does not hold up the only one of another namespace."""
    turns = Turns([CROWD, LONELY])
    page = turns.next_page(500)
    assert page == [Ask(CROWD, None, 0, 250), Ask(LONELY, None, 0, 250)]
    turns.listed([*standing(CROWD, *range(250)), *standing(LONELY, 7)], {})
    assert not turns.are_over
    assert turns.next_page(500) == [Ask(CROWD, Place(249, "g-249"), 0, 500)]
    turns.listed(standing(CROWD, 250), {})
    assert turns.are_over
    assert turns.next_page(500) == []


def test_lines_that_do_not_fit_a_page_wait_for_the_next_one() -> None:
    """V3: those that have had a turn stand behind them."""
    lines = [Line(DEAD, f"ns-{n:03}", 0) for n in range(LINES_PER_PAGE + 1)]
    turns = Turns(lines)
    first = turns.next_page(LINES_PER_PAGE)
    assert [ask.line for ask in first] == lines[:-1]
    assert {ask.limit for ask in first} == {1}
    turns.listed(standing(lines[0], 5), {})
    assert [ask.line for ask in turns.next_page(9)] == [lines[-1], lines[0]]


def test_a_page_of_one_row_asks_one_line() -> None:
    """However many wait: a share is never nothing."""
    assert Turns([CROWD, LONELY]).next_page(1) == [Ask(CROWD, None, 0, 1)]


@pytest.mark.parametrize(("lost", "skip"), [(0, 0), (1, 0), (2, 900), (4, 900)])
def test_who_lost_a_page_goes_on_at_a_distance(lost: int, skip: int) -> None:
    """L3: else two nodes meet again at every page; what is skipped is the other's."""
    turns = Turns([CROWD], behind=900)
    turns.next_page(4)
    turns.listed(standing(CROWD, 0, 1, 2, 3), {CROWD: lost})
    assert turns.next_page(4) == [Ask(CROWD, Place(3, "g-3"), skip, 4)]


@pytest.mark.parametrize(
    ("limit", "lost", "skip"), [(2, 0, 0), (2, 1, 900), (6, 2, 0), (6, 3, 900)]
)
def test_half_a_page_is_too_much_to_lose(limit: int, lost: int, skip: int) -> None:
    """L3: what others took of less than that, is no reason to leave rows to them."""
    turns = Turns([CROWD], behind=900)
    turns.next_page(limit)
    turns.listed(standing(CROWD, *range(limit)), {CROWD: lost} if lost else {})
    (ask,) = turns.next_page(limit)
    assert ask.skip == skip


def test_nothing_is_left_to_others_unless_that_is_asked_for() -> None:
    """A node that sweeps its own lines meets nobody there."""
    turns = Turns([CROWD])
    turns.next_page(1)
    turns.listed(standing(CROWD, 0), {CROWD: 1})
    assert turns.next_page(1) == [Ask(CROWD, Place(0, "g-0"), 0, 1)]


def test_a_page_counts_once() -> None:
    """And nothing has been listed before anything was asked for."""
    turns = Turns([CROWD])
    turns.listed(standing(CROWD, 0), {})
    turns.next_page(1)
    for _ in range(2):
        turns.listed(standing(CROWD, 0), {})
    assert len(turns.next_page(9)) == 1


def test_each_living_node_has_a_distance_of_its_own() -> None:
    """A node that is not listed yet has one as well."""
    assert [distance(me, {"a", "b"}, 500) for me in ("a", "b", "c")] == [0, 500, 1000]


def test_namespaces_take_turns_whoever_owned_what() -> None:
    """V3: a namespace with many dead owners is not served first."""
    lines = [Line(f"n-{n}", "crowd", 0) for n in range(9)] + [LONELY]
    order = in_turn(lines, ME)
    assert sorted(order) == sorted(lines)
    assert LONELY in order[:2]


def test_nodes_begin_at_different_lines() -> None:
    """L3: and each of them always in the same order."""
    lines = [Line(DEAD, f"ns-{n}", 0) for n in range(9)]
    orders = {tuple(in_turn(lines, f"n-{n}")) for n in range(9)}
    assert len(orders) == 9
    assert in_turn(lines, ME) == in_turn(reversed(lines), ME)


def test_suspects_of_all_lines_take_turns() -> None:
    """V3, V6: the oldest first, and the only one of a line soon."""
    rows = [*standing(CROWD, 1, 2, 3), *standing(LONELY, 9)]
    assert [row.due_at for row in interleaved(rows)] == [1, 9, 2, 3]


def test_of_what_is_equally_far_back_the_longest_due_comes_first() -> None:
    """V3: whatever the lines are called; and the order is always the same."""
    assert interleaved([*standing(CROWD, 9), *standing(LONELY, 1)]) == [
        *standing(LONELY, 1),
        *standing(CROWD, 9),
    ]
    assert interleaved([*standing(LONELY, 5), *standing(CROWD, 5)]) == [
        *standing(CROWD, 5),
        *standing(LONELY, 5),
    ]


def test_a_sweep_is_bounded() -> None:
    """V3: in lines, and in lines a page; each of them costs a statement."""
    assert (LINES_MAX, LINES_PER_PAGE) == (64, 16)


def test_what_is_left_claims_nothing() -> None:
    """A verdict says what to store only where something is stored."""
    assert Verdict(standing(CROWD, 1)[0], take=False, reason=Reason.NOT_DUE) == Verdict(
        standing(CROWD, 1)[0], take=False, reason=Reason.NOT_DUE, takeovers=0
    )


@pytest.mark.parametrize(
    ("owner", "takeovers", "expected"),
    [
        (DEAD, 0, False),
        (DEAD, 1, True),
        (DEAD, OWNERS_LOST_MAX - 1, False),
        ("n-left", 1, False),
        ("n-left", OWNERS_LOST_MAX - 1, True),
        (NOBODY, OWNERS_LOST_MAX - 1, True),
    ],
)
def test_a_line_of_suspects_is_told_beforehand(
    owner: str, takeovers: int, *, expected: bool
) -> None:
    """V6: as the plan will judge its rows."""
    line = Line(owner, "default", takeovers)
    assert may_be_suspect(line, {DEAD}) is expected
    (row,) = standing(line, NOW)
    assert line_of(row) == line
    assert verdict_on(owner=owner, takeovers=takeovers).is_suspect is expected


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


def test_what_is_quarantined_is_claimed_when_its_hold_is_over() -> None:
    """V6: nobody's, by itself; one death more makes it quarantined again."""
    held = {"owner": NOBODY, "takeovers": OWNERS_LOST_MAX - 1}
    assert verdict_on(**held, due_at=NOW + 1).reason == "NOT_DUE"
    trial = verdict_on(**held)
    assert (trial.take, trial.is_suspect) == (True, True)
    assert verdict_on(takeovers=trial.takeovers).reason == "QUARANTINED"


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


@pytest.mark.parametrize(
    ("reason", "takeovers", "expected"),
    [
        (Reason.OWNER_DEAD, 2, True),
        (Reason.OWNER_DEAD, 1, False),
        (Reason.OWNER_GONE, 2, True),
        (Reason.OWNER_GONE, 1, False),
        (Reason.FORGOTTEN_HERE, 2, False),
    ],
)
def test_what_may_have_killed_its_owner_is_claimed_by_itself(
    reason: Reason, takeovers: int, *, expected: bool
) -> None:
    """V6: so that what was claimed with it is not blamed for the next death."""
    row = SweepRow(Key("default", "g"), 1, DEAD, NOW)

    assert Verdict(row, True, reason, takeovers).is_suspect is expected


@pytest.mark.parametrize(
    ("stored", "due_at", "since"),
    [
        (5, 7, 5),
        (5, 9, 5),
        (7, 7, 7),
        (5, 10, 10),
        (8, 7, 7),
        (None, 7, 7),
        (5, None, None),
        (None, None, None),
    ],
)
def test_what_is_due_and_stays_so_keeps_its_place(stored, due_at, since) -> None:
    """Not what waits meanwhile, nor what comes to be due earlier (V3)."""
    assert due_since(stored, due_at, now=9) == since
