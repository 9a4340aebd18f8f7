"""Promises of the door: what a node does not take on, and for how long (V5)."""

from msgspec.structs import replace

from coordinator.core.admission import STALL_MS
from coordinator.core.errors import Overloaded, StoreUnavailable
from coordinator.core.inputs import Begin, Cancel
from coordinator.core.model import Key
from coordinator.core.words import Status
from coordinator.engine.limits import EngineLimits
from tests.core.world import tcc_request
from tests.engine.world import Asked, World, quiet


async def test_new_transactions_are_refused_when_full() -> None:
    """A node holds a bounded number, and what it holds goes on."""
    world = World(limits=EngineLimits(resident_max=1))
    await world.asked(Begin(tcc_request()))
    key = Key("default", "g-2")
    refused = await world.asked(Begin(replace(tcc_request(), key=key)), key)

    assert isinstance(refused.answer, Overloaded)
    assert (await world.asked(Cancel())).tx.status is Status.CANCELLED


async def test_new_transactions_are_refused_while_too_much_is_to_be_stored() -> None:
    """What waits for the database is bounded, in one turn of the loop, too (V5, F36).

    What was begun goes on meanwhile. There is room again as soon as the database has
    caught up, or nobody can say what became of the commit.
    """
    world = World(limits=EngineLimits(changes_max=2, changes_stalled_max=2))
    world.store.holding = True

    def begin(number: int) -> Asked:
        key = Key("default", f"g-{number}")
        return world.ask(Begin(replace(tcc_request(), key=key)), key)

    first, second, third = begin(1), begin(2), begin(3)
    await quiet()
    assert isinstance(third.answer, Overloaded)
    world.store.release()
    await quiet()
    assert first.tx.status is second.tx.status is Status.TRYING

    cancels = [world.ask(Cancel(), Key("default", f"g-{n}")) for n in (1, 2)]
    await quiet()
    fourth = begin(4)
    await quiet()
    assert isinstance(fourth.answer, Overloaded)
    world.store.lose(kept=True)
    world.store.holding = False
    await quiet()
    assert all(isinstance(it.answer, StoreUnavailable) for it in cancels)

    fifth = begin(5)
    await quiet()
    assert fifth.tx.status is Status.TRYING


async def test_a_database_that_stands_still_for_a_moment_refuses_nobody() -> None:
    """Only where it stays behind more is refused than for a moment (V5)."""
    world = World(limits=EngineLimits(changes_max=1, changes_stalled_max=9))
    world.store.holding = True

    async def begun(number: int) -> Asked:
        key = Key("default", f"g-{number}")
        asked = world.ask(Begin(replace(tcc_request(), key=key)), key)
        await quiet()
        return asked

    in_time = [await begun(1), await begun(2), await begun(3)]
    await world.clock.move_to(world.clock.now() + STALL_MS)
    late = await begun(4)

    assert isinstance(late.answer, Overloaded)
    world.store.holding = False
    world.store.release()
    await quiet()
    assert [it.tx.status for it in in_time] == [Status.TRYING] * 3
    assert (await begun(5)).tx.status is Status.TRYING
