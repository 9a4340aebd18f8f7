"""What the barrier promises, on every database and by every driver."""

import pytest
from sqlalchemy import Engine

from participant_sdk import Refused
from participant_sdk.aio import purge_barrier as purge_async_barrier
from participant_sdk.barrier import purge_barrier
from tests.sdk.bank import CANCEL, CONFIRM, OK, OPENING, TRY, ask, call, told
from tests.sdk.databases.conftest import SERVER_DRIVERS
from tests.sdk.databases.ledger import BARRIER, NOTHING, one

pytestmark = pytest.mark.parametrize(
    "driver", ["pysqlite", "aiosqlite", *SERVER_DRIVERS], indirect=True
)


@pytest.mark.parametrize(
    ("second", "money"), [(CONFIRM, (OPENING - 10, 0)), (CANCEL, (OPENING, 0))]
)
async def test_both_sides_take_effect_once(ledger, executor, second, money):
    """F-1 to F-3, F-7, B1, B4: a duplicate gets the recorded answer and its output."""
    for _ in range(2):
        (reply,) = await ask(executor, call(TRY))
        assert reply.succeeded.output.data == b'{"frozen":10}'
    assert await ledger.money() == (OPENING - 10, 10)
    for _ in range(2):
        assert await one(executor, second) == OK
    assert await ledger.money() == money
    assert len((await ledger.seen()).effects) == 2


async def test_an_empty_cancel_refuses_the_late_try(ledger, executor):
    """F-4, F-5, B2, B3, B4: the tombstone is durable, no handler is called."""
    for _ in range(2):
        assert await one(executor, CANCEL) == OK
    restarted = ledger.executor()
    for _ in range(2):
        assert await one(restarted, TRY) == ("refused", "BRANCH_CANCELLED")
    await restarted.close()
    assert not ledger.called
    assert (await ledger.seen()).rows == [(1, "CANCEL", "EMPTY")]


@pytest.mark.parametrize(
    ("history", "asked"),
    [
        ([], CONFIRM),
        ([TRY, CANCEL], CONFIRM),
        ([CANCEL], CONFIRM),
        ([TRY, CONFIRM], CANCEL),
    ],
)
async def test_the_wrong_order_has_no_effect(ledger, executor, history, asked):
    """F-8, F-9, F-10, B5: it fails, and leaves everything as it was."""
    for phase in history:
        await one(executor, phase)
    before = await ledger.seen(), await ledger.money()
    assert await one(executor, asked) == ("failed", "WRONG_ORDER")
    assert before == (await ledger.seen(), await ledger.money())


async def test_a_refusal_is_recorded_and_undone(ledger, executor):
    """F-7, B4: what the handler changed is gone, its answer stays."""
    for _ in range(2):
        assert await one(executor, TRY, body={"amount": 60}) == ("refused", "TOO_MUCH")
    assert ledger.called["TRY"] == 1
    assert (await ledger.money(), (await ledger.seen()).effects) == ((OPENING, 0), [])
    assert await one(executor, CANCEL) == OK
    assert ledger.called["CANCEL"] == 0


async def test_a_handler_that_raises_leaves_nothing(ledger, executor):
    """F-11, B1: neither effect nor row, and the next attempt runs."""

    def fail(_connection, _gid):
        raise LookupError

    ledger.hook = fail
    assert await one(executor, TRY) == ("failed", "HANDLER_ERROR")
    assert await ledger.seen() == NOTHING
    ledger.hook = lambda _connection, _gid: None
    assert await one(executor, TRY) == OK
    assert await ledger.money() == (OPENING - 10, 10)


async def test_names_are_compared_byte_by_byte(ledger, executor):
    """B7, P8: whatever collation the database has by default."""
    names = ["Gid", "gid", "GID", "gid.", "g" * 128]
    replies = await ask(executor, *(call(TRY, name) for name in names))
    assert [told(reply) for reply in replies] == [OK] * 5
    assert await ledger.money() == (OPENING - 50, 50)


async def test_texts_of_any_alphabet_come_back_as_they_were(ledger, executor):
    """B4: a recorded refusal is told in the words in which it was first told."""
    text_of = "nein, 残高不足 \N{MONEY BAG}"

    def refuse(_connection, _gid):
        raise Refused("NO", text_of)

    ledger.hook = refuse
    for _ in range(2):
        (reply,) = await ask(executor, call(TRY))
        assert reply.refused.message == text_of


async def test_a_row_that_is_gone_is_never_taken_for_settled(ledger, executor):
    """B1: who removes the claim's own row ends in a failure, and is undone."""
    ledger.hook = lambda connection, _: connection.execute(BARRIER.delete())
    assert await one(executor, TRY) == ("failed", "TRANSACTION_LOST")
    assert await ledger.seen() == NOTHING


async def test_old_rows_are_removed_and_late_tries_refused(ledger, executor):
    """F-13, B3: the horizon is raised by each purge, however often one runs."""
    for phase in (TRY, CONFIRM):
        assert await one(executor, phase) == OK
    await ledger.run(lambda c: c.execute(BARRIER.update().values(created_at_ms=1)))
    assert [await purge(ledger.engine) for _ in range(2)] == [1, 0]
    late = await one(executor, TRY, began_at_ms=1)
    assert late == ("refused", "BRANCH_EXPIRED")
    assert (await ledger.seen()).rows == []


async def purge(engine):
    """By the helper that the engine's kind has."""
    if isinstance(engine, Engine):
        return purge_barrier(engine)
    return await purge_async_barrier(engine)
