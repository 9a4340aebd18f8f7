"""What is the servers' own: refusals, kills, hangs, deadlocks and plans."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection, event

from coordinator.core.errors import (
    CoordinatorError,
    PreconditionFailed,
    StoreUnavailable,
)
from coordinator.ports import NodeRow
from coordinator.storage.sql.database import Lane
from coordinator.storage.sql.migrate import SchemaState, preview, state, upgrade
from coordinator.storage.sql.server import ServerDatabase
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.tables import METADATA
from coordinator.storage.sql.url import parse_url
from tests.servers import MariaDB, Server
from tests.storage.conftest import _CURRENT, empty_tables
from tests.storage.hooks import (
    commit_step_by_step,
    injected,
    server_database,
    when_sent,
    writing,
)
from tests.storage.samples import (
    all_due,
    apart,
    began,
    commit,
    key,
    stored,
    tried,
)

BACK_SECONDS_MAX = 3
"""From "the database serves" to "the store serves" (F16)."""


@pytest.fixture
async def store(server_url: str) -> AsyncIterator[SqlStore]:
    store = await open_store(server_url)
    yield store
    await store.close()


# ---- What is refused, in one line ---------------------------------------------------


async def refusal(url: str) -> CoordinatorError:
    with pytest.raises(CoordinatorError) as caught:
        await open_store(url)
    assert caught.value.__context__ is None
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    return caught.value


async def test_a_wrong_password_is_named(server: Server) -> None:
    """Not repeated, of course."""
    said = await refusal(server.url(_CURRENT, password="s3cret-but-wrong"))
    assert "user and password" in str(said)
    with pytest.raises(PreconditionFailed, match="user and password"):
        state(server.url(_CURRENT, password="s3cret-but-wrong"))


async def test_a_missing_database_is_named(server: Server) -> None:
    """And that it has to be created."""
    assert "no such database" in str(await refusal(server.url("nowhere")))


async def test_an_unreachable_server_is_named(server: Server) -> None:
    """By host and port, and as something to try again."""
    url = server.url(_CURRENT).replace(f":{server.port}/", ":1/")
    said = await refusal(url)
    assert isinstance(said, StoreUnavailable)
    assert "127.0.0.1:1 cannot be reached" in str(said)


async def test_missing_and_foreign_tables_are_named(server: Server) -> None:
    """With the command that helps."""
    url = server.create("tercet_versions")
    assert "tercet db upgrade" in str(await refusal(url))
    upgrade(url)
    server.run(
        "UPDATE alembic_version SET version_num = '9999'", database="tercet_versions"
    )
    assert "newer" in str(await refusal(url))
    with pytest.raises(PreconditionFailed, match="newer"):
        upgrade(url)


async def test_missing_rights_are_named(server: Server, server_url: str) -> None:
    """By right and table, before anything is served."""
    grants = ["SELECT", "INSERT", "UPDATE"]
    if isinstance(server, MariaDB):
        server.run(
            "CREATE OR REPLACE USER clerk IDENTIFIED BY 's3cret'",
            f"GRANT {', '.join(grants)} ON {_CURRENT}.* TO clerk",
        )
    else:
        server.run(
            "DROP OWNED BY clerk"
            if server.run("SELECT 1 FROM pg_roles WHERE rolname = 'clerk'")
            else "SELECT 1",
            "DROP ROLE IF EXISTS clerk",
            "CREATE ROLE clerk LOGIN PASSWORD 's3cret'",
            f"GRANT {', '.join(grants)} ON ALL TABLES IN SCHEMA public TO clerk",
            database=_CURRENT,
        )
    said = await refusal(server.url(_CURRENT, user="clerk", password="s3cret"))
    assert "lacks DELETE on table" in str(said)


async def test_unsafe_settings_are_refused_by_name_or_accepted(
    server: Server, server_url: str
) -> None:
    """T7: and what was accepted can be seen."""
    name, unsafe, safe = (
        ("innodb_flush_log_at_trx_commit", "2", "1")
        if isinstance(server, MariaDB)
        else ("synchronous_commit", "off", "on")
    )
    change = (
        "SET GLOBAL {} = {}"
        if isinstance(server, MariaDB)
        else f"ALTER DATABASE {_CURRENT} SET {{}} = {{}}"
    )
    server.run(change.format(name, unsafe))
    try:
        assert f"{name}={unsafe}" in str(await refusal(server_url))
        store = await open_store(server_url, accepts_unsafe_settings=True)
        assert [name] == [finding.name for finding in store.unsafe_settings]
        await store.close()
    finally:
        server.run(change.format(name, safe))


# ---- Failures -----------------------------------------------------------------------


@pytest.mark.parametrize("nth", range(1, 6))
async def test_a_statement_that_loses_to_another_is_run_again_with_its_batch(
    server: Server, store: SqlStore, nth: int
) -> None:
    """F21: serialization, deadlock, lock timeout at the n-th statement of a commit."""
    codes = ["1213", "1205"] if isinstance(server, MariaDB) else ["40001", "40P01"]
    old = apart(began(1, "debit"))
    await commit(store, old)
    left = list(codes)
    count = 0

    def fail(*_: object) -> None:
        nonlocal count
        count += 1
        if left and count == nth:
            count = 0
            raise injected(server, left.pop())

    event.listen(writing(store), "before_cursor_execute", fail)
    batch = [tried(old.after), apart(began(2, "debit"))]
    await commit_step_by_step(store, *batch)
    assert left == []
    for change in batch:
        assert change.after == await stored(store, change.key)


async def test_a_commit_that_is_refused_is_run_again_as_a_whole(
    server: Server, store: SqlStore
) -> None:
    """A refusal in favour of another is an outcome, at COMMIT too: nothing was kept."""
    starts: list[object] = []
    event.listen(writing(store), "begin", starts.append)
    dialect = writing(store).dialect
    real = dialect.do_commit

    def refuse(connection: Any) -> None:
        del dialect.do_commit
        connection.rollback()
        raise injected(server, "1213" if isinstance(server, MariaDB) else "40001")

    dialect.do_commit = refuse
    await commit_step_by_step(store, began(1, "debit"))
    assert dialect.do_commit == real
    assert len(starts) == 2
    assert await store.load([key(1)]) == [began(1, "debit").after]


async def test_retries_are_bounded(server: Server, store: SqlStore) -> None:
    """Whoever always loses is told so, and nothing of it is stored."""

    def fail(*_: object) -> None:
        raise injected(server, "1213" if isinstance(server, MariaDB) else "40P01")

    engine = writing(store)
    event.listen(engine, "before_cursor_execute", fail)
    when_sent(server_database(store), before=fail)
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit([began(1)])
    event.remove(engine, "before_cursor_execute", fail)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert await store.load([key(1)]) == []


@pytest.mark.parametrize("kept", [True, False])
async def test_a_connection_lost_during_commit_leaves_the_outcome_unknown(
    server: Server, store: SqlStore, kept: bool
) -> None:
    """L6: it is not run again; a re-read tells."""
    engine = writing(store)
    starts: list[object] = []
    event.listen(engine, "begin", starts.append)
    dialect = engine.dialect
    real = dialect.do_commit
    gone = injected(server, "2013" if isinstance(server, MariaDB) else "08006")

    def lose(connection: Any) -> None:
        if kept:
            real(connection)
        raise gone

    dialect.do_commit = lose
    with pytest.raises(StoreUnavailable):
        await commit_step_by_step(store, began(1, "debit"))
    del dialect.do_commit
    assert len(starts) == 1
    found = await store.load([key(1)])
    assert found == ([began(1, "debit").after] if kept else [])


async def test_two_nodes_that_cross_each_other_both_get_through(
    store: SqlStore, server_url: str
) -> None:
    """Overlapping batches in opposite orders, at once: no deadlock comes out."""
    other = await open_store(server_url)
    old = [began(number, "debit", "credit") for number in range(60)]
    await commit(store, *old)
    moves = [tried(change.after) for change in old]
    outcomes = await asyncio.gather(
        *(store.commit(moves[n : n + 40]) for n in range(0, 20, 5)),
        *(other.commit(moves[n : n + 40][::-1]) for n in range(0, 20, 5)),
    )
    won = sum(40 - len(lost) for lost in outcomes)
    assert won == len({k for n in range(0, 20, 5) for k in range(n, n + 40)})
    await other.close()


async def test_a_long_lock_is_unavailable_and_its_end_is_noticed(
    server: Server, store: SqlStore
) -> None:
    """F19: others' locks end in an answer, and readers wait for nobody."""
    old = began(1, "debit")
    await commit(store, old)
    locked, enough = threading.Event(), threading.Event()

    def hold() -> None:
        async def run() -> None:
            database = ServerDatabase(parse_url(server.url(_CURRENT)))

            def lock(connection: Connection) -> None:
                connection.exec_driver_sql(
                    "SELECT * FROM global_transactions FOR UPDATE"
                )
                locked.set()
                enough.wait(60)
                connection.rollback()

            await database.write(lock)
            await database.close()

        asyncio.run(run())

    holder = threading.Thread(target=hold)
    holder.start()
    await asyncio.to_thread(locked.wait)
    with pytest.raises(StoreUnavailable):
        await store.commit([tried(old.after)])
    assert old.after == await stored(store, key(1))
    assert [NodeRow("n", "", 1)] == await store.beat(NodeRow("n", "", 1))
    enough.set()
    await asyncio.to_thread(holder.join)
    await commit(store, tried(old.after))


