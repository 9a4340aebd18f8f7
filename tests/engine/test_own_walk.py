"""The walk through a node's own rows: cheap, and as often as it must be."""

from collections.abc import Sequence

import pytest

from coordinator.core.model import Key
from coordinator.core.sweep import REST_FACTOR, REST_MS_MAX, Gap, Line, own
from coordinator.core.words import Phase
from coordinator.engine.limits import EngineLimits
from coordinator.engine.sweeper import SWEEP_EVERY_MS
from coordinator.storage.memory import MemoryStore
from tests.engine.test_parking import IDLE_AT, LATE, is_here, open_transaction
from tests.engine.test_sweeping import crowd, is_ended, left_behind, swept
from tests.engine.world import FakeClock, World

ME = "node-1"
HOUR_MS = 3_600_000


class DearStore(MemoryStore):
    """To find the node's own lines takes long, as beside an old snapshot (F20)."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.look_ms = 0
        self.looks = 0
        self._clock = clock

    async def lines(self, gaps: Sequence[Gap], *, limit: int) -> list[Line]:
        if gaps == own(ME):
            self.looks += 1
            self._clock.time += self.look_ms
        return await super().lines(gaps, limit=limit)


def dear_world(limits: EngineLimits | None = None) -> tuple[World, DearStore]:
    clock = FakeClock()
    store = DearStore(clock)
    return World(store, clock, limits=limits), store


async def sweep_for(world: World, ms: int) -> int:
    """Once a second, as a node does; how many sweeps that were."""
    until, sweeps = world.clock.time + ms, 0
    while world.clock.time < until:
        await swept(world)
        await world.clock.move_to(world.clock.time + SWEEP_EVERY_MS)
        sweeps += 1
    return sweeps


async def test_a_quick_walk_is_made_at_each_sweep() -> None:
    """L7: what nobody remembers is found by the next sweep."""
    world, store = dear_world()
    store.look_ms = SWEEP_EVERY_MS // REST_FACTOR
    assert await sweep_for(world, HOUR_MS) == store.looks


@pytest.mark.parametrize("look_ms", [100, 600, REST_MS_MAX // REST_FACTOR])
async def test_a_dear_walk_takes_a_twentieth_of_the_time(look_ms: int) -> None:
    """F20: whatever the database walks over, it has time for other work."""
    world, store = dear_world()
    store.look_ms = look_ms
    sweeps = await sweep_for(world, HOUR_MS)
    assert store.looks < sweeps
    shortest, longest = REST_FACTOR * look_ms, REST_FACTOR * look_ms + SWEEP_EVERY_MS
    assert HOUR_MS // (longest + look_ms) <= store.looks
    assert store.looks <= HOUR_MS // (shortest + look_ms) + 1


async def test_no_walk_rests_longer_than_its_bound() -> None:
    """V1: what nobody can know of goes on, however dear the walk is."""
    world, store = dear_world()
    store.look_ms = REST_MS_MAX
    await swept(world)
    (key,) = crowd("default", 1)
    await left_behind(world, ME, [key])
    await world.clock.move_to(world.clock.time + REST_MS_MAX - 1)
    await swept(world)
    assert not await is_ended(world, key)
    await world.clock.move_to(world.clock.time + 1)
    await swept(world)
    assert await is_ended(world, key)


async def test_a_walk_that_has_begun_goes_on_at_each_sweep() -> None:
    """Only its beginning is dear."""
    world, store = dear_world()
    world.sweeper._page = 10
    await left_behind(world, ME, crowd("default", 25))
    world.clock.time = LATE
    store.look_ms = REST_MS_MAX
    assert [await swept(world) for _ in range(4)] == [10, 10, 5, 0]
    assert store.looks == 1


async def test_whose_name_was_not_kept_is_walked_for_without_a_rest() -> None:
    """L7: more was let go of than the engine remembers."""
    world, store = dear_world(EngineLimits(let_go_max=1))
    store.look_ms = REST_MS_MAX
    world.engine.let_go.note(Key("default", "kept"))
    await swept(world)
    await swept(world)
    assert store.looks == 1
    for gid in ("kept", "lost"):
        world.engine.let_go.note(Key("default", gid))
    assert [key.gid for key in world.engine.let_go.take()] == ["kept"]
    await swept(world)
    await swept(world)
    assert store.looks == 3


async def test_whose_time_was_not_kept_is_walked_for_without_a_rest() -> None:
    """V1: more waits long than a node keeps times of."""
    world, store = dear_world(EngineLimits(timers_max=0))
    await open_transaction(world)
    await world.clock.move_to(IDLE_AT)
    assert not is_here(world)
    await world.clock.move_to(LATE - 2)
    store.look_ms = 1
    await swept(world)
    await world.clock.move_to(LATE)
    assert await swept(world) == 1
    (call,) = world.participants.taken()
    assert call.phase is Phase.CANCEL
