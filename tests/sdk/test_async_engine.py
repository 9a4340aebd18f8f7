"""Handlers on an ``AsyncEngine``: the barrier's promises, awaited."""

import asyncio
import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from participant_sdk import InvalidRequest, Participant, PreconditionFailed, Refused
from participant_sdk.aio import purge_barrier
from participant_sdk.executor.executor import Executor
from tests.sdk.async_bank import AsyncBank, open_async_bank
from tests.sdk.bank import (
    CANCEL,
    CONFIRM,
    OK,
    OPENING,
    TRY,
    ask,
    call,
    tell,
    told,
)


@pytest.fixture
async def bank(tmp_path):
    """A bank in a file of its own."""
    opened = await open_async_bank(tmp_path / "bank.db")
    yield opened
    await opened.engine.dispose()


@pytest.fixture
async def executor(bank):
    """Runs the bank's handlers, without a coordinator."""
    made = bank.executor()
    yield made
    await made.close()


async def one(executor, *arguments, **fields):
    (reply,) = await ask(executor, call(*arguments, **fields))
    return told(reply)


# ---- The barrier's promises ---------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "money"), [(CONFIRM, (OPENING - 10, 0)), (CANCEL, (OPENING, 0))]
)
async def test_both_sides_take_effect_once(bank, executor, second, money):
    """F-1 to F-3, B1, B4: a duplicate gets the recorded answer, with its output."""
    for _ in range(2):
        (reply,) = await ask(executor, call(TRY))
        assert reply.succeeded.output.data == b'{"frozen":10}'
    assert await bank.money() == (OPENING - 10, 10)
    for _ in range(2):
        assert await one(executor, second) == OK
    assert await bank.money() == money
    assert len(await bank.effects("g1")) == 2


async def test_an_empty_cancel_refuses_the_late_try(bank, executor):
    """F-4, F-5, B2, B3: the tombstone is durable, no handler is called."""
    assert await one(executor, CANCEL) == OK
    restarted = bank.executor()
    for _ in range(2):
        assert await one(restarted, TRY) == ("refused", "BRANCH_CANCELLED")
    await restarted.close()
    assert not bank.called
    assert await bank.rows("g1") == [(1, "CANCEL", "EMPTY")]


async def test_a_confirm_without_a_try_is_loud(bank, executor):
    """F-8, B5: and has no effect."""
    assert await one(executor, CONFIRM) == ("failed", "WRONG_ORDER")
    assert (await bank.rows("g1"), await bank.money()) == ([], (OPENING, 0))


async def test_a_refusal_is_recorded_and_undone(bank, executor):
    """F-7, B4: what the session had changed is gone, the answer stays."""
    for _ in range(2):
        assert await one(executor, TRY, body={"amount": 60}) == ("refused", "TOO_MUCH")
    assert bank.called["TRY"] == 1
    assert await bank.money() == (OPENING, 0)
    assert await bank.rows("g1") == [(1, "TRY", "REFUSED")]


async def test_a_handler_that_raises_leaves_nothing(bank, executor):
    """F-11, B1: neither effect nor row, and the next attempt runs."""

    async def fail(ctx):
        await ctx.session.flush()
        raise LookupError

    bank.before = fail
    assert await one(executor, TRY) == ("failed", "HANDLER_ERROR")
    assert (await bank.effects("g1"), await bank.rows("g1")) == ([], [])
    del bank.before
    assert await one(executor, TRY) == OK
    assert await bank.money() == (OPENING - 10, 10)


async def test_a_swallowed_database_error_undoes_all(bank, executor):
    """B8: also when the session was told of it."""

    async def swallow(ctx):
        with contextlib.suppress(Exception):
            await ctx.connection.execute(text("INSERT INTO nowhere VALUES (1)"))

    bank.before = swallow
    assert await one(executor, TRY) == ("failed", "DATABASE_ERROR")
    assert (await bank.effects("g1"), await bank.rows("g1")) == ([], [])


async def test_a_violated_constraint_can_be_told_as_a_refusal(bank, executor):
    """B8: the handler's own "no" stands, all else is undone."""

    async def refuse(ctx):
        try:
            await ctx.connection.execute(text("UPDATE account SET available = -1"))
        except IntegrityError:
            raise Refused("NO_MONEY") from None

    bank.before = refuse
    for _ in range(2):
        assert await one(executor, TRY) == ("refused", "NO_MONEY")
    assert await bank.money() == (OPENING, 0)
    assert bank.called["TRY"] == 1


