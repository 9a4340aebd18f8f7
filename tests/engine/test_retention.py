"""Purges over real storage in memory: what goes, in which order, and who does it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from coordinator.core.errors import PreconditionFailed, StoreUnavailable
from coordinator.core.model import Key
from coordinator.core.retention import BATCH_TRANSACTIONS_MAX, CLOCK_SKEW_MS, OldRow
from coordinator.engine import retention as module
from coordinator.engine.retention import PURGE_EVERY_MS, Purge, Purged, Retainer
from coordinator.ports import Archive, History, NodeRow
from coordinator.storage.memory import MemoryStore
from tests.engine.world import DEAD_MS, FakeClock, World, quiet
from tests.storage.samples import NOW, began, commit, confirmed, key, run_to_end, tried

END = NOW + 20
"""When every sample that ends has ended."""

DAY_MS = 86_400_000


@dataclass
class FakeArchive(Archive):
    """Remembers what was written, and what of it was synced."""

    written: list[Key] = field(default_factory=list)
    synced: list[Key] = field(default_factory=list)
    is_full: bool = False

    async def write(self, histories: Sequence[History]) -> None:
        self.written += [history.transaction.key for history in histories]

    async def sync(self) -> None:
        if self.is_full:
            self.written = list(self.synced)
            raise PreconditionFailed("no room", field="archive")
        self.synced = list(self.written)


class Watched(MemoryStore):
    """Checks at every removal that it is archived, and fails when told to."""

    archive: FakeArchive | None = None
    failing: int = 0
    removals: list[int]

    async def remove(self, rows: Sequence[OldRow]) -> list[Key]:
        if self.archive is not None:
            assert {row.key for row in rows} <= set(self.archive.synced)
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable
        self.removals = [*getattr(self, "removals", []), len(rows)]
        return await super().remove(rows)


@pytest.fixture
def store() -> Watched:
    return Watched()


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.time = END + 30 * DAY_MS
    return clock


async def finish(clock: FakeClock, purge: Purge) -> Purged:
    """Let time pass until a purge is over."""
    running = asyncio.ensure_future(purge.run())
    while not running.done():
        await clock.move_to(clock.time + 1)
    return running.result()


async def nested(store: MemoryStore, number: int, created_at: int) -> None:
    """A transaction that was begun inside another one's call, and ended."""
    first = began(number, "debit", created_at=created_at)
    inside = replace(first.after, request=replace(first.after.request, depth=1))
    first = replace(first, after=inside)
    second = tried(first.after)
    await commit(store, first)
    await commit(store, second)
    await commit(store, confirmed(second.after))


async def left(store: MemoryStore) -> list[str]:
    """The gids of all that is there."""
    rows = await store.old(created_before=2 * NOW, after=None, limit=10_000)
    return [row.key.gid for row in rows]


async def test_what_finished_is_removed_and_the_rest_stays(
    store: Watched, clock: FakeClock
) -> None:
    """Whatever is unfinished, and what finished at that instant or later."""
    for number in range(3):
        await run_to_end(store, number)
    await commit(store, began(7, "debit"))
    assert (await finish(clock, Purge(store, clock, finished_before=END))).removed == 0
    done = await finish(clock, Purge(store, clock, finished_before=END + 1))
    assert done == Purged(looked_at=4, removed=3)
    assert await left(store) == [key(7).gid]


