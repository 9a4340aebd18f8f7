"""A server that takes no writes any more, and takes them again."""

import asyncio
from itertools import count

import pytest

from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import Key
from coordinator.ports import Change, NodeRow
from coordinator.storage.sql.store import SqlStore, open_store
from tests.servers import MariaDB, Server
from tests.storage.conftest import _CURRENT
from tests.storage.samples import began, commit, key, stored, tried

BACK_SECONDS_MAX = 3

CLERK, WORD = "reader", "clerk-of-a-test"


def clerk_of(server: Server) -> str:
    """The URL of an account that read-only holds for, on both: not an administrator."""
    if isinstance(server, MariaDB):
        server.run(
            f"CREATE OR REPLACE USER {CLERK} IDENTIFIED BY '{WORD}'",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {_CURRENT}.* TO {CLERK}",
        )
        return server.url(_CURRENT, user=CLERK, password=WORD)
    return server.url(_CURRENT)


def turn(server: Server, *, read_only: bool) -> None:
    """As a failover or an administrator does it, under open connections."""
    value = "ON" if read_only else "OFF"
    if isinstance(server, MariaDB):
        server.run(f"SET GLOBAL read_only = {value}")
        return
    # Who administers is asked to write at the same time.
    server.run(
        "SET default_transaction_read_only = off",
        f"ALTER SYSTEM SET default_transaction_read_only = {value}",
        "SELECT pg_reload_conf()",
    )


async def test_a_server_that_turned_read_only_is_unavailable_until_it_is_back(
    server: Server, server_url: str
) -> None:
    """F17: told so and nothing of it is stored; what was stored is read, and when the
    server takes writes again it is used within 3 s.
    """
    assert server_url  # which has the tables
    store = await open_store(clerk_of(server))
    await commit(store, began(0, "debit"))
    turn(server, read_only=True)
    try:
        refused = await first_refused(store)
        with pytest.raises(StoreUnavailable, match="read only"):
            await store.beat(NodeRow("n", "", 1))
        assert await store.load([refused]) == []
        before = await stored(store, key(0))
    finally:
        turn(server, read_only=False)
    async with asyncio.timeout(BACK_SECONDS_MAX):
        while await refusal(store, tried(before)):
            pass
    assert [NodeRow("n", "", 1)] == await store.beat(NodeRow("n", "", 1))
    await store.close()


async def first_refused(store: SqlStore) -> Key:
    """A connection hears of its server's settings a little later."""
    async with asyncio.timeout(BACK_SECONDS_MAX):
        for number in count(1):
            if said := await refusal(store, began(number)):
                assert "read only" in said
                return key(number)
    raise AssertionError("a count has no end")


async def refusal(store: SqlStore, change: Change) -> str:
    """Why a commit does not go through; empty when it does."""
    try:
        await commit(store, change)
    except StoreUnavailable as failure:
        return str(failure)
    return ""