async def commit_connection(ctx):
    await ctx.connection.commit()


async def roll_back_connection(ctx):
    await ctx.connection.rollback()


async def commit_session(ctx):
    await ctx.session.commit()


async def close_session(ctx):
    async with ctx.session:
        pass


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (commit_connection, "TRANSACTION_LOST"),
        (roll_back_connection, "TRANSACTION_LOST"),
        (commit_session, "HANDLER_MISUSE"),
        (close_session, "HANDLER_MISUSE"),
    ],
)
async def test_a_handler_cannot_end_the_barriers_transaction(bank, executor, end, code):
    """B1, P11: it is told so, and nothing of it stays."""
    bank.before = end
    assert await one(executor, TRY) == ("failed", code)
    assert (await bank.effects("g1"), await bank.rows("g1")) == ([], [])
    assert await bank.money() == (OPENING, 0)


async def test_a_handler_that_hangs_is_ended_and_undone(bank, executor):
    """Its call fails as TIMEOUT, and SQLite's write lock is free for others."""

    async def hang(ctx):
        if ctx.gid == "g1":
            await asyncio.Event().wait()

    bank.before = hang
    replies = await ask(executor, call(TRY, timeout_ms=200), call(TRY, "other"))
    assert [told(r) for r in replies] == [("failed", "TIMEOUT"), OK]
    assert (await bank.effects("g1"), await bank.rows("g1")) == ([], [])
    assert await bank.money() == (OPENING - 10, 10)


async def test_closing_gives_up_what_runs(bank):
    """F-12, B1: what was not committed is not there, and the next attempt runs."""
    entered = asyncio.Event()

    async def hang(ctx):
        entered.set()
        await asyncio.Event().wait()

    bank.before = hang
    executor = bank.executor()
    executor.submit([call(TRY)], lambda _: None)
    await entered.wait()
    await executor.close()
    assert (await bank.effects("g1"), await bank.rows("g1")) == ([], [])
    del bank.before
    restarted = bank.executor()
    assert await one(restarted, TRY) == OK
    await restarted.close()
    assert await bank.money() == (OPENING - 10, 10)


async def test_a_crash_between_row_and_business_leaves_neither(bank, tmp_path):
    """F-12, B1: the operating system closes the file, as kill -9 would make it."""
    dying = sqlite3.connect(tmp_path / "bank.db", isolation_level=None)
    dying.execute("BEGIN IMMEDIATE")
    dying.execute(
        "INSERT INTO tercet_barrier VALUES "
        "('g1','1',1,'bank.debit','TRY','RUNNING','','','','',0)"
    )
    dying.close()
    executor = bank.executor()
    assert await one(executor, TRY) == OK
    await executor.close()
    assert await bank.effects("g1") == ["TRY"]


@pytest.mark.parametrize(
    ("history", "phases"),
    [
        ([], [TRY] * 3),
        ([], [TRY, CANCEL, TRY]),
        ([TRY], [CONFIRM, CONFIRM, CONFIRM]),
        ([TRY], [CONFIRM, CANCEL, CONFIRM]),
    ],
)
async def test_racing_duplicates_take_effect_once(
    bank, tmp_path, history, phases, patient_sqlite
):
    """F-6, F-14, B6, T5: several processes' engines, started together."""
    rounds = range(5)
    first = bank.executor()
    for number in rounds:
        for phase in history:
            await ask(first, call(phase, f"g{number}"))
    await first.close()
    start = threading.Barrier(len(phases))

    def race(phase):
        async def run():
            engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'bank.db'}")
            executor = AsyncBank(engine).executor()
            replies = []
            for number in rounds:
                await asyncio.to_thread(start.wait)
                replies += await ask(executor, call(phase, f"g{number}"))
            await executor.close()
            await engine.dispose()
            return replies

        return asyncio.run(run())

    with ThreadPoolExecutor(len(phases)) as pool:
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(
            *(loop.run_in_executor(pool, race, phase) for phase in phases)
        )
    codes = {told(reply)[1] for replies in results for reply in replies}
    told_all = tell(phases, results)
    assert codes <= {"", "BRANCH_CANCELLED", "WRONG_ORDER"}, told_all
    effects = [await bank.effects(f"g{number}") for number in rounds]
    for number, each in zip(rounds, effects, strict=True):
        seen = f"{each}, rows {await bank.rows(f'g{number}')}\n{told_all}"
        assert each in ([], ["TRY"], ["TRY", "CONFIRM"], ["TRY", "CANCEL"]), seen
    tried = sum(each == ["TRY"] for each in effects)
    confirmed = sum("CONFIRM" in each for each in effects)
    assert await bank.money() == (OPENING - 10 * (tried + confirmed), 10 * tried)


