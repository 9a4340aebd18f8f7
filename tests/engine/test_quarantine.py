"""What takes its nodes down again and again is set aside; the others go on (V6)."""

import asyncio
from dataclasses import replace

from structlog.testing import capture_logs

from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Confirm,
    Observe,
    RetryNow,
    Succeeded,
    Try,
    Unknown,
)
from coordinator.core.model import Key, Phase, Status
from coordinator.core.sweep import Ask, Line, is_quarantined
from coordinator.engine.resident import SURVIVED_MS
from coordinator.engine.sweeper import SUSPECT_MS, SUSPECTS_MS_MAX
from coordinator.ports import AuditEntry, TransactionFilter
from tests.core.world import spec, tcc_request
from tests.engine.world import DEAD_MS, GID, World, quiet

OTHER = Key("default", "g-2")


async def decided(world: World, key: Key = GID) -> None:
    """A transaction whose confirm is out."""
    await world.leases.beat()
    await world.asked(Begin(replace(tcc_request(), key=key)), key)
    world.ask(Try((spec("a"),)), key)
    await quiet()
    await world.answer_all()
    await world.asked(Confirm(), key)
    world.participants.taken()


async def next_owner(world: World, number: int) -> World:
    """A process that starts when ``world``'s has died, and has waited for its lease."""
    twin = world.twin(f"node-{number}")
    await twin.leases.beat()
    await world.clock.move_to(world.clock.time + DEAD_MS)
    await twin.leases.beat()
    await swept(twin)
    return twin


async def swept(world: World) -> None:
    """One sweep, which gives suspects some time."""
    sweeping = asyncio.create_task(world.sweeper.sweep())
    await quiet()
    while not sweeping.done():
        await world.clock.move_to(world.clock.time + SUSPECT_MS)
    await sweeping


async def died_with(world: World, owners: int) -> World:
    """A node that has swept after so many others died with the transaction."""
    for number in range(2, owners + 2):
        world = await next_owner(world, number)
    return world


async def test_after_two_owners_a_third_takes_over() -> None:
    """V6: two that died with it may be bad luck."""
    world = World()
    await decided(world)
    third = await died_with(world, 2)
    assert [c.phase for c in third.participants.taken()] == [Phase.CONFIRM]


async def test_what_three_owners_died_with_is_held_for_a_person() -> None:
    """V6: it keeps its state, nobody asks for it, and it is listed with its reason."""
    world = World()
    await decided(world)
    with capture_logs() as logs:
        last = await died_with(world, 3)
    assert not last.participants.taken()
    stored = await last.stored()
    assert stored.status is Status.CONFIRMING
    assert is_quarantined(stored)
    (listed,) = await last.store.list_transactions(
        TransactionFilter("default", attention=True)
    )
    assert listed.attention_reason.startswith("QUARANTINED: 3 nodes")
    raised = [entry for entry in logs if entry["event"] == "attention_raised"]
    assert [entry["gid"] for entry in raised] == ["g-1"]
    facts = [f["type"] for e in await last.store.journal(GID) for f in e.events]
    assert facts[-1] == "AttentionRaised"
    for number in range(9, 12):
        last = await next_owner(last, number)
        assert not last.participants.taken()


async def test_the_others_go_on() -> None:
    """V2, V6: what its owners committed since they took it over is healthy."""
    world = World()
    await decided(world)
    await decided(world, OTHER)
    for number in (2, 3, 4):
        world = await next_owner(world, number)
        for call in world.participants.taken():
            if call.key == OTHER:
                failed = Unknown("TIMEOUT") if number < 4 else None
                await world.answer(call, failed)
    assert is_quarantined(await world.stored())
    assert (await world.stored(OTHER)).status is Status.CONFIRMED


async def test_who_waits_for_its_turn_is_not_taken_for_poison() -> None:
    """V6: its nodes may die as often as they like, if they lived with it for a while;
    that costs one write more than the claim.
    """
    world = World()
    await decided(world)
    for number in range(2, 9):
        world = await next_owner(world, number)
        (call,) = world.participants.taken()
        assert call.phase is Phase.CONFIRM
        revision = (await world.stored()).revision
        await world.clock.move_to(world.clock.time + 10 * SURVIVED_MS)
        assert (await world.stored()).revision == revision + 1
    assert not is_quarantined(await world.stored())
    await world.answer(call)
    assert (await world.stored()).status is Status.CONFIRMED


async def test_a_rolling_restart_quarantines_nothing() -> None:
    """V6: nodes that leave in good order take their rows with them."""
    world = World()
    await decided(world)
    for number in range(2, 9):
        await world.leases.leave()
        world = await next_owner(world, number)
        assert [c.phase for c in world.participants.taken()] == [Phase.CONFIRM]
    assert not is_quarantined(await world.stored())


