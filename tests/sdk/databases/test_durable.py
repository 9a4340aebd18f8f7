"""T7: InnoDB shows others what is not durable yet, and no answer is told so early."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from participant_sdk.barrier.rules import Outcome, Phase, Record, Slot
from participant_sdk.barrier.sql import BranchKey, SqlBarrier
from participant_sdk.executor.executor import Executor
from participant_sdk.executor.outcome import Done
from participant_sdk.executor.outside import OutsideCall
from tests.sdk.bank import OK, OPENING, TRY, ask, call, told
from tests.sdk.databases.conftest import DATABASE, Opener
from tests.sdk.databases.ledger import Ledger
from tests.servers import MariaDB
from tests.servers.syncs import can_fail, held_syncs

pytestmark = pytest.mark.skipif(
    not can_fail(), reason="holding a server's syncs needs root and strace"
)

ANSWERS = "SELECT count(*) FROM tercet_barrier WHERE outcome = 'SUCCEEDED'"
WAITING = (
    "SELECT count(*) FROM information_schema.processlist"
    " WHERE command = 'Query' AND time_ms > 300"
)
"""Statements that stand still; the server's own statistics may hold up others than a
COMMIT, for they wait for the log as well."""
KEY = BranchKey("g1", "1", "debit", Phase.TRY)


async def number(server: MariaDB, query: str) -> int:
    """What the query counts."""
    rows = await asyncio.to_thread(server.run, query, database=DATABASE)
    return int(rows[0][0])


async def told_early(
    first: "asyncio.Future[Any]", second: Any, server: MariaDB
) -> "tuple[bool, asyncio.Future[Any]]":
    """Whether the second attempt is answered while the first one's answer is not."""
    while not await number(server, ANSWERS):
        assert not first.done()
    following = asyncio.ensure_future(second)
    while not following.done() and await number(server, WAITING) < 2:
        pass
    return following.done(), following


@pytest.mark.parametrize("driver", ["pymysql", "asyncmy"], indirect=True)
async def test_an_answer_that_is_not_durable_is_not_repeated(
    ledger: Ledger,
    executor: Executor,
    open_engine: Opener,
    mariadb: MariaDB,
    tmp_path: Path,
) -> None:
    """T7: a crash would take back the try, and its success would stay with a node."""
    other = type(ledger)(open_engine())
    neighbour = other.executor()
    with held_syncs(tmp_path / "trace", *mariadb.pids()):
        first = asyncio.ensure_future(ask(executor, call(TRY)))
        is_early, second = await told_early(first, ask(neighbour, call(TRY)), mariadb)
    assert not is_early
    replies = [*await first, *await second]
    assert [told(reply) for reply in replies] == [OK, OK]
    assert (await ledger.seen()).effects == ["TRY"]
    assert await ledger.money() == (OPENING - 10, 10)
    assert await number(mariadb, "SELECT count(*) FROM tercet_barrier") == 1
    await neighbour.close()
    await other.close()


@pytest.mark.parametrize("driver", ["pymysql"], indirect=True)
async def test_nor_is_one_of_a_call_that_worked_outside(
    ledger: Ledger, mariadb: MariaDB, tmp_path: Path
) -> None:
    """T7: the attempt that comes second finds the answer of the first, and tells it."""
    engine = ledger.engine
    assert isinstance(engine, Engine)
    barrier = SqlBarrier(engine.dialect)

    def intend(cursor: Any) -> None:
        barrier.admit(cursor, KEY, known_done=False, now_ms=1, transactional=False)

    def answer(cursor: Any) -> None:
        record = Record(Phase.TRY, Outcome.SUCCEEDED)
        barrier.settle(cursor, KEY, Slot.FORWARD, record)

    def tell(cursor: Any) -> None:
        own: Any = SimpleNamespace(barrier=barrier, cursor=cursor)
        job: Any = SimpleNamespace(key=KEY)
        assert isinstance(OutsideCall(job).record(own, Done()), Done)

    def run(work: Any) -> None:
        with engine.connect() as connection, connection.begin():
            work(connection.connection.cursor())

    run(intend)
    with held_syncs(tmp_path / "trace", *mariadb.pids()):
        first = asyncio.ensure_future(asyncio.to_thread(run, answer))
        is_early, second = await told_early(
            first, asyncio.to_thread(run, tell), mariadb
        )
    assert not is_early
    await asyncio.gather(first, second)
