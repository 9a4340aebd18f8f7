"""Three transfers: one that succeeds, and two that a bank refuses."""

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from examples.fleet import Fleet
from examples.transfer_tcc.bank import Move
from examples.transfer_tcc.schema import ACCOUNT_COUNT, account_name, closed_accounts
from participant_sdk import Client, Refused, connect

BANKS = ("bank-a", "bank-b")
OPERATIONS = [f"{bank}.{name}" for bank in BANKS for name in ("debit", "credit")]


async def transfer(tercet: Client, payer: str, payee: str, cents: int) -> None:
    """Move money from bank-a to bank-b, or leave everything as it was."""
    try:
        async with tercet.tcc("transfer", deadline=30) as tx:
            await tx.call("bank-a.debit", Move(payer, cents))
            await tx.call("bank-b.credit", Move(payee, cents))
    except Refused as no:
        print(f"{cents:>9} cents {payer} -> {payee}: cancelled, {no.code}")
    else:
        print(f"{cents:>9} cents {payer} -> {payee}: confirmed")


async def run(fleet: Fleet) -> None:
    """Start everybody and make three transfers."""
    fleet.start_coordinator()
    for bank in BANKS:
        fleet.start_participant("examples.transfer_tcc.bank", bank)
    await fleet.ready(OPERATIONS)
    alice, bob = account_name(1), account_name(2)
    closed = closed_accounts(ACCOUNT_COUNT)[0]
    async with connect(fleet.target) as tercet:
        await transfer(tercet, alice, bob, 12_300)
        await transfer(tercet, alice, bob, 99_999_999)
        await transfer(tercet, alice, closed, 500)


def main() -> None:
    """Run in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="transfer-tcc-") as directory:
        with Fleet(Path(directory)) as fleet:
            asyncio.run(run(fleet))
        for bank in BANKS:
            with closing(sqlite3.connect(fleet.database(bank))) as database:
                query = "SELECT sum(available), sum(frozen) FROM accounts"
                available, frozen = database.execute(query).fetchone()
            print(f"{bank}: available {available}, frozen {frozen}")


if __name__ == "__main__":
    main()
