"""What clients ask for, drawn from a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.cast import BANKS

ACCOUNTS_PER_BANK = 50
OPENING = 1_000_000
"""Cents on each account: 200 of them, over four banks."""

AMOUNT_MAX = 500
REFUSED_PART = 0.05
ABORTED_PART = 0.05
KINDS = {"tcc": 0.5, "saga": 0.3, "nested": 0.2}
RELAYING_BANK = "bank-3"
"""Its debit begins the credit itself, inside its try: the nested kind."""

CLOSED = "closed"
"""An account that no bank has."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Cents from an account of one bank to an account of another one.

    Attributes:
        is_aborted: the client changes its mind before it decides.
        is_signed: a saga's last step is refused without.
    """

    gid: str
    kind: str
    source: str
    payer: str
    target: str
    payee: str
    amount: int
    is_aborted: bool = False
    is_signed: bool = True


def account_name(number: int) -> str:
    """``a-007``."""
    return f"a-{number:03d}"


def draw(dice: random.Random, prefix: str) -> Iterator[Transfer]:
    """Transfers without end, their gids beginning with ``prefix``."""
    number = 0
    while True:
        number += 1
        yield _draw_one(dice, f"{prefix}-{number:05d}")


def _draw_one(dice: random.Random, gid: str) -> Transfer:
    (kind,) = dice.choices(list(KINDS), list(KINDS.values()))
    source = RELAYING_BANK if kind == "nested" else dice.choice(BANKS)
    target = dice.choice([bank for bank in BANKS if bank != source])
    payer, payee = (account_name(dice.randrange(ACCOUNTS_PER_BANK)) for _ in range(2))
    amount = dice.randint(1, AMOUNT_MAX)
    is_signed = True
    luck = dice.random()
    if luck < REFUSED_PART:
        match dice.randrange(3):
            case 0:
                amount += OPENING * ACCOUNTS_PER_BANK * len(BANKS)
            case 1 if kind == "saga":
                is_signed = False
            case _:
                payee = CLOSED
    is_aborted = REFUSED_PART <= luck < REFUSED_PART + ABORTED_PART
    return Transfer(
        f"{kind}-{gid}",
        kind,
        source,
        payer,
        target,
        payee,
        amount,
        is_aborted=is_aborted,
        is_signed=is_signed,
    )
