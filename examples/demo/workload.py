"""What the demo asks for, and when it kills whom: drawn from a seed, nothing else."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from examples.demo.audit import BANKS, SERVICES
from examples.loan_saga.service import AMOUNT_MAX, BLOCKED_PREFIX
from examples.transfer_tcc.bank import Move
from examples.transfer_tcc.schema import (
    CLOSED_COUNT,
    OPENING_CENTS,
    account_name,
    closed_accounts,
)

TRANSFER_CENTS_MAX = 5_000
COORDINATOR_SPAN = (0.25, 0.60)
"""Parts of the work after which the coordinator is killed first and last."""

PARTICIPANT_SPAN = (0.45, 0.80)
CLIENT_SPAN = (0.10, 0.90)
CLIENT = "client"
"""The victim of a blow that is no process yet: a client begins, only to die."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the person at the keyboard wants."""

    transfers: int
    loans: int
    accounts: int
    refusals: float
    client_crashes: int
    coordinator_kills: int
    participant_kills: int
    in_flight: int
    seed: int
    timeout_seconds: float

    @property
    def with_kills(self) -> bool:
        """Whether anything is killed at all."""
        return self.coordinator_kills + self.participant_kills > 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money from one bank to the other."""

    gid: str
    source: str
    debit: Move
    target: str
    credit: Move


@dataclass(frozen=True, slots=True)
class Loan:
    """Money to somebody outside."""

    gid: str
    input: dict[str, object]


@dataclass(frozen=True, slots=True)
class Blow:
    """Something bad that happens when a part of the work is done."""

    at: float
    victim: str


def draw_transfers(options: Options) -> Iterator[Transfer]:
    """All transfers; a part of them, evenly spread, will be refused."""
    dice = random.Random(options.seed)
    per_bank = options.accounts // len(BANKS)
    for number in range(options.transfers):
        yield draw_transfer(
            dice,
            f"transfer-{number:06d}",
            per_bank,
            is_refused=is_marked(number, options.refusals),
        )


def draw_transfer(
    dice: random.Random, gid: str, per_bank: int, *, is_refused: bool
) -> Transfer:
    """One transfer between open accounts, or one that some bank has to refuse."""
    source, target = dice.sample(BANKS, 2)
    open_count = per_bank - CLOSED_COUNT
    payer = account_name(dice.randrange(open_count))
    payee = account_name(dice.randrange(open_count))
    amount = dice.randint(1, TRANSFER_CENTS_MAX)
    if is_refused:
        match dice.randrange(3):
            case 0:
                amount += OPENING_CENTS * per_bank * len(BANKS)
            case 1:
                payer = dice.choice(closed_accounts(per_bank))
            case _:
                payee = dice.choice(closed_accounts(per_bank))
    return Transfer(gid, source, Move(payer, amount), target, Move(payee, amount))


def draw_loans(options: Options) -> Iterator[Loan]:
    """All loans; half of the refused ones are refused by risk, half by payout."""
    dice = random.Random(options.seed + 1)
    for number in range(options.loans):
        amount = dice.randint(1_000, AMOUNT_MAX // 10)
        beneficiary = f"customer-{number:04d}"
        if is_marked(number, options.refusals):
            if dice.random() < 0.5:
                amount += AMOUNT_MAX
            else:
                beneficiary = BLOCKED_PREFIX + beneficiary
        gid = f"loan-{number:05d}"
        terms = {"loanId": gid, "beneficiary": beneficiary, "amount": amount}
        yield Loan(gid, dict(terms))


def is_marked(number: int, part: float) -> bool:
    """Whether ``number`` is among the evenly spread ``part`` of all numbers."""
    return int((number + 1) * part) > int(number * part)


def plan_blows(options: Options) -> list[Blow]:
    """Who is killed and which clients crash, in order of the work done by then."""
    dice = random.Random(options.seed + 2)
    blows = [
        Blow(at, "coordinator")
        for at in spread(COORDINATOR_SPAN, options.coordinator_kills)
    ]
    blows += [
        Blow(at, dice.choice((*BANKS, *SERVICES)))
        for at in spread(PARTICIPANT_SPAN, options.participant_kills)
    ]
    span = CLIENT_SPAN
    if not options.with_kills:  # the transfers come first then, and are measured
        span = (options.transfers / (options.transfers + options.loans), 1.0)
    blows += [Blow(at, CLIENT) for at in spread(span, options.client_crashes)]
    return sorted(blows, key=lambda blow: blow.at)


def spread(span: tuple[float, float], count: int) -> list[float]:
    """``count`` points from the first of ``span`` to the last, evenly."""
    first, last = span
    return [first + (last - first) * n / max(1, count - 1) for n in range(count)]
