"""Three loans: one is paid out, one is refused first, one last."""

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from examples.fleet import Fleet
from examples.loan_saga import DEFINITION
from examples.loan_saga.service import AMOUNT_MAX, BLOCKED_PREFIX
from participant_sdk import Client, connect

SERVICES = ("risk", "treasury", "ledger", "payout")
OPERATIONS = ("risk.check", "treasury.reserve", "ledger.post", "payout.transfer")


async def disburse(tercet: Client, loan_id: str, beneficiary: str, cents: int) -> None:
    """Ask for one loan and wait for its end."""
    terms = {"loanId": loan_id, "beneficiary": beneficiary, "amount": cents}
    result = await tercet.saga("disburse-loan", terms, gid=loan_id).wait()
    print(f"{loan_id}: {cents} cents to {beneficiary}: {result.status}")


async def run(fleet: Fleet) -> None:
    """Start everybody, publish the saga and ask for three loans."""
    fleet.start_coordinator()
    for service in SERVICES:
        fleet.start_participant("examples.loan_saga.service", service)
    await fleet.ready(OPERATIONS)
    async with connect(fleet.target) as tercet:
        await tercet.publish_saga(DEFINITION.read_text())
        await disburse(tercet, "loan-1", "alice", 90_000)
        await disburse(tercet, "loan-2", "bob", AMOUNT_MAX + 1)
        await disburse(tercet, "loan-3", f"{BLOCKED_PREFIX}eve", 70_000)


def main() -> None:
    """Run in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="loan-saga-") as directory:
        with Fleet(Path(directory)) as fleet:
            asyncio.run(run(fleet))
        for service in SERVICES:
            with closing(sqlite3.connect(fleet.database(service))) as database:
                query = "SELECT phase, count(*) FROM effects GROUP BY phase"
                effects = dict(database.execute(query).fetchall())
            print(f"{service}: {effects}")


if __name__ == "__main__":
    main()
