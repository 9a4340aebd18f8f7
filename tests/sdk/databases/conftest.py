from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from participant_sdk.executor.executor import Executor
from tests.sdk.databases.ledger import Ledger
from tests.servers import Server

DATABASE = "participant"
SERVER_DRIVERS = ["psycopg", "asyncpg", "pymysql", "asyncmy"]
_SERVERS = {"psycopg": "postgresql", "asyncpg": "postgresql"}
_ASYNC = {"asyncpg", "asyncmy", "aiosqlite"}
_created: set[Server] = set()

Opener = Callable[..., Engine | AsyncEngine]


def server_url(server: Server, driver: str) -> str:
    """Of a database that is there."""
    if server not in _created:
        server.create(DATABASE)
        _created.add(server)
    return server.url(DATABASE).replace("://", f"+{driver}://")


def opener(driver: str, url: str) -> Opener:
    """Makes engines, as several processes of a participant would."""
    create: Any = create_async_engine if driver in _ASYNC else create_engine
    return lambda **options: create(url, **options)


@pytest.fixture(params=SERVER_DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Of a database server; a test may ask for others."""
    return str(request.param)


@pytest.fixture
def open_engine(
    driver: str, request: pytest.FixtureRequest, tmp_path: Any
) -> Iterator[Opener]:
    """Each call a new engine on the same data."""
    if "sqlite" in driver:
        url = f"sqlite+{driver}:///{tmp_path / 'bank.db'}"
    else:
        name = _SERVERS.get(driver, "mariadb")
        url = server_url(request.getfixturevalue(name), driver)
    return opener(driver, url)


@pytest.fixture
async def ledger(open_engine: Opener) -> AsyncIterator[Ledger]:
    """With nothing but an account in its database."""
    made = Ledger(open_engine())
    await made.prepare()
    yield made
    await made.close()


@pytest.fixture
async def executor(ledger: Ledger) -> AsyncIterator[Executor]:
    """Runs its handlers, without a coordinator."""
    made = ledger.executor()
    yield made
    await made.close()
