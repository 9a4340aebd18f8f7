"""The database servers, started when the first test asks for them."""

from collections.abc import Iterator

import pytest

from tests.servers import MariaDB, PostgreSQL, Server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    yield from _running(PostgreSQL())


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    yield from _running(MariaDB())


def _running(server):
    try:
        server.initialize()
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["postgresql", "mariadb"])
def database_server(request: pytest.FixtureRequest) -> Server:
    """Each of them."""
    return request.getfixturevalue(request.param)
