"""One bank: a participant with the operations ``debit`` and ``credit``.

Run it as ``python -m examples.transfer_tcc.bank bank-a --database a.sqlite``.

Money that is about to leave is frozen by the try, taken by the confirm and given
back by the cancel. Money that is about to arrive is only announced by the try.
No handler asks whether it was called before: the barrier does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import (
    BindParameter,
    Engine,
    Update,
    bindparam,
    create_engine,
    insert,
    select,
    update,
)

from examples.transfer_tcc import schema
from examples.transfer_tcc.schema import accounts, holds
from participant_sdk import Context, Participant, Refused, create_barrier_table


@dataclass(frozen=True, slots=True)
class Move:
    """Cents that leave or reach an account."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Hold:
    """What a try answers; confirm and cancel get it back."""

    hold_id: int


_AMOUNT: BindParameter[int] = bindparam("cents")
_ACCOUNT = accounts.c.account == bindparam("name")

FREEZE = (
    update(accounts)
    .where(_ACCOUNT, accounts.c.is_open, accounts.c.available >= _AMOUNT)
    .values(
        available=accounts.c.available - _AMOUNT, frozen=accounts.c.frozen + _AMOUNT
    )
)
TAKE = update(accounts).where(_ACCOUNT).values(frozen=accounts.c.frozen - _AMOUNT)
RELEASE = TAKE.values(available=accounts.c.available + _AMOUNT)
ADD = update(accounts).where(_ACCOUNT).values(available=accounts.c.available + _AMOUNT)
IS_OPEN = select(accounts.c.is_open).where(_ACCOUNT)
OPEN_HOLD = insert(holds)
MOVE_HOLD = (
    update(holds)
    .where(holds.c.hold_id == bindparam("hold"))
    .values(phase=bindparam("next_phase"))
)


def build(name: str, engine: Engine) -> Participant:
    """The participant ``name`` over its own database."""
    bank = Participant(name, database=engine)

    @bank.tcc("debit")
    def debit(ctx: Context, move: Move) -> Hold:
        check_amount(move)
        if not change(ctx, FREEZE, move):
            check_open(ctx, move)
            raise Refused("INSUFFICIENT_FUNDS", f"{move.account} has too little")
        return open_hold(ctx, move, "DEBIT")

    @debit.confirm
    def debit_confirm(ctx: Context, move: Move, hold: Hold) -> None:
        change(ctx, TAKE, move)
        move_hold(ctx, hold, "CONFIRM")

    @debit.cancel
    def debit_cancel(ctx: Context, move: Move, hold: Hold) -> None:
        change(ctx, RELEASE, move)
        move_hold(ctx, hold, "CANCEL")

    @bank.tcc("credit")
    def credit(ctx: Context, move: Move) -> Hold:
        check_amount(move)
        check_open(ctx, move)
        return open_hold(ctx, move, "CREDIT")

    @credit.confirm
    def credit_confirm(ctx: Context, move: Move, hold: Hold) -> None:
        change(ctx, ADD, move)
        move_hold(ctx, hold, "CONFIRM")

    @credit.cancel
    def credit_cancel(ctx: Context, _move: Move, hold: Hold) -> None:
        move_hold(ctx, hold, "CANCEL")

    return bank


def check_amount(move: Move) -> None:
    """Refuse what is no positive number of cents."""
    if move.amount <= 0:
        raise Refused("INVALID_AMOUNT", "amount must be at least 1 cent")


def check_open(ctx: Context, move: Move) -> None:
    """Refuse an account that does not exist or is closed."""
    is_open = ctx.connection.execute(IS_OPEN, {"name": move.account}).scalar()
    if is_open is None:
        raise Refused("NO_SUCH_ACCOUNT", f"there is no account {move.account}")
    if not is_open:
        raise Refused("ACCOUNT_CLOSED", f"{move.account} is closed")


def change(ctx: Context, statement: Update, move: Move) -> bool:
    """Apply ``statement`` to the account; whether it applied."""
    result = ctx.connection.execute(
        statement, {"name": move.account, "cents": move.amount}
    )
    return result.rowcount == 1


def open_hold(ctx: Context, move: Move, direction: str) -> Hold:
    """Record what the try reserved."""
    result = ctx.connection.execute(
        OPEN_HOLD,
        {
            "gid": ctx.gid,
            "branch_id": ctx.branch_id,
            "account": move.account,
            "direction": direction,
            "amount": move.amount,
            "phase": "TRY",
        },
    )
    return Hold(result.lastrowid)


def move_hold(ctx: Context, hold: Hold, phase: str) -> None:
    """Record how the reservation ended."""
    ctx.connection.execute(MOVE_HOLD, {"hold": hold.hold_id, "next_phase": phase})


def main(
    name: Annotated[str, typer.Argument(help="The participant, such as bank-a.")],
    database: Annotated[Path, typer.Option(help="Its SQLite file.")],
    target: Annotated[str, typer.Option(help="The coordinator.")] = "127.0.0.1:7700",
    accounts: Annotated[
        int, typer.Option(min=4, help="Accounts of a new database.")
    ] = schema.ACCOUNT_COUNT,
    opening: Annotated[
        int, typer.Option(min=0, help="Cents on each of them.")
    ] = schema.OPENING_CENTS,
) -> None:
    """Serve one bank until it is told to stop."""
    engine = create_engine(f"sqlite:///{database}")
    bank = build(name, engine)
    schema.create_bank(engine, account_count=accounts, opening_cents=opening)
    create_barrier_table(engine)
    bank.run(target)


if __name__ == "__main__":
    typer.run(main)
