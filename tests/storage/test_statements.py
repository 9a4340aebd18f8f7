"""The statements that servers are asked: how many, by which plans, and what becomes of
a commit that is one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event

from coordinator.core.errors import StoreUnavailable
from coordinator.core.sweep import Ask, Line, Place, others
from coordinator.ports import Change
from coordinator.storage.sql.database import Lane
from coordinator.storage.sql.server import ServerDatabase
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.tables import METADATA
from tests.servers import MariaDB, PostgreSQL, Server
from tests.storage.conftest import _CURRENT, empty_tables
from tests.storage.hooks import (
    commit_step_by_step,
    injected,
    server_database,
    when_sent,
    writing,
)
from tests.storage.samples import (
    JSON,
    NOW,
    all_due,
    apart,
    began,
    commit,
    confirmed,
    key,
    move,
    run_to_end,
    stored,
    tried,
)


@pytest.fixture
async def store(server_url: str) -> AsyncIterator[SqlStore]:
    store = await open_store(server_url)
    yield store
    await store.close()


async def test_a_commit_is_a_constant_number_of_statements(
    server: Server, store: SqlStore
) -> None:
    """However many transactions it carries."""
    texts: list[str] = []
    event.listen(
        writing(store),
        "before_cursor_execute",
        lambda _c, _k, statement, *_: texts.append(statement),
    )
    when_sent(server_database(store), before=texts.append)
    counts = []
    for size in (1, 10, 300):
        old = [apart(began(n, "debit")) for n in range(size * 1_000, size * 1_001)]
        await commit(store, *old)
        fresh = range(size * 2_000_000, size * 2_000_001)
        new = [apart(began(number, "debit")) for number in fresh]
        texts.clear()
        await commit(store, *(tried(change.after) for change in old), *new)
        counts.append(len(texts))
    assert counts == ([5, 5, 5] if isinstance(server, MariaDB) else [1, 1, 1])


async def test_batches_find_their_rows_by_the_key(
    server: Server, store: SqlStore
) -> None:
    """Also with statistics that say that the tables are empty, as after a purge."""
    await commit(store, *(apart(began(number, "x", "y")) for number in range(1_000)))
    empty_tables(server)
    tables = ", ".join(table.name for table in METADATA.sorted_tables)
    kind = "TABLE " if isinstance(server, MariaDB) else ""
    server.run(f"ANALYZE {kind}{tables}", database=_CURRENT)
    await run_to_end(store, 1)
    for start in range(0, 6_000, 1_000):
        numbers = range(10 + start, 1_010 + start)
        await commit(store, *(apart(began(number, "x", "y")) for number in numbers))
    plans: list[str] = []

    def explain(
        connection: Connection, _k: Any, text: str, values: Any, *_: Any
    ) -> None:
        if text.startswith("UPDATE"):
            rows = connection.connection.cursor()
            rows.execute(f"EXPLAIN {text}", values)
            plans.append(" ".join(str(row) for row in rows.fetchall()))
            rows.close()

    event.listen(writing(store), "before_cursor_execute", explain)
    olds = [apart(began(10 + n, "x", "y")).after for n in range(500)]
    await commit_step_by_step(store, *(tried(old) for old in olds))
    assert len(plans) == 2
    for plan in plans:
        if isinstance(server, MariaDB):
            assert "eq_ref" in plan
            assert "PRIMARY" in plan
        else:
            assert "_pkey on" in plan
            assert "Tid Scan on" in plan
            assert plan.index("Function Scan") < plan.index("_pkey on")
            assert "Seq Scan" not in plan


async def test_a_plan_that_is_kept_stays_right(postgresql: PostgreSQL) -> None:
    """It is made while the tables are empty, and serves when they are large: rows are
    found by the key's index and by nothing else. So are they by a plan of large tables.
    """
    url = empty_tables(postgresql)
    postgresql.run("VACUUM ANALYZE", database=_CURRENT)
    for first in (0, 10_000):
        before = uses_of_indexes(postgresql)
        store = await open_store(url)
        await run_to_end(store, first)
        for start in range(first + 1_000, first + 7_000, 1_000):
            numbers = range(start, start + 1_000)
            await commit(store, *(apart(began(n, "x", "y")) for n in numbers))
        olds = [apart(began(first + 1_000 + n, "x", "y")).after for n in range(500)]
        await commit(store, *(tried(old) for old in olds))
        rows = await all_due(store)
        assert len(await store.claim(rows, owner="node-2")) == len(rows) > 0
        await store.close()
        after = uses_of_indexes(postgresql)
        assert {name for name in after if after[name] != before[name]} == {
            "global_transactions_pkey",
            "branches_pkey",
            "ix_global_transactions_lines",  # by which it is listed what is due
        }


async def test_a_row_keeps_its_page_and_is_not_compressed(
    postgresql: PostgreSQL,
) -> None:
    """So the next version needs no new entries in the indexes, and each costs what
    its bytes cost.
    """
    store = await open_store(empty_tables(postgresql))
    postgresql.run("VACUUM FULL global_transactions", database=_CURRENT)
    changes = [began(number, "debit", "credit") for number in range(2)]
    pages = []
    for some in (changes, [tried(change.after, JSON) for change in changes]):
        await commit(store, *some)
        query = "SELECT gid, (ctid::text::point)[0] FROM global_transactions ORDER BY 1"
        pages.append(postgresql.run(query, database=_CURRENT))
    assert pages[0] == pages[1]
    grown = began(9, *"abcdefgh")
    await commit(store, grown)
    await commit(store, tried(grown.after, JSON))
    query = (
        "SELECT max(pg_column_size(t.*)), count(pg_column_compression(entries)),"
        " count(pg_column_compression(branches)) FROM global_transactions AS t"
    )
    ((size, *compressed),) = postgresql.run(query, database=_CURRENT)
    assert int(str(size)) > 4_096
    assert compressed == [0, 0]
    await store.close()


def uses_of_indexes(server: Server) -> dict[str, int]:
    """By name; a table that was read as a whole is counted under its own."""
    written = "relname IN ('global_transactions', 'branches', 'journal')"
    rows = server.run(
        "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes"
        f" WHERE {written} UNION ALL"
        f" SELECT relname, seq_scan FROM pg_stat_user_tables WHERE {written}",
        database=_CURRENT,
    )
    return {str(name): int(count) for name, count in rows}


async def test_the_sweeper_seeks_its_lines_and_places(
    server: Server, store: SqlStore
) -> None:
    """F20: nothing is walked past or sorted, whatever the statistics are of: empty
    tables, or finished and unfinished rows side by side.
    """
    is_mariadb = isinstance(server, MariaDB)
    look = "ANALYZE TABLE global_transactions" if is_mariadb else "VACUUM ANALYZE"
    server.run(look, database=_CURRENT)
    await commit(store, *(began(number) for number in range(12_000)))
    empty_tables(server)
    server.run(look, database=_CURRENT)
    ended = [finished_at_once(number) for number in range(1_000)]
    await commit(store, *ended)
    await commit(store, *(began(n, due_at=NOW) for n in range(20_000, 20_200)))
    line = Line("node-1", "default", 0)
    plans = explained(store)
    for _ in range(2):
        plans.clear()
        assert await store.lines(others(()), limit=9) == [line]
        for after in (None, Place(NOW, key(20_004).gid)):
            rows = await store.unfinished([Ask(line, after, 0, 5)], due_before=NOW)
            assert len(rows) == 5
        assert len(plans) == 4
        for plan in plans:
            if is_mariadb:
                seeks = [step for step in plan if step[2] == "global_transactions"]
                assert {step[5] for step in seeks} == {
                    "ix_global_transactions_open_lines"
                }
                assert {step[3] for step in seeks} <= {"ref", "range"}
                assert not any("filesort" in str(step[9]) for step in seeks)
            else:
                text = "\n".join(str(step[0]) for step in plan)
                seeks = [row for row in text.splitlines() if " on global" in row]
                assert seeks
                assert all("ix_global_transactions_lines" in row for row in seeks)
                assert text.count("Index Cond: ") == len(seeks)
                assert "Bitmap" not in text
        server.run(look, database=_CURRENT)


def finished_at_once(number: int) -> Change:
    first = began(number, "debit")
    second = tried(first.after)
    third = confirmed(second.after)
    events = (*first.events, *second.events, *third.events)
    return move(None, *events, due_at=None)


def explained(store: SqlStore) -> list[list[Any]]:
    """The plans of what the sweeper lists, as they come."""
    database = store._database
    assert isinstance(database, ServerDatabase)
    plans: list[list[Any]] = []

    def explain(
        connection: Connection, _k: Any, text: str, values: Any, *_: Any
    ) -> None:
        if text.startswith("SELECT"):
            rows = connection.connection.cursor()
            rows.execute(f"EXPLAIN {text}", values)
            plans.append(rows.fetchall())
            rows.close()

    reading = database._reading[Lane.SWEEPER].sync_engine
    event.listen(reading, "before_cursor_execute", explain)
    return plans


# ---- A commit of one statement ------------------------------------------------------


@pytest.mark.parametrize("code", ["40001", "40P01"])
async def test_a_commit_of_one_statement_that_loses_is_run_again(
    postgresql: PostgreSQL, code: str
) -> None:
    """F21: nothing of it was kept."""
    store = await open_store(empty_tables(postgresql))
    left = [injected(postgresql, code)]
    texts: list[str] = []

    def fail(text: str) -> None:
        texts.append(text)
        if left:
            raise left.pop()

    when_sent(server_database(store), before=fail)
    await commit(store, began(1, "debit"))
    assert len(texts) == 2
    assert len(set(texts)) == 1
    assert began(1, "debit").after == await stored(store, key(1))
    await store.close()


@pytest.mark.parametrize("is_kept", [False, True])
async def test_a_connection_lost_in_a_commit_of_one_statement_leaves_it_unknown(
    postgresql: PostgreSQL, is_kept: bool
) -> None:
    """L6: it is not run again, whether it was kept or not; a re-read tells."""
    store = await open_store(empty_tables(postgresql))
    count = 0

    def lose(_text: str) -> None:
        nonlocal count
        count += 1
        raise injected(postgresql, "08006")

    when_sent(server_database(store), **{"after" if is_kept else "before": lose})
    with pytest.raises(StoreUnavailable):
        await store.commit([began(1, "debit")])
    assert count == 1
    found = await store.load([key(1)])
    assert found == ([began(1, "debit").after] if is_kept else [])
    await store.close()


async def test_a_commit_of_one_statement_is_all_or_nothing(
    postgresql: PostgreSQL,
) -> None:
    """L1, L3: one guard that fails, or one key that exists, takes all of it back; then
    it is written step by step, without who lost.
    """
    store = await open_store(empty_tables(postgresql))
    begun = [began(number, "debit") for number in range(3)]
    await commit(store, *begun)
    await commit(store, tried(begun[0].after))
    written: list[str] = []
    when_sent(server_database(store), after=written.append)
    stale, repeated = tried(begun[0].after), began(2, "debit")
    lost = await store.commit([stale, tried(begun[1].after), repeated, began(4)])
    assert sorted(lost) == [key(0), key(2)]
    assert written == []
    assert tried(begun[1].after).after == await stored(store, key(1))
    assert begun[2].after == await stored(store, key(2))
    assert began(4).after == await stored(store, key(4))
    await store.close()


async def test_a_connection_that_was_lost_while_idle_costs_nobody_an_error(
    postgresql: PostgreSQL,
) -> None:
    """F16: nothing was sent on it, so the commit goes out on another one."""
    store = await open_store(empty_tables(postgresql))
    database = server_database(store)
    send, is_lost = database._send, asyncio.Event()

    async def listen(driver: Any, text: str, parameters: Sequence[object]) -> None:
        driver.add_termination_listener(lambda _driver: is_lost.set())
        await send(driver, text, parameters)

    database._send = listen  # type: ignore[method-assign]
    await commit(store, began(1, "debit"))
    postgresql.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'tercet'"
    )
    await is_lost.wait()
    await commit(store, began(2, "debit"))
    assert began(2, "debit").after == await stored(store, key(2))
    await store.close()
