"""Handlers that break the barrier's transaction, and databases that give way."""

from contextlib import suppress

import pytest
from sqlalchemy import insert

from participant_sdk import PreconditionFailed, Refused
from participant_sdk.barrier.rules import Phase
from participant_sdk.barrier.sql import BranchKey, SqlBarrier
from participant_sdk.executor.conflict import RUNS_MAX
from participant_sdk.server import LOCK_SECONDS_MAX
from tests.sdk.bank import CANCEL, CONFIRM, OK, OPENING, TRY
from tests.sdk.databases.ledger import ACCOUNT, NOTHING, Ledger, one

LOST = ("failed", "TRANSACTION_LOST")
BROKEN = ("failed", "BARRIER_BROKEN")


def sql(*statements):
    """A handler that carries these out."""

    def hook(connection, _gid):
        for statement in statements:
            connection.exec_driver_sql(statement)

    return hook


def driver_commit(connection, _gid):
    connection.connection.dbapi_connection.commit()


def driver_rollback(connection, _gid):
    connection.connection.dbapi_connection.rollback()


async def is_never_taken_for_done(ledger, executor):
    """The effect may be there, but every later call says that something is wrong."""
    (row,) = (await ledger.seen()).rows
    assert row == (1, "TRY", "RUNNING")
    ledger.hook = sql()
    assert {await one(executor, p) for p in (TRY, CONFIRM, CANCEL)} == {BROKEN}


@pytest.mark.parametrize(
    "end",
    [driver_commit, sql("COMMIT"), sql("COMMIT", "BEGIN")],
    ids=["by the driver", "by SQL", "and a new one"],
)
async def test_a_commit_by_the_handler_is_a_loud_failure(ledger, executor, end):
    """B1, P11: by the driver, by SQL, and with a new transaction begun after it."""
    ledger.hook = end
    assert await one(executor, TRY) == LOST
    await is_never_taken_for_done(ledger, executor)


@pytest.mark.parametrize(
    "end",
    [driver_rollback, sql("ROLLBACK"), sql("ROLLBACK", "BEGIN")],
    ids=["by the driver", "by SQL", "and a new one"],
)
async def test_a_rollback_by_the_handler_leaves_nothing(ledger, executor, end):
    """B1: it is told as a failure, and the next attempt runs."""
    ledger.hook = end
    assert await one(executor, TRY) == LOST
    assert await ledger.seen() == NOTHING
    ledger.hook = sql()
    assert await one(executor, TRY) == OK
    assert await ledger.money() == (OPENING - 10, 10)


@pytest.mark.parametrize("driver", ["pymysql", "asyncmy"], indirect=True)
@pytest.mark.parametrize(
    "end",
    [
        sql("CREATE TABLE made (n INT)", "DROP TABLE made"),
        sql("START TRANSACTION"),
        sql("SET autocommit = 1"),
    ],
    ids=["DDL", "START TRANSACTION", "autocommit"],
)
async def test_an_implicit_commit_is_a_loud_failure(ledger, executor, end):
    """B1, P11: MariaDB commits what was done so far, and the savepoint with it."""
    ledger.hook = end
    assert await one(executor, TRY) == LOST
    await is_never_taken_for_done(ledger, executor)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"], indirect=True)
async def test_ddl_is_part_of_the_transaction_where_it_can_be(ledger, executor):
    """B1: PostgreSQL undoes it with all the rest."""

    def fail_after_ddl(connection, _gid):
        connection.exec_driver_sql("CREATE TABLE made (n INT)")
        raise LookupError

    ledger.hook = fail_after_ddl
    for _ in range(2):
        assert await one(executor, TRY) == ("failed", "HANDLER_ERROR")
    assert await ledger.seen() == NOTHING


async def test_a_nested_transaction_left_open_is_a_failure(ledger, executor):
    """B1: nobody can say whether it was meant to stay; one that is ended is fine."""
    ledger.hook = lambda connection, _: connection.begin_nested()
    assert await one(executor, TRY) == ("failed", "HANDLER_MISUSE")
    assert await ledger.seen() == NOTHING

    def nest(connection, gid):
        with connection.begin_nested():
            connection.execute(insert(ACCOUNT), {"id": 2, "available": 0, "frozen": 0})

    ledger.hook = nest
    assert await one(executor, TRY) == OK


async def test_a_refusal_out_of_a_nested_transaction_undoes_it_too(ledger, executor):
    """B4: the answer is recorded, and nothing else."""

    def refuse(connection, _gid):
        connection.begin_nested()
        connection.execute(insert(ACCOUNT), {"id": 2, "available": 0, "frozen": 0})
        raise Refused("NO")

    ledger.hook = refuse
    for _ in range(2):
        assert await one(executor, TRY) == ("refused", "NO")
    assert ledger.called["TRY"] == 1
    assert await ledger.money() == (OPENING, 0)


