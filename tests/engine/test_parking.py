"""What waits long costs no memory, and nobody notices."""

import pytest
from msgspec.structs import replace

from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Confirm,
    Pending,
    Succeeded,
    Try,
    Unknown,
    Woken,
)
from coordinator.core.words import (
    BranchStatus,
    Phase,
    Status,
)
from coordinator.engine.limits import EngineLimits
from tests.core.world import DEADLINE, spec, tcc_request
from tests.engine.world import GID, World, quiet

LIMITS = EngineLimits()
IDLE_AT = LIMITS.parked_after_ms
LATE = DEADLINE + IDLE_AT + LIMITS.parked_for_ms
"""A deadline that is far enough away."""


async def open_transaction(world: World) -> None:
    """Tries are done; its initiator thinks about it."""
    await world.asked(Begin(replace(tcc_request(), deadline_at=LATE)))
    await world.asked(Try((spec("a"),)))
    await world.answer_all()
    await world.clock.move_to(1_000)  # lazy facts are stored


def is_here(world: World) -> bool:
    return GID in world.engine._residents


@pytest.fixture
def world() -> World:
    """One node over an empty database."""
    return World()


async def test_an_initiator_that_goes_on_finds_it_in_memory(world: World) -> None:
    """No read is paid for by those who take no longer than people expect."""
    await open_transaction(world)
    await world.clock.move_to(IDLE_AT - 1)
    assert is_here(world)


async def test_one_that_takes_long_finds_it_all_the_same(world: World) -> None:
    """It left memory; the confirm reads it again, and all goes on."""
    await open_transaction(world)
    await world.clock.move_to(IDLE_AT + 1_000)
    assert not is_here(world)
    asked = world.ask(Confirm())
    await quiet()
    await world.answer_all()
    assert asked.tx.status in (Status.CONFIRMING, Status.CONFIRMED)
    stored = await world.stored()
    assert stored is not None
    assert stored.status is Status.CONFIRMED


async def test_its_time_comes_on_time(world: World) -> None:
    """The deadline cancels it, without any sweep."""
    await open_transaction(world)
    await world.clock.move_to(LATE - 1)
    assert not is_here(world)
    await world.clock.move_to(LATE)
    (call,) = world.participants.taken()
    assert call.phase is Phase.CANCEL


async def test_what_is_one_too_many_is_found_by_the_sweep() -> None:
    """Nothing is kept of it; it is looked at when a sweep finds that it is due."""
    world = World(limits=EngineLimits(timers_max=0))
    await open_transaction(world)
    await world.clock.move_to(LATE)
    assert world.participants.taken() == []
    await world.leases.beat()
    assert await world.sweeper.sweep() == 1
    await quiet()
    (call,) = world.participants.taken()
    assert call.phase is Phase.CANCEL


async def test_who_waits_for_a_participant_stays(world: World) -> None:
    """A back-off is short, and it is asked soon when it is back (V8)."""
    await open_transaction(world)
    await world.asked(Confirm())
    for _ in range(12):
        for call in world.participants.taken():
            await world.answer(call, Unknown("PARTICIPANT_UNAVAILABLE"))
        stored = await world.stored()
        assert stored is not None
        await world.clock.move_to(stored.branches["a"].due_at)
        assert is_here(world)


async def test_whoever_waits_for_an_answer_keeps_it_here(world: World) -> None:
    """A try that stays pending for minutes; its initiator waits, and is told."""
    await world.asked(Begin(replace(tcc_request(), deadline_at=LATE)))
    waiting = world.ask(Try((spec("a"),)))
    await quiet()
    (call,) = world.participants.taken()
    await world.answer(call, Pending(LATE))
    await world.clock.move_to(IDLE_AT + 1_000)
    assert waiting.answers == []
    assert is_here(world)
    world.ask(BranchReplied("a", Phase.TRY, 0, Succeeded()))
    await quiet()
    assert waiting.tx.branches["a"].status is BranchStatus.TRIED


async def test_what_is_pending_for_long_and_awaited_by_nobody_leaves(
    world: World,
) -> None:
    """Its participant says so when it is done, and that reads it again."""
    await world.asked(Begin(replace(tcc_request(), deadline_at=LATE)))
    waiting = world.ask(Try((spec("a"),)))
    await quiet()
    (call,) = world.participants.taken()
    await world.answer(call, Pending(LATE))
    assert waiting.ticket is not None
    waiting.ticket.cancel()
    world.ask(Woken())
    await world.clock.move_to(IDLE_AT + 1_000)
    assert not is_here(world)
    done = world.ask(BranchReplied("a", Phase.TRY, 0, Succeeded()))
    await quiet()
    assert done.tx.branches["a"].status is BranchStatus.TRIED