async def test_a_heartbeat_never_waits_for_requests(store: SqlStore) -> None:
    """F22: five hundred callers and every connection taken; no beat is missed."""
    asked = [store.commit([began(number, "debit")]) for number in range(500)]
    crowd = asyncio.gather(*asked, return_exceptions=True)
    for number in range(1, 6):
        row = NodeRow("n", "", number)
        assert [row] == await store.beat(row)
    outcomes = await crowd
    told = [o for o in outcomes if not isinstance(o, StoreUnavailable)]
    assert told == [[]] * len(told)


@pytest.mark.parametrize("free", [Lane.HEARTBEAT, Lane.SWEEPER])
async def test_a_lane_never_waits_for_the_slow_queries_of_others(
    server: Server, store: SqlStore, free: Lane
) -> None:
    """F22: every connection of all other lanes is in a statement that does not end."""
    database = store._database
    assert isinstance(database, ServerDatabase)
    await store.beat(NodeRow("n", "", 1))
    slow = "SELECT SLEEP(4)" if isinstance(server, MariaDB) else "SELECT pg_sleep(4)"
    started = asyncio.Semaphore(0)

    def hang(connection: Connection) -> None:
        started.release()
        connection.exec_driver_sql(slow)

    held = [
        asyncio.create_task(run(hang, lane))
        for run, lanes in (
            (database.write, database._writing),
            (database.read, database._reading),
        )
        for lane, engine in lanes.items()
        for _ in range(engine.pool.size())
        if lane is not free
    ]
    for _ in held:
        await started.acquire()
    async with asyncio.timeout(1):
        for number in (2, 3, 4):
            if free is Lane.HEARTBEAT:
                row = NodeRow("n", "", number)
                assert [row] == await store.beat(row)
            else:
                assert await all_due(store) == []
    assert not any(task.done() for task in held)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_a_killed_server_that_comes_back_is_used_again(server: Server) -> None:
    """F16, T7: what was acknowledged is there, within three seconds."""
    url = empty_tables(server)
    store = await open_store(url)
    acknowledged = [began(number, "debit") for number in range(50)]
    await commit(store, *acknowledged)
    server.kill()
    try:
        with pytest.raises(StoreUnavailable):
            await store.commit([began(99)])
    finally:
        server.start()
    async with asyncio.timeout(BACK_SECONDS_MAX):
        await commit(store, *(tried(change.after) for change in acknowledged))
        assert [NodeRow("n", "", 1)] == await store.beat(NodeRow("n", "", 1))
        rows = await all_due(store)
    assert len(rows) == 50
    assert await store.load([key(99)]) == []
    await store.close()


