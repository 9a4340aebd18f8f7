"""F17: a node that has seen a promotion never writes to an old primary."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from coordinator.core.errors import StoreUnavailable
from coordinator.storage.sql.lineage import Lineage, Server
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.store import SqlStore, open_store
from tests.faults.detour import Detour
from tests.faults.f17_failover import promote, standby_of, through
from tests.servers import PostgreSQL
from tests.storage.samples import began, commit, key

SECONDS_MAX = 10

FIRST, SECOND = Server("7", 1), Server("7", 2)


class Told:
    """Counts promotions."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def lineage(told: Told) -> Lineage:
    return Lineage(told)


def test_a_promotion_is_told_once(lineage: Lineage, told: Told) -> None:
    """However many connections there are."""
    for server in (FIRST, FIRST, SECOND, SECOND):
        lineage.admit(server)
    assert told.times == 1


def test_an_old_primary_is_refused(lineage: Lineage) -> None:
    """And told in the log once, not at each attempt."""
    lineage.admit(SECOND)
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="old primary"):
                lineage.admit(FIRST)
    assert [(e["event"], e["timeline"]) for e in logs] == [("database_refused", 1)]
    lineage.admit(SECOND)


def test_another_cluster_is_refused_whatever_its_timeline(lineage: Lineage) -> None:
    """It is other data."""
    lineage.admit(FIRST)
    with pytest.raises(StoreUnavailable, match="another cluster"):
        lineage.admit(Server("8", 2))


def test_a_standby_tells_no_timeline(lineage: Lineage, told: Told) -> None:
    """It takes no writes, and says so itself."""
    lineage.admit(SECOND)
    lineage.admit(Server("7", 0))
    assert told.times == 0


@pytest.mark.parametrize(
    ("timeline", "is_current"), [(None, True), (1, False), (2, True)]
)
def test_connections_of_before_a_promotion_are_out_of_date(
    lineage: Lineage, timeline: int | None, is_current: bool
) -> None:
    """Those that told nothing are taken as they are."""
    lineage.admit(FIRST)
    lineage.admit(SECOND)
    info = {} if timeline is None else {"tercet_timeline": timeline}
    assert lineage.is_current(info) is is_current


@pytest.fixture
def primary() -> Iterator[PostgreSQL]:
    """A server of its own, that may be split in two."""
    server = PostgreSQL()
    try:
        server.initialize()
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def detour(primary: PostgreSQL) -> AsyncIterator[Detour]:
    async with Detour(primary.port) as detour:
        yield detour


@pytest.fixture
async def store(primary: PostgreSQL, detour: Detour) -> AsyncIterator[SqlStore]:
    url = primary.create("tercet_split")
    upgrade(url)
    store = await open_store(through(url, detour.port))
    yield store
    await store.close()


async def test_nothing_is_written_to_an_old_primary_after_the_new_one_was_met(
    primary: PostgreSQL, detour: Detour, store: SqlStore
) -> None:
    """T7, F17: both are alive and take writes; the address leads to one, then back."""
    with standby_of(primary) as standby:
        await commit(store, began(0))
        promote(standby)
        # Who was asked to wait for it waits for nobody any more.
        primary.run(
            "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"
        )
        detour.lead_to(standby.port)
        await stored_in_the_end(store, 1)

        detour.lead_to(primary.port)
        await refused_in_the_end(store, 2)
        with pytest.raises(StoreUnavailable, match="old primary"):
            await store.load([key(0)])

        detour.lead_to(standby.port)
        assert {tx.key for tx in await store.load([key(0), key(1), key(2)])} == {
            key(0),
            key(1),
        }
        await stored_in_the_end(store, 2)


async def stored_in_the_end(store: SqlStore, number: int) -> None:
    """Who was connected hears a little later that it is not any more."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                await store.commit([began(number)])
            except StoreUnavailable:
                continue
            return  # now, or by one whose answer was lost


async def refused_in_the_end(store: SqlStore, number: int) -> None:
    """It never is stored; what is lost with a connection was not answered."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            with pytest.raises(StoreUnavailable) as told:
                await store.commit([began(number)])
            if "old primary" in str(told.value):
                return
