"""A participant comes back, and whoever waits for it is asked soon (V8)."""

import pytest
from msgspec.structs import replace

from coordinator.core.inputs import Begin, Confirm, Pause, Succeeded, Try, Unknown
from coordinator.core.model import Key
from coordinator.core.recovery import HASTE_MS
from coordinator.engine import engine as module
from coordinator.engine.returns import RETURN_KNOWN_MS
from coordinator.engine.timers import TICK_MS
from coordinator.ports import AuditEntry
from tests.core.world import spec, tcc_request
from tests.engine.world import GID, World, quiet

AWAY = Unknown("PARTICIPANT_UNAVAILABLE", "bank is not attached")


@pytest.fixture
def world() -> World:
    """One node over an empty database."""
    return World()


async def fails(world: World, attempts: int) -> None:
    """All calls that are out fail, until this many attempts did."""
    while True:
        calls = world.participants.taken()
        if not calls:
            await world.clock.move_to(world.clock.time + 1_000)
            continue
        for call in calls:
            await world.answer(call, AWAY)
        if min(call.attempt for call in calls) >= attempts:
            return


async def outage(world: World) -> int:
    """A confirm whose next attempt is far away; when that is."""
    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    await world.answer_all()
    world.ask(Confirm())
    await quiet()
    attempts = 8
    while True:
        await fails(world, attempts)
        due_at = (await world.stored()).branches["a"].due_at
        if due_at > world.clock.time + 2 * HASTE_MS:
            return due_at
        attempts += 1


async def test_who_waits_is_asked_within_the_bound(world: World) -> None:
    """Not at the next due time, and the attempt is counted as ever."""
    due_at = await outage(world)
    attempts = (await world.stored()).branches["a"].attempts
    back = world.clock.time
    revision = (await world.stored()).revision
    world.engine.participant_returned("bank")
    await world.clock.move_to(back + HASTE_MS)

    (call,) = world.participants.taken()
    assert call.attempt == attempts + 1
    assert (await world.stored()).revision == revision, "nothing is written for it"
    await world.answer(call)
    assert (await world.stored()).status == "CONFIRMED"
    assert world.clock.time < due_at


async def test_who_fails_again_keeps_its_back_off(world: World) -> None:
    """One return hastens once: no hot loop at a participant that is still broken."""
    await outage(world)
    world.engine.participant_returned("bank")
    await world.clock.move_to(world.clock.time + HASTE_MS)
    (call,) = world.participants.taken()
    await world.answer(call, Unknown("HANDLER_ERROR"))
    due_at = (await world.stored()).branches["a"].due_at
    await world.clock.move_to(due_at - 1)
    assert not world.participants.taken()
    await world.clock.move_to(due_at + TICK_MS)
    assert [c.attempt for c in world.participants.taken()] == [call.attempt + 1]


async def test_each_return_hastens_again(world: World) -> None:
    """A participant that flaps is asked once each time."""
    await outage(world)
    for _ in range(3):
        world.engine.participant_returned("bank")
        await world.clock.move_to(world.clock.time + HASTE_MS)
        (call,) = world.participants.taken()
        await world.answer(call, AWAY)
        assert (await world.stored()).branches["a"].attempts == call.attempt


async def test_another_participants_return_changes_nothing(world: World) -> None:
    """Who waits for the bank does not care for the shop."""
    due_at = await outage(world)
    world.engine.participant_returned("shop")
    await world.clock.move_to(due_at - 1)
    assert not world.participants.taken()


async def test_a_return_while_a_commit_is_under_way_is_not_missed(world: World) -> None:
    """A transaction that is busy sets its timer when it is no more."""
    await outage(world)
    world.engine.participant_returned("bank")
    await world.clock.move_to(world.clock.time + HASTE_MS)
    (call,) = world.participants.taken()
    back = world.clock.time
    world.store.holding = True
    await world.answer(call, AWAY)
    world.engine.participant_returned("bank")
    world.store.holding = False
    world.store.release()
    await world.clock.move_to(back + HASTE_MS)
    assert [c.attempt for c in world.participants.taken()] == [call.attempt + 1]


async def test_a_call_that_is_out_is_not_doubled(world: World) -> None:
    """Its answer or its time-out comes by itself."""
    due_at = await outage(world)
    await world.clock.move_to(due_at + TICK_MS)
    assert len(world.participants.taken()) == 1
    world.engine.participant_returned("bank")
    await world.clock.move_to(due_at + HASTE_MS)
    assert not world.participants.taken()


async def test_what_an_operator_holds_is_not_asked(world: World) -> None:
    """Also not because its participant is back."""
    await outage(world)
    world.ask(
        Pause("ann", "odd"), audit=AuditEntry("ann", "pause", "odd", world.clock.time)
    )
    await quiet()
    world.engine.participant_returned("bank")
    await world.clock.move_to(world.clock.time + 60_000)
    assert not world.participants.taken()


async def test_another_nodes_transaction_is_not_driven(world: World) -> None:
    """The participant came back to this node; the owner hears of it by itself."""
    await outage(world)
    twin = world.twin()
    twin.ask(Confirm(wait=True))
    await quiet()
    twin.engine.participant_returned("bank")
    await world.clock.move_to(world.clock.time + HASTE_MS)
    assert not twin.participants.taken()


async def test_a_return_is_forgotten_after_a_while(world: World) -> None:
    """Then nobody's time is computed from it any more."""
    world.engine.participant_returned("bank")
    await world.clock.move_to(HASTE_MS + RETURN_KNOWN_MS - 1)
    assert world.engine._returns._latest
    await world.clock.move_to(HASTE_MS + RETURN_KNOWN_MS)
    assert not world.engine._returns._latest


async def test_others_have_their_turn_while_timers_are_set_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait, they are hastened some at a time, and none is left out."""
    monkeypatch.setattr(module, "REARMED_AT_ONCE", 2)
    keys = [GID._replace(gid=f"g-{number}") for number in range(5)]
    for key in keys:
        await world.asked(Begin(replace(tcc_request(), key=key)), key)
        world.ask(Try((spec("a", attempt_max=50),)), key)
        await quiet()
    await fails(world, 8)
    while min([await _due_at(world, k) for k in keys]) <= world.clock.time + 1:
        await fails(world, 9)
    back = world.clock.time
    world.engine.participant_returned("bank")
    await world.clock.move_to(back + HASTE_MS)
    calls = world.participants.taken()
    assert {call.key for call in calls} >= set(keys)
    for call in calls:
        await world.answer(call, Succeeded())


async def _due_at(world: World, key: Key) -> int:
    return (await world.stored(key)).branches["a"].due_at
