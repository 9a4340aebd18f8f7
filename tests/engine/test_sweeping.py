"""A sweep attempts the oldest of every line, and no heart waits for it (V3, F5)."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.changed import changed
from coordinator.core.errors import StoreUnavailable
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Confirm,
    Input,
    Submit,
    Succeeded,
    Try,
    Unknown,
)
from coordinator.core.model import Key
from coordinator.core.sweep import Ask, own
from coordinator.core.words import Phase
from coordinator.engine import sweeper
from coordinator.engine.leases import BEAT_EVERY_MS, TTL_MS, Leases
from coordinator.engine.limits import EngineLimits
from coordinator.engine.sweeper import SUSPECT_MS
from coordinator.ports import Change, SweepRow
from coordinator.storage.memory import MemoryStore
from tests.core.world import definition, saga_request, spec, step, tcc_request
from tests.engine.world import DEAD_MS, GID, FakeClock, World, quiet

LATE = 1_000_000
"""Everything that was left behind is past its deadline by then."""


FAILED_CONFIRM: Sequence[Input] = (
    Try((spec("a"),)),
    BranchReplied("a", Phase.TRY, 1, Succeeded()),
    Confirm(),
    BranchReplied("a", Phase.CONFIRM, 1, Unknown("PARTICIPANT_UNAVAILABLE")),
)
"""What makes a transaction wait for a participant without an end."""


async def left_behind(
    world: World,
    owner: str,
    keys: Sequence[Key],
    *,
    takeovers: int = 0,
    then: Sequence[Input] = (),
) -> None:
    """Transactions that a node began, the first of them the longest ago."""
    changes = []
    for age, key in enumerate(keys):
        request = replace(tcc_request(), key=key, deadline_at=1 + age)
        tx, events = machine.step(None, Begin(request), 0)
        for what in then:
            tx, more = machine.step(tx, what, 0)
            events = (*events, *more)
        tx = changed(tx, revision=1, journal_seq=1, owner=owner)
        changes.append(Change(None, tx, tuple(events), machine.due_at(tx)))
    assert await world.store.commit(changes) == []
    world.store._data.takeovers.update(dict.fromkeys(keys, takeovers))


def crowd(namespace: str, count: int) -> list[Key]:
    return [Key(namespace, f"g-{number:05}") for number in range(count)]


async def swept(world: World) -> int:
    """A sweep, and what it leads to."""
    taken = await world.sweeper.sweep()
    await quiet()
    return taken


async def is_ended(world: World, key: Key) -> bool:
    stored = await world.stored(key)
    assert stored is not None
    return stored.status.is_final


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A node that sweeps 80 transactions at a time."""
    monkeypatch.setattr(sweeper, "PAGES_PER_SWEEP", 8)
    node = World(page=10)
    node.clock.time = LATE
    return node


async def test_a_crowd_does_not_hold_up_another_namespace(world: World) -> None:
    """V3: its only transaction is attempted by the first sweep, though it is due last
    and comes last by name.
    """
    lonely = Key("zz", "only")
    await left_behind(world, "n-gone", [*crowd("crowd", 1_000), lonely])
    assert await world.sweeper.sweep() > 70
    await quiet()
    assert await is_ended(world, lonely)


async def test_a_chain_is_due_since_its_first_step(world: World) -> None:
    """V3: what has been due all the time keeps its place in its line; what waits
    between, for a time-out or a timer, is due when that is over.
    """
    begin = world.clock.time = 1_000
    key = Key("default", "chain")
    steps = definition(step("a"), step("b", "a"), step("c", "b"))
    world.ask(Submit(replace(saga_request(), key=key), steps), key)
    await quiet()

    async def due_at() -> list[int]:
        (line,) = await world.store.lines(own(world.node_id), limit=9)
        rows = await world.store.unfinished([Ask(line, None, 0, 9)], due_before=LATE)
        return [row.due_at for row in rows]

    assert await due_at() == [begin]
    await world.clock.move_to(begin + 50)
    (call,) = world.participants.taken()
    await world.answer(call)
    assert await due_at() == [begin]
    (call,) = world.participants.taken()
    await world.answer(call, Unknown("TIMEOUT"))
    (later,) = await due_at()
    assert later > begin + 50
    await world.clock.move_to(later)
    (call,) = world.participants.taken()
    await world.answer(call)
    assert await due_at() == [later]


