"""Two accounts at one participant, and who moves money between them without a pause."""

import asyncio
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import create_engine, event, text

from participant_sdk import (
    Client,
    Context,
    Participant,
    PreconditionFailed,
    TransactionCancelled,
    Unavailable,
    create_barrier_table,
)
from participant_sdk.gid import new_gid
from tests.faults.verdict import promise

OPENING = 1_000_000
STANDSTILL_SECONDS_MAX = 90
"""For some transfers; what takes longer will never happen."""

OPERATIONS = ("bank.debit", "bank.credit")


class Bank:
    """Money in flight is in neither account; every effect is written down."""

    def __init__(self, path: Path) -> None:
        self.engine = create_engine(f"sqlite:///{path}")

        @event.listens_for(self.engine, "connect")
        def relax(connection: Any, _entry: object) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")  # it is never the victim

        create_barrier_table(self.engine)
        with self.engine.begin() as connection:
            for statement in (
                "CREATE TABLE account (name TEXT, money INTEGER)",
                "CREATE TABLE effect (gid TEXT, branch TEXT, phase TEXT)",
                f"INSERT INTO account VALUES ('here', {OPENING}), ('there', 0)",
            ):
                connection.execute(text(statement))
        self.participant = Participant("bank", database=self.engine)

        @self.participant.tcc("debit")
        def debit(ctx: Context, request: dict[str, Any]) -> None:
            move(ctx, "here", -1)

        @debit.confirm
        def _(ctx: Context, request: dict[str, Any], output: None) -> None:
            move(ctx, "here", 0)

        @debit.cancel
        def _(ctx: Context, request: dict[str, Any], output: None) -> None:
            move(ctx, "here", 1)

        @self.participant.tcc("credit")
        def credit(ctx: Context, request: dict[str, Any]) -> None:
            move(ctx, "there", 0)

        @credit.confirm
        def _(ctx: Context, request: dict[str, Any], output: None) -> None:
            move(ctx, "there", 1)

        @credit.cancel
        def _(ctx: Context, request: dict[str, Any], output: None) -> None:
            move(ctx, "there", 0)

    def money(self) -> tuple[int, int]:
        """Here and there."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT name, money FROM account"))
            money = {row.name: row.money for row in rows}
        return money["here"], money["there"]

    def repeated(self) -> int:
        """Effects that took place more than once."""
        with self.engine.connect() as connection:
            query = "SELECT gid, branch, phase FROM effect GROUP BY 1, 2, 3"
            found = connection.execute(text(f"{query} HAVING count(*) > 1"))
            return len(found.all())


def move(ctx: Context, account: str, amount: int) -> None:
    """Change an account, and write down on whose behalf."""
    ctx.session.execute(
        text("UPDATE account SET money = money + :amount WHERE name = :name"),
        {"amount": amount, "name": account},
    )
    ctx.session.execute(
        text("INSERT INTO effect VALUES (:gid, :branch, :phase)"),
        {"gid": ctx.gid, "branch": ctx.branch_id, "phase": ctx.phase},
    )


class Work:
    """Transfers, ``workers`` at once, for as long as the block lasts.

    Attributes:
        told: what clients were told, by gid; empty = nothing certain.
        begun_at: when each was begun, in ``time.monotonic()``.
        done_at: when those were done that ended for certain, likewise.
    """

    def __init__(
        self, client: Client, *, workers: int = 4, deadline: float = 60
    ) -> None:
        self._client = client
        self._workers = workers
        self._deadline = deadline
        self._is_over = False
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.told: dict[str, str] = {}
        self.begun_at: dict[str, float] = {}
        self.done_at: list[float] = []

    async def __aenter__(self) -> Self:
        """Begin; at most one transfer a worker is open at a time."""
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._workers)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what is open and begin nothing more; after an error, break off."""
        self._is_over = True
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.wait(self._tasks)

    async def goes_on(self, transfers: int = 20) -> None:
        """Return when so many more are done."""
        goal = len(self.done_at) + transfers
        async with asyncio.timeout(STANDSTILL_SECONDS_MAX):
            await self._until(goal)

    async def _until(self, goal: int) -> None:
        while len(self.done_at) < goal:
            self._moved.clear()
            for task in self._tasks:
                if task.done():
                    task.result()  # what broke a worker off
            await self._moved.wait()

    def begun_since(self, moment: float) -> list[str]:
        """What clients were told of those that were begun later."""
        return [told for g, told in self.told.items() if self.begun_at[g] > moment]

    def longest_pause(self, since: float) -> float:
        """Without any transfer being done."""
        times = [since, *(at for at in self.done_at if at > since)]
        return max((b - a for a, b in pairwise(times)), default=float("inf"))

    async def _run(self) -> None:
        while not self._is_over:
            gid = new_gid()
            self.begun_at[gid] = time.monotonic()
            self.told[gid] = await self._transfer(gid)
            await asyncio.sleep(0)  # an error may have come without any waiting
            if self.told[gid]:
                self.done_at.append(time.monotonic())
                self._moved.set()

    async def _transfer(self, gid: str) -> str:
        try:
            async with self._client.tcc(
                "transfer", gid=gid, deadline=self._deadline
            ) as tx:
                await tx.call("bank.debit", {})
                await tx.call("bank.credit", {})
        except TransactionCancelled:
            return "CANCELLED"
        except (Unavailable, PreconditionFailed):
            return ""  # no answer, or its deadline passed before a try
        return "CONFIRMED"


async def audit(client: Client, bank: Bank, *works: Work) -> dict[str, int]:
    """Wait for every end, and hold all of it against what clients were told."""
    ends = Counter[str]()
    told_all = {gid: told for work in works for gid, told in work.told.items()}
    for gid, told in told_all.items():
        status = (await client.get(gid, wait=True)).status if told else ""
        if not told:
            status = await end_of(client, gid)
        promise(told in ("", status), f"{gid} was told {told}, and it is {status}")
        ends[status] += 1
    here, there = bank.money()
    confirmed = ends["CONFIRMED"]
    promise(bank.repeated() == 0, f"{bank.repeated()} effects took place twice")
    promise(
        (here, there) == (OPENING - confirmed, confirmed),
        f"{confirmed} were confirmed, and the bank has {here} and {there}",
    )
    return {"confirmed": confirmed, "cancelled": ends["CANCELLED"]}


async def end_of(client: Client, gid: str) -> str:
    """How a transaction ended of which the client was told nothing certain."""
    from participant_sdk import NotFound

    try:
        return (await client.get(gid, wait=True)).status
    except NotFound:
        return "never began"
