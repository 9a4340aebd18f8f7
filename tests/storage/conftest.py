"""All stores behind one fixture, with what a restart and a neighbour need."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import event

from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.flavour import Flavour
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.server import ServerDatabase, create_server_engine
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.tables import METADATA
from coordinator.storage.sql.url import parse_url
from tests.servers import Server
from tests.storage.hooks import when_sent

AnyStore = MemoryStore | SqlStore

_STORES = ("memory", "sqlite", "postgresql", "postgresql serializable", "mariadb")
_OTHERS = ("postgresql as cockroachdb", "mariadb as tidb")
ELSEWHERE = os.environ.get("TERCET_TEST_DATABASE", "")
"""URL of a database on which the contract is played instead; what is in it is lost."""

_CURRENT = "tercet_current"
_prepared: set[Server] = set()


@dataclass
class Stores:
    """Opens handles on the same data, as nodes and restarts do."""

    open: Callable[[], Awaitable[AnyStore]]


def empty_tables(server: Server) -> str:
    """A database with the tables of today and nothing in them; its URL.

    It is made once and then emptied, which is quicker and no less true.
    """
    if server not in _prepared:
        upgrade(server.create(_CURRENT))
        _prepared.add(server)
    else:
        names = [table.name for table in METADATA.sorted_tables]
        server.run(*(f"DELETE FROM {name}" for name in names), database=_CURRENT)
    return server.url(_CURRENT)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file with tables."""
    url = f"sqlite:///{tmp_path / 'tercet.db'}"
    upgrade(url)
    return url


@pytest.fixture
def server(database_server: Server) -> Server:
    """Each server."""
    return database_server


@pytest.fixture
def server_url(server: Server) -> str:
    """A server's database with tables."""
    return empty_tables(server)


def open_serializable(url: str, flavour: Flavour) -> SqlStore:
    """PostgreSQL at SERIALIZABLE, with one statement in 23 losing to another's."""
    database = ServerDatabase(parse_url(url), flavour=flavour, isolation="SERIALIZABLE")
    numbers = count(1)

    def lose_some(*_: object) -> None:
        if next(numbers) % 23 == 0:
            raise asyncpg.SerializationError

    for engine in database._writing.values():
        event.listen(engine.sync_engine, "before_cursor_execute", lose_some)
    when_sent(database, before=lose_some)
    return SqlStore(database)


async def empty_elsewhere(url: str) -> str:
    """A database that is named for tests, with tables and nothing in them."""
    where = parse_url(url)
    assert "test" in str(where.server.database), "the database is not named for tests"
    await asyncio.to_thread(upgrade, url)
    engine = create_server_engine(where, size=1, isolation="AUTOCOMMIT")
    async with engine.connect() as connection:
        for table in METADATA.sorted_tables:
            await connection.exec_driver_sql(f"DELETE FROM {table.name}")
    await engine.dispose()
    return url


async def open_sql(url: str, how: str) -> SqlStore:
    """As what is there, or as if it were another one."""
    match how:
        case "serializable":
            return open_serializable(url, Flavour.POSTGRESQL)
        case "as cockroachdb":  # which is serializable unless it is told otherwise
            return open_serializable(url, Flavour.COCKROACHDB)
        case "as tidb":
            return SqlStore(ServerDatabase(parse_url(url), flavour=Flavour.TIDB))
        case _:
            return await open_store(url)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each store; where batches are at issue, also as databases that are not here."""
    if "stores" not in metafunc.fixturenames:
        return
    plays_others = getattr(metafunc.module, "PLAYS_OTHERS", False)
    stores = [*_STORES, *_OTHERS] if plays_others else [*_STORES]
    metafunc.parametrize(
        "stores", ["elsewhere"] if ELSEWHERE else stores, indirect=True
    )


@pytest.fixture
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    opened: list[AnyStore] = []
    server, _, how = request.param.partition(" ")
    if server == "memory":
        first = MemoryStore()

        async def open_one() -> AnyStore:
            opened.append(first.reopen())
            return opened[-1]
    else:
        if server == "sqlite":
            url = request.getfixturevalue("url")
        elif server == "elsewhere":
            url = await empty_elsewhere(ELSEWHERE)
        else:
            url = empty_tables(request.getfixturevalue(server))

        async def open_one() -> AnyStore:
            opened.append(await open_sql(url, how))
            return opened[-1]

    yield Stores(open_one)
    for store in opened:
        await store.close()


@pytest.fixture
async def store(stores: Stores) -> AnyStore:
    return await stores.open()
