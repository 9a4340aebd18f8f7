"""A participant with money on an async engine."""

from collections import Counter
from pathlib import Path

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from participant_sdk import Participant, Refused
from participant_sdk.aio import AsyncContext, create_barrier_table
from participant_sdk.executor.executor import Executor
from tests.sdk.bank import SCHEMA, Debit, Hold


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    available: Mapped[int]
    frozen: Mapped[int]


class AsyncBank:
    """One account; the try works with the session, the others with the connection.

    ``before`` is awaited by every handler last: a test makes it raise or wait.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.called: Counter[str] = Counter()
        self.participant = Participant("bank", database=engine)
        self._declare()

    async def before(self, ctx: AsyncContext) -> None:
        """A test replaces it."""

    async def create(self) -> None:
        """Create the tables, unless they are there."""
        await create_barrier_table(self.engine)
        async with self.engine.begin() as connection:
            for statement in SCHEMA:
                await connection.execute(text(statement))

    def executor(self) -> Executor:
        """A new one, as after a restart."""
        return Executor(self.participant._registry, self.engine)

    async def money(self) -> tuple[int, int]:
        """Available and frozen."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT available, frozen FROM account")
            )
            return tuple(rows.one())

    async def effects(self, gid: str) -> list[str]:
        """The phases that took effect for a branch, in order."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT phase FROM effect WHERE gid = :g ORDER BY rowid"),
                {"g": gid},
            )
            return list(rows.scalars())

    async def rows(self, gid: str) -> list[tuple[int, str, str]]:
        """What the barrier recorded for a branch."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                text(
                    "SELECT slot, phase, outcome FROM tercet_barrier "
                    "WHERE gid = :g ORDER BY slot"
                ),
                {"g": gid},
            )
            return [tuple(row) for row in rows]

    async def _log(self, ctx: AsyncContext) -> None:
        self.called[ctx.phase] += 1
        await ctx.connection.execute(
            text("INSERT INTO effect VALUES (:g, :p)"),
            {"g": ctx.gid, "p": ctx.phase.value},
        )
        await self.before(ctx)

    def _declare(self) -> None:
        bank = self.participant

        @bank.tcc("debit")
        async def debit(ctx: AsyncContext, request: Debit) -> Hold:
            query = select(Account).where(Account.id == 1)
            account = (await ctx.session.scalars(query)).one()
            account.available -= request.amount
            account.frozen += request.amount
            await self._log(ctx)
            if request.amount > 50:
                raise Refused("TOO_MUCH", "more than 50")
            return Hold(request.amount)

        @debit.confirm
        async def _(ctx: AsyncContext, request: Debit, hold: Hold) -> None:
            await ctx.connection.execute(
                update(Account).values(frozen=Account.frozen - hold.frozen)
            )
            await self._log(ctx)

        @debit.cancel
        async def _(ctx: AsyncContext, request: Debit, hold: Hold) -> None:
            await ctx.connection.execute(
                update(Account).values(
                    frozen=Account.frozen - hold.frozen,
                    available=Account.available + hold.frozen,
                )
            )
            await self._log(ctx)


async def open_async_bank(path: Path) -> AsyncBank:
    """A bank in a file."""
    bank = AsyncBank(create_async_engine(f"sqlite+aiosqlite:///{path}"))
    await bank.create()
    return bank