async def test_a_server_that_hangs_is_unavailable(
    server: Server, store: SqlStore
) -> None:
    """F11, F18: a connection that answers nothing ends by the caller's own clock."""
    await commit(store, began(1, "debit"))
    server.freeze()
    try:
        with pytest.raises(StoreUnavailable, match="in time"):
            await store.commit([began(2)])
    finally:
        server.thaw()
    await commit(store, tried(began(1, "debit").after))


# ---- Upgrades -----------------------------------------------------------------------


def test_a_preview_shows_what_runs_and_changes_nothing(server: Server) -> None:
    """Table by table, ending with the version."""
    url = server.create("tercet_preview")
    text = preview(url)
    assert "CREATE TABLE global_transactions" in text
    assert SchemaState.EMPTY is state(url)
    upgrade(url)
    assert SchemaState.CURRENT is state(url)
    assert preview(url) == ""


def columns(server: Server, database: str) -> set[tuple[Any, ...]]:
    where = "table_schema" if isinstance(server, MariaDB) else "table_catalog"
    rows = server.run(
        "SELECT table_name, column_name, is_nullable, data_type, collation_name,"
        " character_maximum_length FROM information_schema.columns"
        f" WHERE {where} = '{database}'",
        database=database,
    )
    names = {table.name for table in METADATA.sorted_tables}
    return {tuple(row) for row in rows if row[0] in names}


def test_migrations_build_what_the_code_declares(server: Server) -> None:
    """Column by column: type, length, collation, whether it may be missing."""
    upgrade(server.create("tercet_migrated"))
    server.create("tercet_declared")

    async def declare() -> None:
        database = ServerDatabase(parse_url(server.url("tercet_declared")))

        def create(connection: Connection) -> None:
            with connection.begin():
                METADATA.create_all(connection)

        await database.write(create)
        await database.close()

    asyncio.run(declare())
    declared = columns(server, "tercet_declared")
    assert len(declared) > 80
    assert declared == columns(server, "tercet_migrated")


def test_upgrades_at_once_are_one(server: Server) -> None:
    """F32: several nodes that start an upgrade; one runs it, the others wait."""
    url = server.create("tercet_crowd")
    results: list[list[str]] = []
    crowd = [
        threading.Thread(target=lambda: results.append(upgrade(url))) for _ in range(3)
    ]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert sorted(map(len, results))[:2] == [0, 0]
    assert max(map(len, results)) > 0
    assert SchemaState.CURRENT is state(url)
