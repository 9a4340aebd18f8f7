"""Both stores behind one fixture, with what a restart and a neighbour need."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.store import SqlStore, open_store

AnyStore = MemoryStore | SqlStore


@dataclass
class Stores:
    """Opens handles on the same data, as nodes and restarts do."""

    open: Callable[[], Awaitable[AnyStore]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with tables."""
    url = f"sqlite:///{tmp_path / 'tercet.db'}"
    upgrade(url)
    return url


@pytest.fixture(params=["memory", "sqlite"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    opened: list[AnyStore] = []
    if request.param == "memory":
        first = MemoryStore()

        async def open_one() -> AnyStore:
            opened.append(first.reopen())
            return opened[-1]
    else:
        url = request.getfixturevalue("url")

        async def open_one() -> AnyStore:
            opened.append(await open_store(url))
            return opened[-1]

    yield Stores(open_one)
    for store in opened:
        await store.close()


@pytest.fixture
async def store(stores: Stores) -> AnyStore:
    return await stores.open()