async def test_the_longest_due_comes_first(world: World) -> None:
    """V3: whatever its name is."""
    keys = crowd("default", 300)[::-1]
    await left_behind(world, "n-gone", keys)
    assert await world.sweeper.sweep() == 80
    await quiet()
    assert [await is_ended(world, key) for key in keys] == [True] * 80 + [False] * 220


async def test_everything_is_taken_up_in_the_end(world: World) -> None:
    """L7: more lines than one sweep looks at, of many owners and namespaces."""
    for number in range(100):
        keys = crowd(f"ns-{number % 7}-{number}", 3)
        await left_behind(world, f"n-{number}", keys)
    taken = []
    for _ in range(9):
        taken.append(await world.sweeper.sweep())
        await quiet()
    assert sum(taken) == 300
    assert not taken[-1]


async def test_what_living_peers_own_is_not_even_listed(world: World) -> None:
    """V3: however much that is, a sweep does not meet it."""
    peer = world.twin("n-peer")
    await peer.leases.beat()
    await world.leases.beat()
    await left_behind(world, "n-peer", crowd("default", 500))
    asked: list[Ask] = []
    real = world.store.unfinished

    async def note(asks: Sequence[Ask], *, due_before: int) -> list[SweepRow]:
        asked.extend(asks)
        return await real(asks, due_before=due_before)

    world.store.unfinished = note  # type: ignore[method-assign] # looked at here alone
    assert await world.sweeper.sweep() == 0
    assert asked == []


async def test_suspects_hold_up_nobody(world: World) -> None:
    """V3, V6: those that are claimed one by one come when all others had their turn."""
    suspects, plain = crowd("suspects", 50), crowd("plain", 20)
    await left_behind(world, "n-dead", suspects, takeovers=1)
    await left_behind(world, "n-dead", plain)
    await world.twin("n-dead").leases.beat()
    await world.leases.beat()
    await world.clock.move_to(LATE + DEAD_MS)
    await world.leases.beat()
    sweeping = asyncio.create_task(world.sweeper.sweep())
    await quiet()
    assert all([await is_ended(world, key) for key in plain])
    while not sweeping.done():
        await world.clock.move_to(world.clock.time + SUSPECT_MS)
    assert await is_ended(world, suspects[0])
    assert await sweeping > len(plain)


async def test_two_nodes_share_what_is_left_behind(world: World) -> None:
    """L3: they begin at the same place, and part where they met."""
    keys = crowd("default", 240)
    await left_behind(world, "n-gone", keys)
    twin = world.twin()
    for node in (world, twin, world):
        await node.leases.beat()
    taken = await asyncio.gather(world.sweeper.sweep(), twin.sweeper.sweep())
    await quiet()
    ended = [await is_ended(world, key) for key in keys]
    assert ended.count(True) == sum(taken) > 80


