"""T7: on InnoDB, which shows others what is not durable yet, nobody is told of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from coordinator.ports import StoredDefinition, TransactionFilter
from coordinator.storage.sql.store import SqlStore, open_store
from tests.servers import MariaDB
from tests.servers.syncs import can_fail, held_syncs
from tests.storage.conftest import empty_tables
from tests.storage.samples import NOW, began, key

pytestmark = pytest.mark.skipif(
    not can_fail(), reason="holding a server's syncs needs root and strace"
)

WAITING = (
    "SELECT count(*) FROM information_schema.processlist"
    " WHERE command = 'Query' AND time_ms > 300"
)
"""Statements that stand still; the server's own statistics may hold up others than a
COMMIT, for they wait for the log as well."""
SAGA = StoredDefinition("default", "transfer", "1", "5f" * 32, "name: transfer", NOW)

Call = Callable[[SqlStore], Awaitable[object]]


@pytest.fixture
async def two(mariadb: MariaDB) -> AsyncIterator[tuple[SqlStore, SqlStore]]:
    """Nodes over one database."""
    url = empty_tables(mariadb)
    stores = [await open_store(url) for _ in range(2)]
    yield stores[0], stores[1]
    for store in stores:
        await store.close()


async def number(server: MariaDB, query: str) -> int:
    """What the query counts."""
    rows = await asyncio.to_thread(server.run, query, database="tercet_current")
    return int(rows[0][0])


def begin(store: SqlStore) -> Awaitable[object]:
    return store.commit([began(1)])


def publish(store: SqlStore) -> Awaitable[object]:
    return store.publish(SAGA)


def load(store: SqlStore) -> Awaitable[object]:
    return store.load([key(1)])


def find(store: SqlStore) -> Awaitable[object]:
    return store.list_transactions(TransactionFilter("default"))


def journal(store: SqlStore) -> Awaitable[object]:
    return store.journal(key(1))


@pytest.mark.parametrize(
    ("write", "table", "ask"),
    [
        (begin, "global_transactions", load),
        (begin, "global_transactions", find),
        (begin, "global_transactions", journal),
        (publish, "definitions", publish),
    ],
)
async def test_what_others_see_before_it_is_durable_is_not_told(
    two: tuple[SqlStore, SqlStore],
    mariadb: MariaDB,
    tmp_path: Path,
    write: Call,
    table: str,
    ask: Call,
) -> None:
    """T7: a crash would take it back, and whoever was told, was told wrong."""
    writer, reader = two
    with held_syncs(tmp_path / "trace", *mariadb.pids()):
        written = asyncio.ensure_future(write(writer))
        while not await number(mariadb, f"SELECT count(*) FROM {table}"):
            pass  # it asks the server
        answer = asyncio.ensure_future(ask(reader))
        while not answer.done() and await number(mariadb, WAITING) < 2:
            pass
        assert not answer.done()
    await written
    assert await answer


async def test_the_trace_of_a_read_is_never_seen(
    two: tuple[SqlStore, SqlStore], mariadb: MariaDB
) -> None:
    """It would be a node that does not exist."""
    store, _ = two
    await begin(store)
    assert await load(store)
    assert await number(mariadb, "SELECT count(*) FROM nodes") == 0
