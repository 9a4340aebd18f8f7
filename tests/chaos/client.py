"""Some clients, as a process: ``python -m tests.chaos.client NAME``.

``CHAOS_NODES`` is where nodes are, ``CHAOS_HISTORY`` the folder for its history,
``CHAOS_SEED`` what its transfers are drawn from, ``CHAOS_START`` how often it was
started before. SIGTERM lets each client finish what it is at; SIGKILL is part of the
play.
"""

import asyncio
import os
import random
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from participant_sdk import (
    Call,
    Client,
    NotFound,
    Overloaded,
    Refused,
    TercetError,
    TransactionCancelled,
    Unavailable,
    connect,
)
from tests.chaos.bank import Move
from tests.chaos.cast import WORKERS_PER_CLIENT, log_to_stderr
from tests.chaos.history import ABSENT, History
from tests.chaos.transfer import Transfer, draw

DEADLINE_SECONDS = 10.0
"""Of a TCC transfer."""

ANSWER_SECONDS_MAX = 8.0
"""After that a client counts the outcome as unknown, and goes on."""

SAGA_SECONDS_MAX = 25.0
"""A bit more than the saga's own timeout."""

CONNECT_SECONDS = 600.0
TRY_SECONDS, TRIES_MAX = 1.5, 2
"""A bank that is away costs one transfer, not everybody's time."""

READ_PART = 0.2
REMEMBERED_MAX = 50


class Worker:
    """One client: one transfer after the other, through one session."""

    def __init__(
        self, client: Client, history: History, transfers: Iterator[Transfer], seed: str
    ) -> None:
        self._client = client
        self._history = history
        self._transfers = transfers
        self._dice = random.Random(f"reads {seed}")
        self._earlier: deque[str] = deque(maxlen=REMEMBERED_MAX)

    async def work(self, stopped: asyncio.Event) -> None:
        """Until it is told to stop."""
        for transfer in self._transfers:
            if stopped.is_set():
                return
            self._history.invoke(transfer)
            await self._ask(transfer)
            self._earlier.append(transfer.gid)
            if self._dice.random() < READ_PART:
                await self._read(self._dice.choice(self._earlier))

    async def _ask(self, transfer: Transfer) -> None:
        note, gid = self._history.note, transfer.gid
        try:
            if transfer.kind == "saga":
                status = await self._saga(transfer)
            else:
                status = await self._tcc(transfer)
        except (Refused, TransactionCancelled) as no:
            note("fail", gid, status="CANCELLED", text=no.reason)
        except (Unavailable, Overloaded, TimeoutError) as nothing:
            note("info", gid, text=str(nothing))
        except TercetError as error:
            note("odd", gid, text=f"{error.reason}: {error}")
        else:
            is_ok = status in ("CONFIRMED", "COMPLETED")
            note("ok" if is_ok else "fail", gid, status=status)

    async def _tcc(self, transfer: Transfer) -> str:
        note, gid = self._history.note, transfer.gid
        async with self._client.tcc("move", deadline=DEADLINE_SECONDS, gid=gid) as tx:
            note("begun", gid)
            await tx.call_all(_tries(transfer))
            note("tried", gid)
            if transfer.is_aborted:
                await tx.cancel("CHANGED_MY_MIND")
                return "CANCELLED"
            note("asking", gid)
        return "CONFIRMED"

    async def _saga(self, transfer: Transfer) -> str:
        note, gid = self._history.note, transfer.gid
        asked = {
            "payer": transfer.payer,
            "payee": transfer.payee,
            "amount": transfer.amount,
            "signed": transfer.is_signed,
        }
        saga = self._client.saga(saga_name(transfer), asked, gid=gid)
        note("asking", gid)
        await saga.submit()
        note("begun", gid)
        async with asyncio.timeout(SAGA_SECONDS_MAX):
            if transfer.is_aborted:
                await self._client.cancel(gid, "CHANGED_MY_MIND")
            return (await saga.wait()).status

    async def _read(self, gid: str) -> None:
        try:
            status = (await self._client.get(gid, with_branches=False)).status
        except NotFound:
            status = ABSENT
        except (Unavailable, Overloaded):
            return
        self._history.note("read", gid, status=status)


def saga_name(transfer: Transfer) -> str:
    """Of the definition that moves money between these banks."""
    return f"move-{transfer.source}-{transfer.target}"


def _tries(transfer: Transfer) -> list[Call]:
    if transfer.kind == "nested":
        move = Move(transfer.payer, transfer.amount, transfer.target, transfer.payee)
        return [_try(f"{transfer.source}.relay", move)]
    return [
        _try(f"{transfer.source}.debit", Move(transfer.payer, transfer.amount)),
        _try(f"{transfer.target}.credit", Move(transfer.payee, transfer.amount)),
    ]


def _try(operation: str, move: Move) -> Call:
    return Call(operation, move, timeout_seconds=TRY_SECONDS, attempt_max=TRIES_MAX)


async def run(name: str) -> None:
    """All clients of this process."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    nodes, start = os.environ["CHAOS_NODES"].split(","), os.environ["CHAOS_START"]
    folder = Path(os.environ["CHAOS_HISTORY"])
    async with AsyncExitStack() as stack:
        history = stack.enter_context(History(folder / f"history-{name}-{start}.jsonl"))
        work = await stack.enter_async_context(asyncio.TaskGroup())
        for number in range(WORKERS_PER_CLIENT):
            seed = f"{os.environ['CHAOS_SEED']} {name} {start} {number}"
            dice = random.Random(seed)
            client = connect(
                dice.sample(nodes, len(nodes)),
                name=name,
                timeout=ANSWER_SECONDS_MAX,
                connect_timeout=CONNECT_SECONDS,
            )
            transfers = draw(dice, f"{name}-{start}-{number}")
            work.create_task(_work(client, history, transfers, seed, stopped))


async def _work(
    client: Client,
    history: History,
    transfers: Iterator[Transfer],
    seed: str,
    stopped: asyncio.Event,
) -> None:
    async with client:
        await Worker(client, history, transfers, seed).work(stopped)


def main(name: str) -> None:
    """Work until SIGTERM."""
    log_to_stderr()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(name))


if __name__ == "__main__":
    main(sys.argv[1])
