"""What the demo asks for is drawn from its seed, and as hard as it was told to be."""

import dataclasses

import pytest

from examples.demo.workload import (
    CLIENT,
    Options,
    draw_loans,
    draw_transfers,
    is_marked,
    plan_blows,
    spread,
)
from examples.loan_saga.service import AMOUNT_MAX, BLOCKED_PREFIX
from examples.transfer_tcc.schema import OPENING_CENTS, closed_accounts

OPTIONS = Options(
    transfers=1_000,
    loans=200,
    accounts=200,
    refusals=0.10,
    client_crashes=5,
    coordinator_kills=2,
    participant_kills=1,
    in_flight=64,
    seed=7,
    timeout_seconds=60,
)
CLOSED = set(closed_accounts(100))


def test_the_same_seed_gives_the_same_work() -> None:
    """A run can be repeated."""
    again = dataclasses.replace(OPTIONS)

    assert list(draw_transfers(OPTIONS)) == list(draw_transfers(again))
    assert list(draw_loans(OPTIONS)) == list(draw_loans(again))
    assert plan_blows(OPTIONS) == plan_blows(again)


def test_the_asked_part_of_the_transfers_is_refused() -> None:
    """By lack of money, by a closed payer, by a closed payee; both ways."""
    transfers = list(draw_transfers(OPTIONS))
    too_large = [t for t in transfers if t.debit.amount > OPENING_CENTS]
    closed_payer = [t for t in transfers if t.debit.account in CLOSED]
    closed_payee = [t for t in transfers if t.credit.account in CLOSED]

    assert len(transfers) == 1_000
    assert len(too_large) + len(closed_payer) + len(closed_payee) == 100
    assert all((too_large, closed_payer, closed_payee))
    assert {(t.source, t.target) for t in transfers} == {
        ("bank-a", "bank-b"),
        ("bank-b", "bank-a"),
    }
    assert all(t.debit.amount == t.credit.amount for t in transfers)
    assert len({t.gid for t in transfers}) == 1_000


def test_the_asked_part_of_the_loans_is_refused() -> None:
    """By risk at the beginning and by payout at the end."""
    loans = [loan.input for loan in draw_loans(OPTIONS)]
    risky = [terms for terms in loans if terms["amount"] > AMOUNT_MAX]
    blocked = [t for t in loans if t["beneficiary"].startswith(BLOCKED_PREFIX)]

    assert len(loans) == 200
    assert len(risky) + len(blocked) == 20
    assert risky
    assert blocked


@pytest.mark.parametrize(("part", "count"), [(0, 0), (0.1, 10), (0.33, 33), (1, 100)])
def test_marks_are_as_many_as_the_part_says(part: float, count: int) -> None:
    """Evenly spread, so a small run has its share too."""
    assert sum(is_marked(n, part) for n in range(100)) == count


def test_the_coordinator_is_killed_while_work_is_going_on() -> None:
    """At a quarter and after more than a half; the participant between them."""
    blows = [b for b in plan_blows(OPTIONS) if b.victim != CLIENT]

    assert [b.at for b in blows] == [0.25, 0.45, 0.60]
    assert [b.victim == "coordinator" for b in blows] == [True, False, True]


def test_without_kills_clients_crash_after_the_measured_transfers() -> None:
    """Nothing disturbs the figure that the run prints."""
    calm = dataclasses.replace(OPTIONS, coordinator_kills=0, participant_kills=0)
    blows = plan_blows(calm)

    assert [b.victim for b in blows] == [CLIENT] * 5
    assert all(b.at >= 1_000 / 1_200 for b in blows)


def test_points_are_spread_evenly() -> None:
    """From the first to the last; one alone is the first."""
    assert spread((0.25, 0.75), 0) == []
    assert spread((0.25, 0.75), 1) == [0.25]
    assert spread((0.25, 0.75), 3) == [0.25, 0.5, 0.75]
