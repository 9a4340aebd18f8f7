"""A client that dies: it leaves transactions open, some tried, none decided.

Run as ``python -m examples.demo.crash_client TARGET HISTORY NUMBER PER_BANK``.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from examples.demo.history import History
from examples.demo.workload import Transfer, draw_transfer
from participant_sdk import Client, connect

OPEN_COUNT = 4
TRIED_COUNT = 2
"""So many of the open ones have surely been tried when it dies."""

DEADLINE_SECONDS = 5


async def die(target: str, history: History, transfers: list[Transfer]) -> None:
    """Open all transfers and end the process without a word to anybody."""
    tried = asyncio.Semaphore(0)
    async with connect(target) as tercet, asyncio.TaskGroup() as group:
        for transfer in transfers:
            history.note(transfer.gid, asked_commit=False)
            group.create_task(leave_open(tercet, transfer, tried))
        for _ in range(TRIED_COUNT):
            await tried.acquire()
        os._exit(1)


async def leave_open(
    tercet: Client, transfer: Transfer, tried: asyncio.Semaphore
) -> None:
    """Try both branches, and wait for ever."""
    deadline = DEADLINE_SECONDS
    async with tercet.tcc("transfer", deadline=deadline, gid=transfer.gid) as tx:
        await tx.call(f"{transfer.source}.debit", transfer.debit)
        await tx.call(f"{transfer.target}.credit", transfer.credit)
        tried.release()
        await asyncio.Event().wait()


def main(target: str, history: str, number: str, per_bank: str) -> None:
    """Crash as client ``number``."""
    dice = random.Random(int(number))
    transfers = [
        draw_transfer(dice, f"crash-{number}-{n}", int(per_bank), is_refused=False)
        for n in range(OPEN_COUNT)
    ]
    with History(Path(history)) as open_history:
        asyncio.run(die(target, open_history, transfers))


if __name__ == "__main__":
    main(*sys.argv[1:])