async def test_batches_are_bounded_and_all_pages_are_walked(
    store: Watched, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more in one transaction than its limit, and between two a rest."""
    monkeypatch.setattr(module, "PAGE", 2 * BATCH_TRANSACTIONS_MAX + 1)
    total = 5 * BATCH_TRANSACTIONS_MAX + 3
    for number in range(total):
        await run_to_end(store, number)
    said: list[int] = []
    purge = Purge(
        store,
        clock,
        finished_before=END + 1,
        on_progress=lambda done: said.append(done.removed),
    )
    began_at = clock.time
    assert (await finish(clock, purge)).removed == total
    assert max(store.removals) == BATCH_TRANSACTIONS_MAX
    assert clock.time - began_at >= len(store.removals)
    assert said == sorted(said)
    assert said[-1] == total


async def test_a_dry_run_tells_and_removes_nothing(
    store: Watched, clock: FakeClock
) -> None:
    """Nor does it archive."""
    await run_to_end(store, 1)
    archive = FakeArchive()
    purge = Purge(store, clock, finished_before=END + 1, archive=archive, is_dry=True)
    assert await finish(clock, purge) == Purged(looked_at=1, removed=1)
    assert await left(store) == [key(1).gid]
    assert archive.written == []


async def test_what_is_removed_is_durable_in_the_archive_before(
    store: Watched, clock: FakeClock
) -> None:
    """A crash between the two leaves it in both; the next purge archives it again."""
    store.archive = archive = FakeArchive()
    keys = [key(number) for number in range(3)]
    for number in range(3):
        await run_to_end(store, number)
    store.failing = 1
    with pytest.raises(StoreUnavailable):
        await finish(
            clock, Purge(store, clock, finished_before=END + 1, archive=archive)
        )
    assert archive.synced == keys
    assert len(await left(store)) == 3
    done = await finish(
        clock, Purge(store, clock, finished_before=END + 1, archive=archive)
    )
    assert done == Purged(looked_at=3, removed=3, archived=3)
    assert archive.synced == 2 * keys
    assert await left(store) == []


async def test_an_archive_that_is_full_keeps_the_rows(
    store: Watched, clock: FakeClock
) -> None:
    """Nothing is removed that is not archived."""
    await run_to_end(store, 1)
    archive = FakeArchive(is_full=True)
    with pytest.raises(PreconditionFailed):
        await finish(
            clock, Purge(store, clock, finished_before=END + 1, archive=archive)
        )
    assert await left(store) == [key(1).gid]


async def test_two_purges_at_once_remove_everything_once(
    store: Watched, clock: FakeClock
) -> None:
    """Each row by whoever is first; what both archived is there twice."""
    for number in range(500):
        await run_to_end(store, number)
    purges = [Purge(store, clock, finished_before=END + 1) for _ in range(2)]
    one, two = await asyncio.gather(*(finish(clock, purge) for purge in purges))
    assert one.removed + two.removed == 500
    assert await left(store) == []


async def test_what_is_nested_stays_while_something_older_is_unfinished(
    store: Watched, clock: FakeClock
) -> None:
    """Its surrounding transaction could repeat the call that began it."""
    await commit(store, began(1, "debit", created_at=NOW))
    await nested(store, 2, NOW - CLOCK_SKEW_MS - 1)
    await nested(store, 3, NOW - CLOCK_SKEW_MS)
    await nested(store, 4, NOW + 5)
    await run_to_end(store, 5)
    purge = Purge(store, clock, finished_before=END + DAY_MS)
    assert (await finish(clock, purge)).removed == 2
    assert sorted(await left(store)) == [key(n).gid for n in (1, 3, 4)]
    (around,) = await store.load([key(1)])
    await commit(store, tried(around))
    (around,) = await store.load([key(1)])
    await commit(store, confirmed(around))
    purge = Purge(store, clock, finished_before=END + DAY_MS)
    assert (await finish(clock, purge)).removed == 3
    assert await left(store) == []


def retainer(world: World, node_id: str, archive: Archive | None = None) -> Retainer:
    return Retainer(
        store=world.store,
        leases=world.leases,
        clock=world.clock,
        node_id=node_id,
        keep_ms=30 * DAY_MS,
        archive=archive,
    )


async def test_finished_transactions_are_kept_for_as_long_as_is_said(
    store: Watched, clock: FakeClock
) -> None:
    """To the next turn after it."""
    clock.time = END
    await run_to_end(store, 1)
    running = asyncio.ensure_future(retainer(World(store, clock), "node-1").run())
    await quiet()
    clock.time = END + 30 * DAY_MS - 20
    await clock.move_to(END + 30 * DAY_MS)
    assert await left(store) == [key(1).gid]
    await clock.move_to(END + 30 * DAY_MS + PURGE_EVERY_MS + 10)
    assert await left(store) == []
    running.cancel()


async def test_one_living_node_does_it_and_its_successor_when_it_dies(
    store: Watched, clock: FakeClock
) -> None:
    """The one with the smallest id."""
    one, two = World(store, clock, node_id="n-1"), World(store, clock, node_id="n-2")
    await store.beat(NodeRow("n-1", "", 1))
    await two.leases.beat()
    await run_to_end(store, 1)
    clock.time += 1
    assert await retainer(two, "n-2").purge() == Purged()
    clock.time += DEAD_MS
    await two.leases.beat()
    running = asyncio.ensure_future(retainer(two, "n-2").purge())
    await clock.move_to(clock.time + 10)
    assert running.result().removed == 1
    await run_to_end(store, 2)
    running = asyncio.ensure_future(retainer(one, "n-1").purge())
    await clock.move_to(clock.time + 10)
    assert running.result().removed == 1


async def test_a_turn_that_fails_is_made_up_for_by_the_next(
    store: Watched, clock: FakeClock
) -> None:
    """Whether the database or the archive was the reason."""
    await run_to_end(store, 1)
    archive = FakeArchive(is_full=True)
    world = World(store, clock)
    running = asyncio.ensure_future(retainer(world, "node-1", archive).run())
    await quiet()
    clock.time += 1
    await clock.move_to(clock.time + PURGE_EVERY_MS + 10)
    archive.is_full = False
    store.failing = 1
    for _ in range(2):
        assert await left(store) == [key(1).gid]
        await clock.move_to(clock.time + PURGE_EVERY_MS + 10)
    assert await left(store) == []
    running.cancel()
