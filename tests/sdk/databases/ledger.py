"""One participant for every database and driver, and what tests ask of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from participant_sdk import Context, Participant, Refused
from participant_sdk.aio import AsyncContext
from participant_sdk.barrier import barrier_table
from participant_sdk.executor.executor import Executor
from protos.v1.participant_pb2 import BranchReply
from tests.sdk.bank import OPENING, Debit, Hold, ask, call, told

T = TypeVar("T")

METADATA = MetaData()
BARRIER = barrier_table(METADATA)
ACCOUNT = Table(
    "account",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("available", Integer, nullable=False),
    Column("frozen", Integer, nullable=False),
)
EFFECT = Table(
    "effect",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("gid", String(128), nullable=False),
    Column("phase", String(16), nullable=False),
)

_prepared: set[URL] = set()

Hook = Callable[[Connection, str], Any]


@dataclass
class Seen:
    """All that a branch left."""

    effects: list[str]
    rows: list[tuple[int, str, str]]


class Ledger:
    """One account. ``hook`` is what every handler does last, on a sync connection."""

    def __init__(self, engine: Engine | AsyncEngine) -> None:
        self.engine = engine
        self.called: Counter[str] = Counter()
        self.hook: Hook = lambda _connection, _gid: None
        self.moves_money = True
        self.participant = Participant("bank", database=engine)
        if isinstance(engine, Engine):
            self._declare()
        else:
            self._declare_async()

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database."""
        return self.engine.dialect.name

    def executor(self) -> Executor:
        """A new one, as after a restart."""
        return Executor(self.participant._registry, self.engine)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """In a transaction of its own."""
        if isinstance(self.engine, Engine):
            with self.engine.begin() as connection:
                return work(connection)
        async with self.engine.begin() as connection:
            return await connection.run_sync(work)

    async def prepare(self) -> None:
        """Tables that are there, and nothing in them but an account."""
        url = self.engine.url.set(drivername=self.dialect)

        def empty(connection: Connection) -> None:
            if url not in _prepared:
                METADATA.create_all(connection)
                _prepared.add(url)
            for table in METADATA.sorted_tables:
                connection.execute(delete(table))
            connection.execute(
                insert(ACCOUNT), {"id": 1, "available": OPENING, "frozen": 0}
            )

        await self.run(empty)

    async def close(self) -> None:
        """Give the connections back."""
        if isinstance(self.engine, Engine):
            self.engine.dispose()
        else:
            await self.engine.dispose()

    async def money(self) -> tuple[int, int]:
        """Available and frozen."""
        query = select(ACCOUNT.c.available, ACCOUNT.c.frozen)
        return await self.run(lambda connection: tuple(connection.execute(query).one()))

    async def seen(self, gid: str = "g1") -> Seen:
        """What a branch left."""
        c = BARRIER.c
        effects = select(EFFECT.c.phase).where(EFFECT.c.gid == gid)
        rows = select(c.slot, c.phase, c.outcome).where(c.gid == gid)
        return await self.run(
            lambda connection: Seen(
                list(connection.scalars(effects.order_by(EFFECT.c.number))),
                [tuple(row) for row in connection.execute(rows.order_by(c.slot))],
            )
        )

    def _work(
        self, connection: Connection, gid: str, phase: str, available: int, frozen: int
    ) -> None:
        self.called[phase] += 1
        if self.moves_money:
            connection.execute(
                update(ACCOUNT)
                .where(ACCOUNT.c.id == 1)
                .values(
                    available=ACCOUNT.c.available + available,
                    frozen=ACCOUNT.c.frozen + frozen,
                )
            )
        connection.execute(insert(EFFECT), {"gid": gid, "phase": phase})
        self.hook(connection, gid)

    def _declare(self) -> None:
        @self.participant.tcc("debit")
        def debit(ctx: Context, request: Debit) -> Hold:
            amount = request.amount
            self._work(ctx.connection, ctx.gid, ctx.phase, -amount, amount)
            return _hold(request)

        @debit.confirm
        def _(ctx: Context, request: Debit, hold: Hold) -> None:
            self._work(ctx.connection, ctx.gid, ctx.phase, 0, -hold.frozen)

        @debit.cancel
        def _(ctx: Context, request: Debit, hold: Hold) -> None:
            self._work(ctx.connection, ctx.gid, ctx.phase, hold.frozen, -hold.frozen)

    def _declare_async(self) -> None:
        @self.participant.tcc("debit")
        async def debit(ctx: AsyncContext, request: Debit) -> Hold:
            amount = request.amount
            await self._await(ctx, -amount, amount)
            return _hold(request)

        @debit.confirm
        async def _(ctx: AsyncContext, request: Debit, hold: Hold) -> None:
            await self._await(ctx, 0, -hold.frozen)

        @debit.cancel
        async def _(ctx: AsyncContext, request: Debit, hold: Hold) -> None:
            await self._await(ctx, hold.frozen, -hold.frozen)

    async def _await(self, ctx: AsyncContext, available: int, frozen: int) -> None:
        await ctx.connection.run_sync(
            self._work, ctx.gid, ctx.phase.value, available, frozen
        )


def _hold(request: Debit) -> Hold:
    if request.amount > 50:
        raise Refused("TOO_MUCH", "more than 50")
    return Hold(request.amount)


async def one(executor: Executor, phase: Any, gid: str = "g1", **fields: Any) -> Any:
    """What a single call is told."""
    (reply,) = await ask(executor, call(phase, gid, **fields))
    return told(reply)


def codes(replies: list[BranchReply]) -> set[str]:
    """Of all replies; success has none."""
    return {told(reply)[1] for reply in replies}


NOTHING = Seen([], [])
