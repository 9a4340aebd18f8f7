"""Promises of the engine to a call that had to wait for its turn."""

import pytest
from msgspec.structs import replace

from coordinator.core.actions import CallBranch
from coordinator.core.inputs import Begin, Confirm, Pause, Resume, Try, Unknown
from coordinator.core.model import Key
from coordinator.core.sweep import Ask, others
from coordinator.ports import AuditEntry
from tests.core.world import spec, tcc_request
from tests.engine.world import GID, World, quiet

AWAY = Unknown("PARTICIPANT_UNAVAILABLE", "bank is not attached")


@pytest.fixture
def world() -> World:
    """One node over an empty database."""
    return World()


async def waiting(world: World) -> CallBranch:
    """The second call of a confirm, which has to wait."""
    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    await world.answer_all()
    world.ask(Confirm())
    await quiet()
    (call,) = world.participants.taken()
    await world.answer(call, AWAY)
    await world.clock.move_to((await world.stored()).branches["a"].due_at)
    (call,) = world.participants.taken()
    assert call.attempt == 2
    return call


async def told(world: World, what: object) -> None:
    audit = AuditEntry("ann", "hold", "odd", world.clock.time)
    world.ask(what, audit=audit)
    await quiet()


async def test_it_goes_out_if_it_is_still_wanted(world: World) -> None:
    """However long it waited; nothing is written, and nobody else asks meanwhile."""
    call = await waiting(world)
    revision = (await world.stored()).revision
    await world.clock.move_to(world.clock.time + 600_000)
    assert world.engine.in_turn(call) == call
    assert world.participants.taken() == []
    assert (await world.stored()).revision == revision
    await world.answer(call)
    assert (await world.stored()).status == "CONFIRMED"
    assert world.engine.in_turn(call) is None, "it has ended"


async def test_it_does_not_go_out_while_an_operator_holds_it(world: World) -> None:
    """It is asked for anew when the operator lets go."""
    call = await waiting(world)
    await told(world, Pause("ann", "odd"))
    assert world.engine.in_turn(call) is None
    assert world.engine.in_turn(call) is None
    await told(world, Resume("ann", "fine"))
    assert world.participants.taken() == [call]


async def test_held_and_let_go_while_it_waits_it_goes_out_once(world: World) -> None:
    """It has kept its place."""
    call = await waiting(world)
    await told(world, Pause("ann", "odd"))
    await told(world, Resume("ann", "fine"))
    assert world.participants.taken() == []
    assert world.engine.in_turn(call) == call


async def test_a_turn_during_a_commit_is_judged_by_what_is_stored(world: World) -> None:
    """Durable before act: what is being written does not count yet."""
    call = await waiting(world)
    world.store.holding = True
    await told(world, Pause("ann", "odd"))
    assert world.engine.in_turn(call) == call
    world.store.holding = False
    world.store.release()
    await quiet()
    assert world.engine.in_turn(call) is None


async def test_a_node_that_owns_it_no_more_does_not_ask(world: World) -> None:
    """L4: somebody else drives it."""
    call = await waiting(world)
    twin = world.twin()
    assert twin.engine.in_turn(call) is None, "it does not know of it"
    twin.ask(Confirm(wait=True))
    await quiet()
    assert twin.engine.in_turn(call) is None


async def test_who_gets_it_back_asks_again(world: World) -> None:
    """L7: a turn while another node owned it leaves no mark of a call under way."""
    call = await waiting(world)
    await claimed(world, "node-2")
    world.ask(Confirm(wait=True))
    await world.asked(Begin(tcc_request(digest="d2")))  # refused after a look
    assert world.engine.in_turn(call) is None, "node-2 owns it"
    await claimed(world, "node-1")
    world.engine.take_over([GID])
    await quiet()
    assert [c.attempt for c in world.participants.taken()] == [2]


async def claimed(world: World, owner: str) -> None:
    lines = await world.store.lines(others(()), limit=9)
    asks = [Ask(line, None, 0, 9) for line in lines]
    (row,) = await world.store.unfinished(asks, due_before=world.clock.time)
    assert await world.store.claim([row], owner=owner) == [GID]


async def test_a_long_wait_calls_a_person_once(world: World) -> None:
    """S6: with one commit, and the transaction goes on waiting."""
    call = await waiting(world)
    revision = (await world.stored()).revision
    for _ in range(3):
        world.engine.waits_long([call, replace(call, key=Key("default", "gone"))])
        await quiet()
    tx = await world.stored(GID)
    assert tx.revision == revision + 1
    assert tx.attention_since is not None
    assert "waits for its participant" in tx.attention_reason
    assert world.engine.in_turn(call) == call
    assert await world.stored(Key("default", "gone")) is None
