"""Three loans: approved, turned down by a person, sanctioned."""

from contextlib import suppress

from examples.stage import play
from participant_sdk import Client, PreconditionFailed

SAGA = "approved-loan"


async def story(tercet: Client) -> None:
    """Ask for the loans, and say what the person says."""
    for loan_id, amount, approved in (
        ("loan-1", 20_000, True),
        ("loan-2", 30_000, False),
        ("sanctioned-3", 40_000, True),
    ):
        saga = tercet.saga(SAGA, {"loanId": loan_id, "amount": amount}, gid=loan_id)
        await saga.submit()
        with suppress(PreconditionFailed):  # compliance may have been faster
            said = {"approved": approved, "by": "ada"}
            await tercet.signal(loan_id, "approval", said)
        result = await tercet.get(loan_id, wait=True)
        print(f"{loan_id}: {result.status} {result.reason_code}".rstrip())


if __name__ == "__main__":
    play(
        "examples.loan_approval",
        ["loan.yaml"],
        ["treasury.funds", "compliance.check", "rails.transfer", "mail.send"],
        story,
    )
