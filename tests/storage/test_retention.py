"""What the port Retention promises, of all stores; and how the SQL ones find rows."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, event

from coordinator.core.errors import InvariantViolated
from coordinator.core.model import GlobalTransaction, Key
from coordinator.core.retention import OldRow
from coordinator.ports import AuditEntry, History
from coordinator.storage.sql.database import Lane
from coordinator.storage.sql.server import ServerDatabase
from coordinator.storage.sql.sqlite import SqliteDatabase
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.tables import METADATA
from tests.servers import Server
from tests.storage.conftest import _CURRENT, AnyStore, Stores, empty_tables
from tests.storage.samples import (
    NOW,
    apart,
    began,
    commit,
    confirmed,
    key,
    run_to_end,
    saga_began,
    stored,
    tried,
)

LATER = NOW + 1_000_000
PLAYS_OTHERS = True


def row_of(tx: GlobalTransaction) -> OldRow:
    """What a walk says of it."""
    return OldRow(
        tx.key,
        tx.revision,
        tx.request.created_at,
        tx.finished_at,
        tx.attention_since,
        tx.request.depth,
        1 + tx.branches_apart * len(tx.branches) + tx.journal_seq,
    )


async def walked(store: AnyStore, before: int, limit: int) -> list[OldRow]:
    """All pages of a walk, each of them full but the last."""
    found: list[OldRow] = []
    after = None
    while True:
        page = await store.old(created_before=before, after=after, limit=limit)
        found += page
        if len(page) < limit:
            return found
        after = page[-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_a_walk_meets_all_that_is_old_once(store: AnyStore, limit: int) -> None:
    """The oldest first within a namespace, finished or not, and nothing younger."""
    changes = [
        began(Key("default", "c"), "x", created_at=NOW + 1),
        began(Key("default", "b"), created_at=NOW + 2),
        apart(began(Key("default", "a"), "x", "y", created_at=NOW + 2)),
        began(Key("default", "young"), created_at=NOW + 9),
        began(Key("other", "0"), created_at=NOW),
    ]
    await commit(store, *changes)
    end = await run_to_end(store, 1)
    found = await walked(store, NOW + 9, limit)
    assert found == [
        row_of(tx)
        for tx in (
            end,
            changes[0].after,
            changes[2].after,
            changes[1].after,
            changes[4].after,
        )
    ]


async def test_what_is_removed_is_gone_with_all_that_belongs_to_it(
    store: AnyStore,
) -> None:
    """Header, branches and journal; the neighbours and the audit stay whole."""
    ended = [await run_to_end(store, number) for number in range(4)]
    entry = AuditEntry("ann", "RETRY_TRANSACTION", "because", NOW)
    await commit(store, replace(began(9, "debit"), audit=entry))
    gone = [row_of(tx) for tx in ended[:3]]
    assert await store.remove(gone) == []
    assert await store.load([tx.key for tx in ended]) == [ended[3]]
    assert [await store.journal(tx.key) for tx in ended[:3]] == [[], [], []]
    assert len(await store.journal(ended[3].key)) == 3
    assert [record.key for record in await store.audit_trail()] == [key(9)]
    assert (await stored(store, key(9))).branches.keys() == {"debit"}


async def test_a_removed_key_is_free_and_nothing_of_before_clings_to_it(
    store: AnyStore,
) -> None:
    """No branch and no journal entry of the transaction that was there."""
    assert await store.remove([row_of(await run_to_end(store, 1))]) == []
    again = began(1, "debit")
    await commit(store, again)
    assert await stored(store, key(1)) == again.after
    assert len(await store.journal(key(1))) == 1


async def test_two_who_remove_the_same_do_no_harm(stores: Stores) -> None:
    """Whoever is second learns which were gone, and removes the rest."""
    one, two = await stores.open(), await stores.open()
    rows = [row_of(await run_to_end(one, number)) for number in range(3)]
    assert await one.remove(rows[:2]) == []
    assert await two.remove(rows) == [key(0), key(1)]
    assert await two.load([key(n) for n in range(3)]) == []


async def test_only_what_is_as_it_was_read_is_removed(store: AnyStore) -> None:
    """L1: a row with another revision keeps its branches and its journal."""
    end = await run_to_end(store, 1)
    other = await run_to_end(store, 2)
    older = replace(row_of(end), revision=end.revision - 1)
    assert await store.remove([older, row_of(other)]) == [end.key]
    assert await store.load([end.key, other.key]) == [end]
    assert len(await store.journal(end.key)) == 3


async def test_what_is_unfinished_is_refused(store: AnyStore) -> None:
    """A bug of who asks, and nothing is removed."""
    end = row_of(await run_to_end(store, 1))
    change = saga_began(2)
    await commit(store, change)
    with pytest.raises(InvariantViolated):
        await store.remove([end, row_of(change.after)])
    assert len(await store.load([key(1), key(2)])) == 2


async def test_a_history_is_all_that_is_stored(store: AnyStore) -> None:
    """The transaction as it is loaded, and its journal as people read it."""
    ended = [await run_to_end(store, number) for number in (1, 2)]
    found = await store.histories([key(2), key(7), key(1)])
    assert sorted(found, key=lambda history: history.transaction.key) == [
        History(tx, tuple(await store.journal(tx.key))) for tx in ended
    ]
    assert await store.histories([]) == []
    assert await store.remove([]) == []


# ---- Plans --------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        return request.getfixturevalue("url")
    server: Server = request.getfixturevalue(request.param)
    return empty_tables(server)


def engines(store: SqlStore) -> list[Any]:
    """Those that retention's statements go through."""
    database = store._database
    if isinstance(database, SqliteDatabase):
        return [database._reading, database._writing]
    assert isinstance(database, ServerDatabase)
    lanes = (database._reading, database._writing)
    return [lane[Lane.RETENTION].sync_engine for lane in lanes]