async def test_many_calls_at_once_are_all_answered(bank, executor):
    """B6: SQLite's one writer takes them in turn."""
    calls = [call(TRY, f"g{n}", body={"amount": 1}) for n in range(40)]
    assert [told(r) for r in await ask(executor, *calls)] == [OK] * 40
    assert await bank.money() == (OPENING - 40, 40)


async def test_a_late_try_of_a_removed_branch_is_refused(bank, executor):
    """F-13, B3: the same retention, awaited."""
    await one(executor, CANCEL)
    async with bank.engine.begin() as connection:
        await connection.execute(text("UPDATE tercet_barrier SET created_at_ms = 1"))
    assert await purge_barrier(bank.engine, batch=1) == 1
    assert await one(executor, TRY) == ("refused", "BRANCH_EXPIRED")
    assert not bank.called


# ---- Declaring and serving ----------------------------------------------------------


def test_a_plain_def_is_refused_where_it_is_declared(tmp_path):
    """It could not await the connection; each of the sides is looked at."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'b.db'}")
    shop = Participant("shop", database=engine)
    with pytest.raises(InvalidRequest, match="write async def"):
        shop.action("send")(lambda ctx, request: None)

    @shop.action("post")
    async def post(ctx, request): ...

    with pytest.raises(InvalidRequest, match="write async def"):
        post.compensate(lambda ctx, request, output: None)


@pytest.mark.parametrize("url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:"])
def test_an_in_memory_database_is_refused(url):
    """Its one connection could not hold several calls' transactions apart."""
    with pytest.raises(InvalidRequest, match="name a file"):
        Participant("shop", database=create_async_engine(url))


def test_what_is_no_engine_is_refused():
    """With its type, not its text: a URL may hold a password."""
    with pytest.raises(InvalidRequest, match="AsyncEngine, got str") as refused:
        Participant("shop", database="sqlite:///secret")
    assert "secret" not in str(refused.value)


async def test_a_database_without_the_table_is_not_served(coordinator, tmp_path):
    """The message says how to create it."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'new.db'}")
    shop = Participant("shop", database=engine)
    with pytest.raises(PreconditionFailed, match="create_barrier_table"):
        await shop.serve(coordinator.target)
    await engine.dispose()


async def test_calls_are_answered_over_the_stream(coordinator, tmp_path):
    """Connections that the application opened earlier are opened anew, safely."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'bank.db'}")
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    bank = AsyncBank(engine)
    await bank.create()
    task = asyncio.create_task(bank.participant.serve(coordinator.target))
    attachment = await coordinator.attached.get()
    replies = await attachment.ask(call(TRY, call_id=1), call(TRY, "g2", call_id=2))
    assert [told(replies[n]) for n in (1, 2)] == [OK, OK]
    bank.participant.stop()
    await task
    async with engine.connect() as connection:
        for name, value in (("journal_mode", "wal"), ("synchronous", 2)):
            row = await connection.execute(text(f"PRAGMA {name}"))
            assert value == row.scalar()
    await engine.dispose()


async def test_a_database_that_is_gone_answers_as_failed(tmp_path):
    """The call is asked again; the participant lives on."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'no' / 'b.db'}")
    executor = Executor(AsyncBank(engine).participant._registry, engine)
    assert await one(executor, TRY) == ("failed", "DATABASE_ERROR")
    (tmp_path / "no").mkdir()
    bank = await open_async_bank(tmp_path / "no" / "b.db")
    assert await one(executor, TRY) == OK
    await executor.close()
    await bank.engine.dispose()
    await engine.dispose()
