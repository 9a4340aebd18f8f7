"""Calls of one branch that meet in a database server."""

import asyncio
import threading

import pytest
from sqlalchemy import text

from participant_sdk.barrier.rules import Phase
from participant_sdk.barrier.sql import BranchKey, SqlBarrier
from tests.sdk.bank import CANCEL, CONFIRM, OK, OPENING, TRY, ask, call, tell, told
from tests.sdk.databases.ledger import codes, one

ROUNDS = 2

_WAITING = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "mysql": "SELECT variable_value FROM information_schema.global_status"
    " WHERE variable_name = 'innodb_row_lock_current_waits'",
}


async def waiters(ledger, count):
    """Return when so many transactions wait for a lock."""
    query = text(_WAITING[ledger.dialect])

    def waiting():
        with ledger.engine.connect() as connection:
            return int(connection.scalar(query))

    while await asyncio.to_thread(waiting) < count:
        pass


@pytest.mark.parametrize(
    ("history", "phases"),
    [
        ([], [TRY] * 8),
        ([], [CANCEL] * 8),
        ([TRY], [CONFIRM] * 8),
        ([TRY], [CANCEL] * 8),
        ([], [TRY, CANCEL] * 4),
        ([], [CANCEL, TRY] * 4),
        ([TRY], [CONFIRM, CANCEL] * 4),
    ],
)
async def test_racing_duplicates_take_effect_once(ledger, open_engine, history, phases):
    """F-6, F-14, B6, T5: by two processes' pools, with no deadlock to be seen."""
    other = type(ledger)(open_engine())
    executors = ledger.executor(), other.executor()
    results = []
    for number in range(ROUNDS):
        gid = f"g{number}"
        for phase in history:
            await one(executors[0], phase, gid)
        halves = phases[::2], phases[1::2]
        if phases[0] != phases[1]:
            halves = phases[: len(phases) // 2], phases[len(phases) // 2 :]
        both = await asyncio.gather(
            *(
                ask(executor, *(call(phase, gid) for phase in half))
                for executor, half in zip(executors, halves, strict=True)
            )
        )
        results.append([*both[0], *both[1]])
    for executor in executors:
        await executor.close()
    await other.close()
    told_all = tell([TRY] * ROUNDS, results)
    for replies in results:
        assert codes(replies) <= {"", "BRANCH_CANCELLED", "WRONG_ORDER"}, told_all
    tried = confirmed = 0
    for number in range(ROUNDS):
        effects = (await ledger.seen(f"g{number}")).effects
        assert effects in ([], ["TRY"], ["TRY", "CONFIRM"], ["TRY", "CANCEL"]), told_all
        tried += effects == ["TRY"]
        confirmed += "CONFIRM" in effects
    assert await ledger.money() == (OPENING - 10 * (tried + confirmed), 10 * tried)


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"], indirect=True)
async def test_a_cancel_waits_for_the_try_in_flight_and_undoes_it(ledger, executor):
    """F-6, B3, B6: also duplicates of both; nothing stays frozen."""
    is_in, may_go = threading.Event(), threading.Event()

    def hold(_connection, _gid):
        is_in.set()
        may_go.wait()

    ledger.hook = hold
    trying = asyncio.create_task(ask(executor, call(TRY)))
    await asyncio.to_thread(is_in.wait)
    ledger.hook = lambda _connection, _gid: None
    following = asyncio.create_task(ask(executor, *map(call, [CANCEL, CANCEL, TRY])))
    await waiters(ledger, 3)
    may_go.set()
    assert [told(reply) for reply in await trying] == [OK]
    replies = await following
    assert [told(reply) for reply in replies[:2]] == [OK, OK]
    # It met the recorded try, or the cancel that came after it.
    assert told(replies[2]) in (OK, ("refused", "BRANCH_CANCELLED"))
    assert (await ledger.seen()).effects == ["TRY", "CANCEL"]
    assert await ledger.money() == (OPENING, 0)


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"], indirect=True)
async def test_a_try_that_meets_a_cancel_in_flight_is_refused(ledger, executor):
    """F-6, B2, B3: the tombstone counts from the moment it is committed."""
    with ledger.engine.connect() as connection, connection.begin():
        cancel = SqlBarrier(ledger.engine.dialect).admit(
            connection.connection.cursor(),
            BranchKey("g1", "1", "bank.debit", Phase.CANCEL),
            known_done=False,
            now_ms=1,
        )
        assert cancel.slot == 1
        trying = asyncio.create_task(ask(executor, call(TRY), call(TRY)))
        await waiters(ledger, 2)
    replies = await trying
    assert [told(r) for r in replies] == [("refused", "BRANCH_CANCELLED")] * 2
    assert not ledger.called


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"], indirect=True)
@pytest.mark.parametrize(("history", "phase"), [([], TRY), ([TRY], CONFIRM)])
async def test_a_winner_that_is_rolled_back_lets_one_other_in(
    ledger, executor, history, phase
):
    """F-14, B6, P2: those who waited for it do not end each other for good."""
    for earlier in history:
        await one(executor, earlier)
    is_in, may_go = threading.Event(), threading.Event()

    def lose(connection, _gid):
        ledger.hook = lambda _connection, _gid: None
        is_in.set()
        may_go.wait()
        connection.connection.dbapi_connection.rollback()

    ledger.hook = lose
    losing = asyncio.create_task(ask(executor, call(phase)))
    await asyncio.to_thread(is_in.wait)
    others = [call(phase) for _ in range(6)]
    following = asyncio.create_task(ask(executor, *others))
    await waiters(ledger, 6)
    may_go.set()
    (lost,) = await losing
    assert told(lost) == ("failed", "TRANSACTION_LOST")
    assert [told(reply) for reply in await following] == [OK] * 6
    assert len((await ledger.seen()).effects) == len(history) + 1


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"], indirect=True)
async def test_a_deadlock_of_two_handlers_is_not_seen_outside(ledger, executor):
    """B6: the victim runs again as a whole, with one effect in the end."""
    accounts = text("INSERT INTO account VALUES (2, 0, 0), (3, 0, 0)")
    await ledger.run(lambda connection: connection.execute(accounts))
    both, first = threading.Barrier(2), {"g1": 2, "g2": 3}
    runs = []

    def cross(connection, gid):
        runs.append(gid)
        mine = first[gid]
        update = text("UPDATE account SET frozen = frozen + 1 WHERE id = :id")
        connection.execute(update, {"id": mine})
        if len(runs) <= 2:
            both.wait()
        connection.execute(update, {"id": 5 - mine})

    ledger.moves_money = False
    ledger.hook = cross
    replies = await ask(executor, *(call(TRY, gid) for gid in first))
    assert [told(reply) for reply in replies] == [OK, OK]
    assert len(runs) == 3
    query = text("SELECT frozen FROM account WHERE id > 1")
    assert await ledger.run(lambda c: list(c.scalars(query))) == [2, 2]
