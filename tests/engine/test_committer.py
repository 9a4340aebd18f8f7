"""How changes are dealt out among commits."""

import asyncio
from collections.abc import Sequence

import pytest

from coordinator.core.model import Key
from coordinator.engine.committer import (
    BATCH_MAX,
    YOUNG_MS,
    Committer,
)
from coordinator.ports import Change
from coordinator.storage.memory import MemoryStore
from tests.engine.world import FakeClock
from tests.storage.samples import began

PACE_MS = 4
SHARE_MIN = 64


class SlowStore(MemoryStore):
    """Commits nothing before it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.may_go_on = asyncio.Event()

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        """Count, and wait."""
        self.sizes.append(len(changes))
        await self.may_go_on.wait()
        return await super().commit(changes)


async def sizes(
    count: int, *, in_flight_max: int, share_min: int = SHARE_MIN
) -> tuple[list[int], int]:
    """Of the commits that so many changes lead to at once, and how many there are."""
    store = SlowStore()
    committed: list[Change] = []
    committer = Committer(
        store,
        clock=FakeClock(),
        in_flight_max=in_flight_max,
        share_min=share_min,
        pace_ms=PACE_MS,
        on_committed=lambda changes, _conflicts: committed.extend(changes),
        on_unknown=lambda _changes, failure: pytest.fail(str(failure)),
    )
    changes = [began(number) for number in range(count)]
    committer.put(changes)
    await asyncio.sleep(0)
    at_once = list(store.sizes)
    store.may_go_on.set()
    await committer.idle()
    assert sorted(map(id, committed)) == sorted(map(id, changes))
    return at_once, len(store.sizes)


@pytest.mark.parametrize(
    ("count", "in_flight_max", "expected"),
    [
        (1, 4, [1]),
        (SHARE_MIN, 4, [SHARE_MIN]),
        (SHARE_MIN + 1, 4, [SHARE_MIN]),
        (2 * SHARE_MIN + 9, 4, [SHARE_MIN] * 2),
        (4 * SHARE_MIN, 4, [SHARE_MIN] * 4),
        (400, 4, [100] * 4),
        (401, 4, [101, 100, 100, 100]),
        (4 * BATCH_MAX + 9, 4, [BATCH_MAX] * 4),
    ],
)
async def test_many_changes_are_dealt_out_among_the_commits_that_may_be_under_way(
    count: int, in_flight_max: int, expected: list[int]
) -> None:
    """Few share one, and no change is lost or written twice."""
    at_once, total = await sizes(count, in_flight_max=in_flight_max)
    assert at_once == expected
    assert total == len(expected) + (sum(expected) < count)


async def test_a_store_says_how_many_changes_are_worth_a_commit() -> None:
    """Its writer may be one alone, and the commits that wait for it larger."""
    count = 3 * SHARE_MIN
    few = await sizes(count, in_flight_max=2, share_min=2 * SHARE_MIN)
    assert few == ([2 * SHARE_MIN], 2)
    assert await sizes(count, in_flight_max=2) == ([count // 2] * 2, 2)


async def test_few_changes_wait_for_a_young_commit_and_share_the_next() -> None:
    """Each commit has a price of its own."""
    store, clock, committer = waiting()
    committer.put([began(1)])
    await asyncio.sleep(0)
    committer.put([began(2)])
    committer.put([began(3)])
    await clock.move_to(YOUNG_MS - 1)
    assert store.sizes == [1]

    store.may_go_on.set()
    await committer.idle()
    assert store.sizes == [1, 2]


async def test_nobody_waits_for_a_commit_that_takes_long() -> None:
    """Somebody may have locked a row of it (F19); there is room for some more."""
    store, clock, committer = waiting()
    committer.put([began(0)])
    await asyncio.sleep(0)
    for number in range(1, 5):
        committer.put([began(number)])
        await clock.move_to(number * YOUNG_MS)
        assert store.sizes == [1] * min(number + 1, 4)

    store.may_go_on.set()
    await committer.idle()
    assert store.sizes == [1] * 5


def waiting() -> tuple[SlowStore, FakeClock, Committer]:
    store, clock = SlowStore(), FakeClock()
    committer = Committer(
        store,
        clock=clock,
        in_flight_max=4,
        share_min=SHARE_MIN,
        pace_ms=PACE_MS,
        on_committed=lambda _changes, _conflicts: None,
        on_unknown=lambda _changes, failure: pytest.fail(str(failure)),
    )
    return store, clock, committer


async def test_fewer_than_before_wait_a_moment_for_others() -> None:
    """On a busy node changes come one by one, faster than commits return."""
    store, clock, committer = waiting()
    store.may_go_on.set()
    committer.put([began(number) for number in range(3)])
    await clock.move_to(1)
    committer.put([began(3)])
    await clock.move_to(2)
    committer.put([began(4)])
    await clock.move_to(PACE_MS - 1)
    assert store.sizes == [3]

    await clock.move_to(PACE_MS)
    assert store.sizes == [3, 2]


async def test_as_many_as_before_wait_for_nobody() -> None:
    """Who is alone is not held up, nor are those who all wait for the same commit."""
    store, clock, committer = waiting()
    store.may_go_on.set()
    for numbers in ([0], [1], [2, 3], [4, 5]):
        committer.put([began(number) for number in numbers])
        await clock.move_to(0)
    assert store.sizes == [1, 1, 2, 2]


async def test_a_wait_for_others_ends_before_one_for_a_commit_would() -> None:
    """The alarm for a young commit may have been set when that one returned."""
    store, clock, committer = waiting()
    committer.put([began(0), began(1)])
    await asyncio.sleep(0)
    committer.put([began(2)])
    await clock.move_to(1)
    store.may_go_on.set()
    await clock.move_to(PACE_MS)
    assert store.sizes == [2, 1]


async def test_nothing_that_waits_for_others_is_left_at_the_end() -> None:
    """They would have come after this node has gone."""
    store, _, committer = waiting()
    store.may_go_on.set()
    committer.put([began(0), began(1)])
    await committer.idle()
    committer.put([began(2)])
    await committer.idle()
    assert store.sizes == [2, 1]
