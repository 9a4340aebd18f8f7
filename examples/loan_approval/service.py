"""Treasury, compliance, rails and mail; one process is enough here."""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from examples.stage import serve
from participant_sdk import Context, Participant, Refused

FUND = 100_000


@dataclass(frozen=True, slots=True)
class Loan:
    """What is asked for; a check needs no amount."""

    loanId: str  # noqa: N815 - JSON of a saga is camelCase
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Approval:
    """What somebody said."""

    approved: bool
    by: str


@dataclass(frozen=True, slots=True)
class Letter:
    """What the customer is told."""

    text: str


def build(engine: Engine) -> list[Participant]:
    """All four of them, on one database."""
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE IF NOT EXISTS fund (available INTEGER, held INTEGER)")
        )
        connection.execute(
            text(
                "INSERT INTO fund SELECT :fund, 0 WHERE NOT EXISTS (SELECT 1 FROM fund)"
            ),
            {"fund": FUND},
        )
    return [_treasury(engine), _compliance(engine), _rails(engine), _mail(engine)]


def _treasury(engine: Engine) -> Participant:
    treasury = Participant("treasury", database=engine)

    @treasury.tcc("funds")
    def reserve(ctx: Context, loan: Loan) -> None:
        held = ctx.connection.execute(
            text(
                "UPDATE fund SET available = available - :n, held = held + :n"
                " WHERE available >= :n"
            ),
            {"n": loan.amount},
        )
        if not held.rowcount:
            raise Refused("OUT_OF_FUNDS", "the fund is used up")

    @reserve.confirm
    def spend(ctx: Context, loan: Loan, _: None) -> None:
        ctx.connection.execute(
            text("UPDATE fund SET held = held - :n"), {"n": loan.amount}
        )

    @reserve.cancel
    def release(ctx: Context, loan: Loan, _: None) -> None:
        ctx.connection.execute(
            text("UPDATE fund SET available = available + :n, held = held - :n"),
            {"n": loan.amount},
        )

    return treasury


def _compliance(engine: Engine) -> Participant:
    compliance = Participant("compliance", database=engine)

    @compliance.action("check")
    def check(_ctx: Context, loan: Loan) -> None:
        if loan.loanId.startswith("sanctioned"):
            raise Refused("SANCTIONED", "on a list")

    @compliance.action("accept")
    def accept(_ctx: Context, approval: Approval) -> None:
        if not approval.approved:
            raise Refused("NOT_APPROVED", f"{approval.by} said no")

    return compliance


def _rails(engine: Engine) -> Participant:
    rails = Participant("rails", database=engine)

    @rails.action("transfer")
    def transfer(_ctx: Context, loan: Loan) -> dict[str, str]:
        return {"transferId": f"transfer-{loan.loanId}"}

    return rails


def _mail(engine: Engine) -> Participant:
    mail = Participant("mail", database=engine)

    @mail.action("send")
    def send(_ctx: Context, _letter: Letter) -> None:
        raise Refused("NO_ADDRESS", "nobody knows where this customer lives")

    return mail


if __name__ == "__main__":
    serve(build)
