"""Promises of timers: never early, hardly late, and together where that is not felt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakSet

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.changed import changed
from coordinator.core.inputs import Begin, Try
from coordinator.core.model import Key
from coordinator.engine.dispatcher import Dispatcher
from coordinator.engine.timers import EXACT_BELOW_MS, TICK_MS, Timers
from coordinator.ports import Change
from coordinator.storage.memory import MemoryStore
from tests.core.world import DEADLINE, spec, tcc_request
from tests.engine.world import FakeClock, World

LONG_AFTER = 10 * EXACT_BELOW_MS


@dataclass
class Bell:
    """Timers, their clock, and what rang when."""

    clock: FakeClock = field(default_factory=FakeClock)
    rung: list[tuple[int, list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.timers: Timers[str] = Timers(self.clock, self._ring)

    def _ring(self, keys: list[str]) -> None:
        self.rung.append((self.clock.now(), keys))


@given(
    began=st.integers(0, LONG_AFTER),
    waits=st.lists(st.integers(0, LONG_AFTER), min_size=1, max_size=20),
)
async def test_nothing_rings_early_or_more_than_a_tick_late(
    began: int, waits: list[int]
) -> None:
    """Each key rings once; a short wait is exact, no wait gets 5 % longer."""
    bell = Bell()
    bell.clock.time = began
    for number, wait in enumerate(waits):
        bell.timers.set(str(number), began + wait)
    await bell.clock.move_to(began + 2 * LONG_AFTER)

    rung = {key: at for at, keys in bell.rung for key in keys}
    assert sum(len(keys) for _, keys in bell.rung) == len(rung) == len(waits)
    for number, wait in enumerate(waits):
        late = rung[str(number)] - began - wait
        assert 0 <= late < TICK_MS
        assert late <= wait * 0.05
        assert wait >= EXACT_BELOW_MS or not late


async def test_what_is_due_within_a_tick_rings_together() -> None:
    """At the tick's end; the next one's rings by itself."""
    bell = Bell()
    ends_at = 40 * TICK_MS
    for number in range(1, TICK_MS + 2):
        bell.timers.set(str(number), ends_at - TICK_MS + number)
    await bell.clock.move_to(LONG_AFTER)

    assert [(at, len(keys)) for at, keys in bell.rung] == [
        (ends_at, TICK_MS),
        (ends_at + TICK_MS, 1),
    ]


async def test_only_the_latest_time_counts() -> None:
    """Sooner or later than before, long or short: a key rings then, and once."""
    bell = Bell()
    for at in (9_001, 3_001, 501, 7_001):
        bell.timers.set("moved", at)
    bell.timers.set("gone", 7_001)
    bell.timers.discard("gone")
    await bell.clock.move_to(LONG_AFTER)

    assert bell.rung == [(7_100, ["moved"])]


STEPS = st.tuples(
    st.sampled_from(("set", "discard", "wait")),
    st.sets(st.sampled_from("abcde"), min_size=1),
    st.integers(0, 2 * EXACT_BELOW_MS),
)


@given(steps=st.lists(STEPS, max_size=40))
async def test_each_key_rings_once_at_its_latest_time(
    steps: list[tuple[str, set[str], int]],
) -> None:
    """However often it was set, given up, set together with others, or rang before."""
    bell = Bell()
    wanted: dict[str, int] = {}
    for what, keys, wait in (*steps, ("wait", set[str](), LONG_AFTER)):
        at = bell.clock.time + wait
        fresh = sorted(keys - wanted.keys())
        if what == "set":
            for key in keys & wanted.keys():
                bell.timers.set(key, at)
            bell.timers.set_all(fresh, at)
            wanted |= dict.fromkeys(keys, at)
        elif what == "discard":
            bell.timers.discard_all(sorted(keys))
            wanted = {key: at for key, at in wanted.items() if key not in keys}
        else:
            await bell.clock.move_to(at)
            rung = [(key, at) for at, rung in bell.rung for key in rung]
            bell.rung.clear()
            assert len(rung) == len({key for key, _ in rung})
            for key, rang_at in rung:
                assert 0 <= rang_at - wanted.pop(key) < TICK_MS
            assert all(due > at - TICK_MS for due in wanted.values())
    assert not wanted


class Named:
    """A key that tells whether anybody holds it."""


async def test_what_is_given_up_is_soon_let_go() -> None:
    """Timers given up long before their time do not gather."""
    clock = FakeClock()
    timers: Timers[Named] = Timers(clock, lambda _: None)
    held: WeakSet[Named] = WeakSet()
    for number in range(10_000):
        given_up = Named()
        held.add(given_up)
        timers.set(given_up, LONG_AFTER + number * TICK_MS)
        timers.discard(given_up)
    del given_up
    assert len(held) < 2_000


async def test_a_key_whose_time_moves_to_and_fro_takes_no_room() -> None:
    """It is kept once for each of its times, and found at the last."""
    bell = Bell()
    for number in range(10_000):
        bell.timers.set("moved", LONG_AFTER + number % 2 * TICK_MS)
    bell.timers.set("other", LONG_AFTER - TICK_MS)
    assert sum(map(len, bell.timers._together.values())) <= 3
    await bell.clock.move_to(2 * LONG_AFTER)

    assert bell.rung == [
        (LONG_AFTER - TICK_MS, ["other"]),
        (LONG_AFTER + TICK_MS, ["moved"]),
    ]


class CountingStore(MemoryStore):
    """Remembers how many changes each commit had."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        self.sizes.append(len(changes))
        return await super().commit(changes)


class Silent:
    """A link to a participant that never answers."""

    def send(self, calls: object) -> None:
        """Take them."""


def key(number: int) -> Key:
    return Key("default", f"g-{number}")


async def test_calls_that_time_out_within_a_tick_share_a_commit() -> None:
    """A participant that hangs costs its node a commit a tick, not one a call."""
    store = CountingStore()
    world = World(store)
    dispatcher = Dispatcher(
        world.clock,
        world.engine.replied,
        world.engine.participant_returned,
        in_turn=world.engine.in_turn,
        on_waiting=world.engine.waits_long,
    )
    dispatcher.attach("bank", Silent(), credits=100)
    world.engine._participants = dispatcher
    for number in range(1, TICK_MS + 1):
        await world.clock.move_to(number)
        await world.asked(Begin(changed(tcc_request(), key=key(number))), key(number))
        await world.asked(Try((spec("a"),)), key(number))
    begun = len(store.sizes)
    await world.clock.move_to(spec("a").timeout_ms + TICK_MS)

    assert store.sizes[begun:] == [TICK_MS]


async def test_deadlines_within_a_tick_share_a_commit() -> None:
    """So do transactions that their initiators abandoned."""
    store = CountingStore()
    world = World(store)
    for number in range(TICK_MS):
        request = changed(tcc_request(), key=key(number), deadline_at=DEADLINE - number)
        await world.asked(Begin(request), key(number))
    begun = len(store.sizes)
    await world.clock.move_to(DEADLINE)

    assert store.sizes[begun:] == [TICK_MS]