async def test_walks_and_removals_go_by_indexes(
    database_url: str, request: pytest.FixtureRequest
) -> None:
    """A page along the index of the newest, a removal by the key; also with statistics
    that say that the tables are empty.
    """
    if "sqlite" not in database_url:
        kind = "mariadb" if "mysql" in database_url else "postgresql"
        names = ", ".join(table.name for table in METADATA.sorted_tables)
        request.getfixturevalue(kind).run(
            f"ANALYZE {'TABLE ' if kind == 'mariadb' else ''}{names}",
            database=_CURRENT,
        )
    store = await open_store(database_url)
    firsts = [began(n, "debit") for n in range(500)]
    seconds = [tried(change.after) for change in firsts]
    thirds = [confirmed(change.after) for change in seconds]
    for changes in (firsts, seconds, thirds):
        await commit(store, *changes)
    plans: list[str] = []

    def explain(
        connection: Connection, _k: Any, text: str, values: Any, *_: Any
    ) -> None:
        if text.startswith(("SELECT", "DELETE")):
            how = (
                "EXPLAIN QUERY PLAN"
                if connection.dialect.name == "sqlite"
                else "EXPLAIN"
            )
            rows = connection.connection.cursor()
            one = values[0] if isinstance(values, list) else values
            rows.execute(f"{how} {text}", one)
            plans.append(" ".join(str(row) for row in rows.fetchall()))
            rows.close()

    for engine in engines(store):
        event.listen(engine, "before_cursor_execute", explain)
    page = await store.old(created_before=LATER, after=None, limit=100)
    page = await store.old(created_before=LATER, after=page[-1], limit=100)
    assert [row.key for row in page] == [key(n) for n in range(100, 200)]
    assert await store.remove(page) == []
    await store.close()
    newest = "ix_global_transactions_newest"
    used = f"'{newest}', '{newest}'" if "mysql" in database_url else newest
    assert len([plan for plan in plans if used in plan]) >= 2
    for plan in plans:
        if "postgresql" in database_url:
            assert "Seq Scan" not in plan
            assert "Sort" not in plan
        elif "mysql" in database_url:
            assert plan.count("'ALL'") == plan.count("(1, 'SIMPLE', 'v', 'ALL'")
            assert "filesort" not in plan
        else:
            assert "SCAN " not in plan
            assert "TEMP B-TREE" not in plan
    removals = plans[-3:]
    if "postgresql" in database_url:
        assert all("_pkey on" in plan and "Tid Scan" in plan for plan in removals)
        assert all("Index Cond" in plan and "old_gid" in plan for plan in removals)
    elif "mysql" in database_url:
        assert all("PRIMARY" in plan for plan in removals)