async def test_who_only_looks_does_not_drive_it() -> None:
    """V6: an initiator that waits, and a report that comes in, start no call."""
    world = World()
    await decided(world)
    last = await died_with(world, 3)
    last.ask(Observe(wait=True))
    last.ask(Confirm(wait=True))
    await quiet()
    await last.clock.move_to(last.clock.time + 60_000)
    assert not last.participants.taken()
    last.engine.replied([(GID, BranchReplied("a", Phase.CONFIRM, 0, Succeeded()))])
    await quiet()
    assert (await last.stored()).status is Status.CONFIRMED


async def test_an_operators_retry_lets_it_go_on() -> None:
    """V6: audited as ever; the count begins anew."""
    world = World()
    await decided(world)
    last = await died_with(world, 3)
    at = last.clock.time
    audit = AuditEntry("ann", "retry", "the node has more memory now", at)
    last.ask(RetryNow("ann", audit.reason), audit=audit)
    await quiet()
    assert [c.phase for c in last.participants.taken()] == [Phase.CONFIRM]
    assert (await last.stored()).attention_since is None
    assert [r.reason for r in await last.store.audit_trail()] == [audit.reason]
    again = await died_with(last, 2)
    assert [c.phase for c in again.participants.taken()] == [Phase.CONFIRM]
    await again.answer_all()


async def test_node_that_has_just_joined_is_not_taken_for_one_that_left() -> None:
    """L1: a peer that looked round before it came does not claim what it drives."""
    world = World()
    await world.leases.beat()
    joined = world.twin()
    await decided(joined)

    await world.sweeper.sweep()

    stored = await world.stored()
    assert stored is not None
    assert stored.owner == "node-2"


async def test_two_that_quarantine_at_once_leave_one_fact() -> None:
    """V6, L1: the revision guard lets one of them write it."""
    world = World()
    await decided(world)
    world = await died_with(world, 2)
    one, two = world.twin("node-8"), world.twin("node-9")
    for node in (one, two):
        await node.leases.beat()
    await world.clock.move_to(world.clock.time + DEAD_MS)
    for node in (one, two):
        await node.leases.beat()
    line = Line("node-3", "default", 2)
    rows = await two.store.unfinished(
        [Ask(line, None, 0, 9)], due_before=world.clock.time
    )
    assert rows
    await swept(one)
    await two.sweeper._quarantine(rows)
    facts = [f["type"] for e in await two.store.journal(GID) for f in e.events]
    assert facts.count("AttentionRaised") == 1


async def test_suspects_are_taken_over_one_by_one() -> None:
    """V6: so a node that dies again leaves one name behind, not its whole page."""
    world = World()
    keys = [Key("default", f"g-{number}") for number in range(3)]
    for key in keys:
        await decided(world, key)
    second = await next_owner(world, 2)
    assert len(second.participants.taken()) == 3, "nobody is suspected yet"
    third = second.twin("node-3")
    await third.leases.beat()
    await third.clock.move_to(third.clock.time + DEAD_MS)
    await third.leases.beat()
    sweeping = asyncio.create_task(third.sweeper.sweep())
    await quiet()
    (first,) = third.participants.taken()
    await third.answer(first)
    (next_one,) = third.participants.taken()
    assert next_one.key != first.key, "it has moved, so the next one has its turn"
    await third.clock.move_to(third.clock.time + SUSPECT_MS - 1)
    assert not third.participants.taken()
    await third.clock.move_to(third.clock.time + 1)
    assert len(third.participants.taken()) == 1, "it had time enough to do harm"
    await third.clock.move_to(third.clock.time + SUSPECT_MS)
    assert await sweeping == 3


async def test_however_many_suspects_there_are_a_sweep_ends() -> None:
    """V6: and the next one goes on."""
    world = World()
    keys = [Key("default", f"g-{number}") for number in range(15)]
    for key in keys:
        await decided(world, key)
    second = await next_owner(world, 2)
    second.participants.taken()
    third = second.twin("node-3")
    await third.leases.beat()
    await third.clock.move_to(third.clock.time + DEAD_MS)
    await third.leases.beat()
    began = third.clock.time
    await swept(third)
    assert third.clock.time - began == SUSPECTS_MS_MAX
    assert len(third.participants.taken()) == SUSPECTS_MS_MAX // SUSPECT_MS
    await third.leases.beat()
    await swept(third)
    assert len(third.participants.taken()) == 5
