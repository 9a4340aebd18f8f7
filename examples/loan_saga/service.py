"""The four services; each process is one of them.

Run it as ``python -m examples.loan_saga.service treasury --database t.sqlite``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import (
    BindParameter,
    Engine,
    Table,
    bindparam,
    create_engine,
    insert,
    select,
    update,
)

from examples.loan_saga import schema
from examples.loan_saga.schema import (
    assessments,
    entries,
    funds,
    reservations,
    transfers,
)
from participant_sdk import Context, Participant, Refused, create_barrier_table

AMOUNT_MAX = 5_000_000
"""Cents; the risk service refuses a larger loan."""

BLOCKED_PREFIX = "blocked-"
"""The payout service sends nothing to a beneficiary whose name begins like this."""

ACTION = "ACTION"
COMPENSATION = "COMPENSATION"

_CENTS: BindParameter[int] = bindparam("cents")
RESERVE = (
    update(funds)
    .where(funds.c.available >= _CENTS)
    .values(available=funds.c.available - _CENTS, reserved=funds.c.reserved + _CENTS)
)
RELEASE = update(funds).values(
    available=funds.c.available + _CENTS, reserved=funds.c.reserved - _CENTS
)


@dataclass(frozen=True, slots=True)
class Loan:
    """What the services are told of a loan."""

    loanId: str  # noqa: N815 - JSON of a saga is camelCase
    amount: int
    beneficiary: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money put aside."""

    reservationId: int  # noqa: N815 - as above


@dataclass(frozen=True, slots=True)
class Entry:
    """A line in the books."""

    entryId: int  # noqa: N815 - as above


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money on its way to the beneficiary."""

    transferId: int  # noqa: N815 - as above


def build_risk(engine: Engine) -> Participant:
    """Looks at the amount and says yes or no."""
    risk = Participant("risk", database=engine)

    @risk.action("check")
    def check(ctx: Context, loan: Loan) -> None:
        if loan.amount > AMOUNT_MAX:
            raise Refused("TOO_RISKY", f"at most {AMOUNT_MAX} cents")
        record(ctx, assessments, loan.loanId, loan.amount, phase=ACTION)

    return risk


def build_treasury(engine: Engine) -> Participant:
    """Puts money aside, and gives it back."""
    treasury = Participant("treasury", database=engine)

    @treasury.action("reserve")
    def reserve(ctx: Context, loan: Loan) -> Reservation:
        if ctx.connection.execute(RESERVE, {"cents": loan.amount}).rowcount != 1:
            raise Refused("OUT_OF_FUNDS", "the fund is used up")
        return Reservation(
            record(ctx, reservations, loan.loanId, loan.amount, phase=ACTION)
        )

    @treasury.action("release")
    def release(ctx: Context, loan: Loan) -> None:
        # The compensation is a call of the same branch: its reservation is known.
        is_ours = (reservations.c.gid == ctx.gid) & (
            reservations.c.branch_id == ctx.branch_id
        )
        ctx.connection.execute(
            update(reservations).where(is_ours).values(phase=COMPENSATION)
        )
        ctx.connection.execute(RELEASE, {"cents": loan.amount})

    return treasury


def build_ledger(engine: Engine) -> Participant:
    """Writes lines; never changes one: a reversal is a line of its own."""
    ledger = Participant("ledger", database=engine)

    @ledger.action("post")
    def post(ctx: Context, loan: Loan) -> Entry:
        return Entry(record(ctx, entries, loan.loanId, loan.amount, phase=ACTION))

    @ledger.action("reverse")
    def reverse(ctx: Context, entry: Entry) -> None:
        wanted = select(entries).where(entries.c.entry_id == entry.entryId)
        posted = ctx.connection.execute(wanted).one()
        record(ctx, entries, posted.loan_id, -posted.amount, phase=COMPENSATION)

    return ledger


def build_payout(engine: Engine) -> Participant:
    """Sends money to the beneficiary; recalls it while that is possible."""
    payout = Participant("payout", database=engine)

    @payout.action("transfer")
    def transfer(ctx: Context, loan: Loan) -> Transfer:
        if loan.beneficiary.startswith(BLOCKED_PREFIX):
            raise Refused("BENEFICIARY_BLOCKED", "the bank of the beneficiary says no")
        return Transfer(record(ctx, transfers, loan.loanId, loan.amount, phase=ACTION))

    @transfer.compensate
    def recall(ctx: Context, _loan: Loan, sent: Transfer) -> None:
        ctx.connection.execute(
            update(transfers)
            .where(transfers.c.transfer_id == sent.transferId)
            .values(phase=COMPENSATION)
        )

    return payout


def record(ctx: Context, table: Table, loan_id: str, amount: int, *, phase: str) -> int:
    """Write down what was done; its number."""
    row = {
        "gid": ctx.gid,
        "branch_id": ctx.branch_id,
        "loan_id": loan_id,
        "amount": amount,
        "phase": phase,
    }
    return int(ctx.connection.execute(insert(table), row).lastrowid)


BUILDERS: Mapping[str, Callable[[Engine], Participant]] = {
    "risk": build_risk,
    "treasury": build_treasury,
    "ledger": build_ledger,
    "payout": build_payout,
}


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BUILDERS)}.")],
    database: Annotated[Path, typer.Option(help="Its SQLite file.")],
    target: Annotated[str, typer.Option(help="The coordinator.")] = "127.0.0.1:7700",
) -> None:
    """Serve one of the four services until it is told to stop."""
    if name not in BUILDERS:
        raise typer.BadParameter(f"NAME must be one of {', '.join(BUILDERS)}")
    engine = create_engine(f"sqlite:///{database}")
    service = BUILDERS[name](engine)
    schema.create_service(name, engine)
    create_barrier_table(engine)
    service.run(target)


if __name__ == "__main__":
    typer.run(main)
