"""A primary whose synchronous standby is away: its commits wait."""

from collections.abc import Iterator

import pytest

from coordinator.core.errors import StoreUnavailable
from coordinator.storage.sql import server as servers
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.store import open_store
from tests.servers import PostgreSQL
from tests.storage.samples import began, key

TRIES_MAX = 200
"""Until the server has taken notice of its setting, commits pass."""


@pytest.fixture
def url(postgresql: PostgreSQL) -> Iterator[str]:
    """Of a database on a server that waits for a standby which is not there."""
    url = postgresql.create("tercet_lone")
    upgrade(url)
    setting = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
    postgresql.run(setting, "SELECT pg_reload_conf()")
    yield url
    reset = "ALTER SYSTEM RESET synchronous_standby_names"
    postgresql.run(reset, "SELECT pg_reload_conf()")


async def test_a_commit_that_no_standby_has_is_not_seen(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T7, L6, F17: who asks again is not told of what a failover would lose."""
    store = await open_store(url)
    monkeypatch.setattr(servers, "CALL_SECONDS_MAX", 0.5)
    try:
        for number in range(TRIES_MAX):
            try:
                await store.commit([began(number)])
            except StoreUnavailable:
                break
        else:
            pytest.fail("no commit waited for the standby")
        assert await store.load([key(number)]) == []
    finally:
        await store.close()