async def test_a_swallowed_database_error_undoes_all(ledger, executor):
    """B8: PostgreSQL aborts the transaction, MariaDB would have let it go on."""

    def swallow(connection, _gid):
        with suppress(Exception):
            connection.execute(insert(ACCOUNT), {"id": 1, "available": 0, "frozen": 0})

    ledger.hook = swallow
    assert await one(executor, TRY) == ("failed", "DATABASE_ERROR")
    assert await ledger.seen() == NOTHING


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"], indirect=True)
async def test_an_error_that_only_the_driver_saw_undoes_all(ledger, executor):
    """B8, P11: COMMIT would say nothing, and roll back."""

    def swallow(connection, _gid):
        with suppress(Exception):
            connection.connection.cursor().execute("SELECT nonsense")

    ledger.hook = swallow
    assert await one(executor, TRY) == LOST
    assert await ledger.seen() == NOTHING


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"], indirect=True)
async def test_a_constraint_that_is_checked_at_the_commit_undoes_all(ledger, executor):
    """B1, P11: the answer is "unknown", and the next call finds out."""
    ledger.hook = sql(
        "CREATE TEMP TABLE once (n INT UNIQUE DEFERRABLE INITIALLY DEFERRED)"
        " ON COMMIT DROP",
        "INSERT INTO once VALUES (1), (1)",
    )
    assert await one(executor, TRY) == ("failed", "COMMIT_UNKNOWN")
    assert await ledger.seen() == NOTHING
    ledger.hook = sql()
    assert await one(executor, TRY) == OK


async def test_an_engine_in_autocommit_is_refused(open_engine, ledger):
    """B1: when it is to serve, and, should a connection be so, before each handler."""
    bare = Ledger(open_engine(isolation_level="AUTOCOMMIT"))
    with pytest.raises(PreconditionFailed, match="is in autocommit"):
        await bare.participant.serve("127.0.0.1:1")
    executor = bare.executor()
    assert await one(executor, TRY) == ("failed", "HANDLER_MISUSE")
    await executor.close()
    await bare.close()
    assert not bare.called
    assert await ledger.seen() == NOTHING


# ---- Databases that prefer another transaction ---------------------------------------


def conflict(code):
    """A statement that the server refuses with ``code``."""
    if code.startswith("1"):
        return f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}"
    return f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$"


CONFLICTS = [
    *((driver, c) for driver in ("psycopg", "asyncpg") for c in ("40001", "40P01")),
    *((driver, c) for driver in ("pymysql", "asyncmy") for c in ("1213", "1205")),
    ("asyncpg", "55P03"),
]


@pytest.mark.parametrize("is_swallowed", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize(("driver", "code"), CONFLICTS, indirect=["driver"])
async def test_a_call_that_gave_way_runs_again_as_a_whole(
    ledger, executor, caplog, code, is_swallowed
):
    """B6: with one effect in the end, and no word of it in the log."""

    def give_way_twice(connection, _gid):
        if ledger.called["TRY"] > 2:
            return
        with suppress(*([Exception] if is_swallowed else [])):
            connection.exec_driver_sql(conflict(code))

    ledger.hook = give_way_twice
    assert await one(executor, TRY) == OK
    assert ledger.called["TRY"] == 3
    assert (await ledger.seen()).effects == ["TRY"]
    assert not caplog.records


async def test_a_call_that_always_gives_way_is_asked_again(ledger, executor):
    """B6: after a bounded number of runs it is told by the database's own code."""
    code = "40P01" if ledger.dialect == "postgresql" else "1213"
    ledger.hook = sql(conflict(code))
    assert await one(executor, TRY) == ("failed", "DATABASE_ERROR")
    assert ledger.called["TRY"] == RUNS_MAX
    assert await ledger.seen() == NOTHING


async def test_a_claim_hides_no_other_error(ledger):
    """B6, B7, P8: a name that is too long is neither cut nor taken for a taken key."""

    def claim(connection):
        SqlBarrier(connection.dialect).admit(
            connection.connection.cursor(),
            BranchKey("g1", "1", "x" * 129, Phase.TRY),
            known_done=False,
            now_ms=1,
        )

    with pytest.raises(Exception, match="too long"):
        await ledger.run(claim)


async def test_connections_are_set_up_for_the_barrier(ledger, open_engine):
    """B6: READ COMMITTED unless the engine says otherwise, and a bound on waits."""
    isolation, waits = (
        ("SHOW transaction_isolation", "SHOW lock_timeout")
        if ledger.dialect == "postgresql"
        else ("SELECT @@tx_isolation", "SELECT @@innodb_lock_wait_timeout")
    )
    own = Ledger(open_engine(isolation_level="SERIALIZABLE"))
    levels = [
        await each.run(lambda c: c.exec_driver_sql(isolation).scalar_one())
        for each in (ledger, own)
    ]
    wait = await ledger.run(lambda c: c.exec_driver_sql(waits).scalar_one())
    await own.close()
    assert [level.upper().replace("-", " ") for level in levels] == [
        "READ COMMITTED",
        "SERIALIZABLE",
    ]
    assert int(str(wait).rstrip("s")) == LOCK_SECONDS_MAX