async def test_what_a_claim_without_an_answer_took_is_taken_up(world: World) -> None:
    """L6, V3: the next sweep asks for it by name."""
    keys = crowd("default", 5)
    await left_behind(world, "n-gone", keys)
    real = world.store.claim

    async def lose(rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        await real(rows, owner=owner)
        raise StoreUnavailable

    world.store.claim = lose  # type: ignore[method-assign] # its answers are lost
    with pytest.raises(StoreUnavailable):
        await world.sweeper.sweep()
    assert await world.sweeper.sweep() == 5
    await quiet()
    assert all([await is_ended(world, key) for key in keys])


async def test_who_waits_for_a_participant_is_claimed_once(world: World) -> None:
    """V3: calls that wait for their turn stay due in the database; they are in nobody's
    way, and no sweep takes them up again.
    """
    keys, lonely = crowd("crowd", 200), Key("zz", "only")
    await left_behind(world, "n-gone", keys, then=FAILED_CONFIRM)
    assert [await swept(world) for _ in range(5)] == [80, 80, 40, 0, 0]
    assert len(world.participants.taken()) == 200, "and none is answered"
    claimed = [tx.revision for tx in await world.store.load(keys)]
    await left_behind(world, "n-gone", [lonely], then=FAILED_CONFIRM)
    assert [await swept(world) for _ in range(30)] == [1, *[0] * 29]
    assert [call.key for call in world.participants.taken()] == [lonely]
    assert [tx.revision for tx in await world.store.load(keys)] == claimed


async def test_what_a_peer_moved_on_and_died_with_is_taken_up(world: World) -> None:
    """L7, V3: though this node still holds it as it was before."""
    world.clock.time = 0
    peer = world.twin("n-peer")
    for node in (peer, world):
        await node.leases.beat()
    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    await world.answer_all()
    await peer.asked(Confirm())
    assert world.engine.drives(GID), "to its knowledge"
    await world.clock.move_to(DEAD_MS)
    await world.leases.beat()
    assert await swept(world) == 1
    assert [call.phase for call in world.participants.taken()] == [Phase.CONFIRM]


async def test_what_nobody_remembers_is_found_by_a_walk(world: World) -> None:
    """L7: this node's own rows, some at each sweep."""
    keys = crowd("default", 25)
    await left_behind(world, "node-1", keys)
    for expected in (10, 10, 5, 0):
        assert await world.sweeper.sweep() == expected
        await quiet()
    assert all([await is_ended(world, key) for key in keys])


async def test_names_are_remembered_up_to_a_limit() -> None:
    """What an outage let go of does not fill the memory; the walk finds the rest."""
    store = MemoryStore()
    world = World(store, FakeClock(), limits=EngineLimits(let_go_max=2))
    store.holding = True
    for key in crowd("default", 5):
        world.ask(Begin(replace(tcc_request(), key=key)), key)
    await quiet()
    while store.held():
        store.lose(kept=True)
        await quiet()
    store.holding = False
    assert len(world.engine.let_go.take()) == 2
    assert world.engine.let_go.take() == []


# ---- Hearts -----------------------------------------------------------------------


async def test_a_heart_does_not_wait_for_a_sweep(world: World) -> None:
    """F5, F22: a sweep that hangs in the database costs no beat."""
    await left_behind(world, "n-gone", crowd("default", 5))
    hanging = asyncio.Event()

    async def hang(rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        await hanging.wait()
        return []

    world.store.claim = hang  # type: ignore[method-assign] # it never answers
    loops = [
        asyncio.create_task(loop) for loop in (world.leases.run(), world.sweeper.run())
    ]
    await world.clock.move_to(LATE + 10 * BEAT_EVERY_MS)
    (row,) = world.leases._rows
    assert row.heartbeat >= 10
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


async def test_each_beat_tells_whether_the_database_took_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F9, F16: who asks for the node's health hears of it within a beat."""
    told: list[bool] = []
    store, clock = MemoryStore(), FakeClock()
    leases = Leases(store, clock, node_id="n-1", address="h:1", on_beat=told.append)
    beating = asyncio.create_task(leases.run())
    await clock.move_to(0)

    async def fail(_: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as away:
        away.setattr(store, "beat", fail)
        await clock.move_to(2 * BEAT_EVERY_MS)
    await clock.move_to(3 * BEAT_EVERY_MS)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    assert told == [True, False, False, True]


@pytest.mark.parametrize(
    ("stall_ms", "keeps"), [(TTL_MS - 1, True), (3 * TTL_MS, False)]
)
async def test_a_short_stall_costs_no_lease_and_a_long_one_does(
    stall_ms: int, *, keeps: bool
) -> None:
    """F5: whatever a loop stands still for, its heart does as well; at the worst
    moment, just before a beat.
    """
    world = World()
    await world.leases.beat()
    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    await world.answer_all()
    await world.asked(Confirm())
    peer = world.twin("n-peer")
    await peer.leases.beat()
    back, taken = BEAT_EVERY_MS + stall_ms, 0
    for now in range(0, back, 100):
        world.clock.time = now
        await peer.leases.beat()
        taken += await peer.sweeper.sweep()
    world.clock.time = back
    await world.leases.beat()
    await peer.leases.beat()
    taken += await peer.sweeper.sweep()
    assert (taken == 0) is keeps
    stored = await world.stored(GID)
    assert stored is not None
    assert (stored.owner == "node-1") is keeps
