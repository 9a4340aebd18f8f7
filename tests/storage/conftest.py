"""All stores behind one fixture, with what a restart and a neighbour need."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import event

from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.server import ServerDatabase
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.tables import METADATA
from coordinator.storage.sql.url import parse_url
from tests.servers import Server

AnyStore = MemoryStore | SqlStore

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


def open_serializable(url: str) -> SqlStore:
    """PostgreSQL at SERIALIZABLE, with one statement in 23 losing to another's."""
    database = ServerDatabase(parse_url(url), isolation="SERIALIZABLE")
    numbers = count(1)

    def lose_some(*_: object) -> None:
        if next(numbers) % 23 == 0:
            raise asyncpg.SerializationError

    for engine in database._writing.values():
        event.listen(engine.sync_engine, "before_cursor_execute", lose_some)
    return SqlStore(database)


@pytest.fixture(
    params=["memory", "sqlite", "postgresql", "postgresql serializable", "mariadb"]
)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    opened: list[AnyStore] = []
    if request.param == "memory":
        first = MemoryStore()

        async def open_one() -> AnyStore:
            opened.append(first.reopen())
            return opened[-1]
    else:
        if request.param == "sqlite":
            url = request.getfixturevalue("url")
        else:
            server = request.param.partition(" ")[0]
            url = empty_tables(request.getfixturevalue(server))

        async def open_one() -> AnyStore:
            is_strict = request.param == "postgresql serializable"
            store = open_serializable(url) if is_strict else await open_store(url)
            opened.append(store)
            return opened[-1]

    yield Stores(open_one)
    for store in opened:
        await store.close()


@pytest.fixture
async def store(stores: Stores) -> AnyStore:
    return await stores.open()
