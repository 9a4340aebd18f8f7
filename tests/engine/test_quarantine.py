"""What takes its nodes down again and again is set aside; the others go on (V6)."""

import asyncio

from msgspec.structs import replace
from structlog.testing import capture_logs

from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Confirm,
    Observe,
    Pause,
    Resume,
    RetryNow,
    Succeeded,
    Try,
    Unknown,
)
from coordinator.core.model import Key
from coordinator.core.quarantine import (
    NOBODY,
    QUARANTINE_MS,
    QUARANTINE_MS_MAX,
    is_on_trial,
    is_quarantined,
    trial_at,
)
from coordinator.core.sweep import Ask, Line
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)
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


# ---- The trial --------------------------------------------------------------------


async def quarantined(*keys: Key) -> World:
    """A node that has just quarantined this."""
    world = World()
    for key in keys or (GID,):
        await decided(world, key)
    last = await died_with(world, 3)
    assert not last.participants.taken()
    return last


async def hold_over(world: World, *, ms: int = QUARANTINE_MS) -> None:
    """The hold goes by, and the node sweeps."""
    await world.clock.move_to(world.clock.time + ms)
    await world.leases.beat()
    await swept(world)


async def facts_of(world: World, key: Key = GID) -> list[object]:
    return [f["type"] for e in await world.store.journal(key) for f in e.events]


async def test_when_its_hold_is_over_it_is_tried_again_without_anybody() -> None:
    """V6: not a moment before; who lives through it has an ordinary transaction."""
    world = await quarantined()
    await hold_over(world, ms=QUARANTINE_MS - 1)
    assert not world.participants.taken()
    with capture_logs() as logs:
        await hold_over(world, ms=1)
        (call,) = world.participants.taken()
        assert is_on_trial(await world.stored())
        await world.answer(call, Unknown("TIMEOUT"))
    stored = await world.stored()
    assert (stored.attention_since, stored.owner) == (None, "node-4")
    assert (await facts_of(world))[-2:] == ["TrialSurvived", "AttemptFailed"]
    told = [(e["event"], e["gid"]) for e in logs if e["event"].startswith("trial")]
    assert told == [("trial_started", "g-1"), ("trial_survived", "g-1")]
    third = await died_with(world, 2)
    assert third.participants.taken(), "the count begins anew"


async def test_a_trial_that_kills_its_node_is_held_for_longer() -> None:
    """V6: that node, and no other one; the person is told."""
    world = await quarantined()
    hold = QUARANTINE_MS
    for died in (4, 5, 6, 7):
        await hold_over(world, ms=hold)
        assert world.participants.taken()
        world = await next_owner(world, 10 + died)
        assert not world.participants.taken()
        stored = await world.stored()
        assert stored.attention_reason.startswith(f"QUARANTINED: {died} nodes in a row")
        assert (stored.owner, is_quarantined(stored)) == (NOBODY, True)
        hold = min(2 * hold, QUARANTINE_MS_MAX)
        assert trial_at(stored) == world.clock.time + hold


async def test_of_several_nodes_one_tries_it() -> None:
    """V6, L3: the claim is a compare-and-set; the others go on without it."""
    world = await quarantined()
    twins = [world.twin(f"node-{number}") for number in (21, 22)]
    await world.clock.move_to(world.clock.time + QUARANTINE_MS)
    nodes = [world, *twins]
    for node in nodes:
        await node.leases.beat()
    sweeps = [asyncio.create_task(node.sweeper.sweep()) for node in nodes]
    await quiet()
    await world.clock.move_to(world.clock.time + SUSPECT_MS)
    assert sorted([await sweep for sweep in sweeps]) == [0, 0, 1]
    assert sorted(len(node.participants.taken()) for node in nodes) == [0, 0, 1]


async def test_each_is_tried_by_itself() -> None:
    """V6: so that what kills its node does so alone."""
    world = await quarantined(*(Key("default", f"g-{n}") for n in range(3)))
    await world.clock.move_to(world.clock.time + QUARANTINE_MS)
    await world.leases.beat()
    sweeping = asyncio.create_task(world.sweeper.sweep())
    for _ in range(3):
        await quiet()
        assert len(world.participants.taken()) == 1
        await world.clock.move_to(world.clock.time + SUSPECT_MS)
    assert await sweeping == 3


async def test_a_trial_that_only_waits_is_survived_after_a_while() -> None:
    """V6: whose call waits for its turn has not killed anybody either."""
    world = await quarantined()
    await hold_over(world)
    (call,) = world.participants.taken()
    began = world.clock.time - SUSPECT_MS
    await world.clock.move_to(began + SURVIVED_MS - 1)
    assert is_on_trial(await world.stored())
    await world.clock.move_to(began + SURVIVED_MS)
    assert (await world.stored()).attention_since is None
    assert (await facts_of(world))[-1] == "TrialSurvived"
    await world.answer(call)
    assert (await world.stored()).status is Status.CONFIRMED


async def test_what_time_decided_meanwhile_is_no_survival() -> None:
    """V6: a deadline that passed during the hold is written before anybody is called;
    who dies then died on trial.
    """
    world = World()
    await world.leases.beat()
    await world.asked(Begin(tcc_request()))
    world.ask(Try((spec("a"),)))
    await quiet()
    last = await died_with(world, 3)
    await hold_over(last)
    assert [c.phase for c in last.participants.taken()] == [Phase.CANCEL]
    stored = await last.stored()
    assert (stored.decision, is_on_trial(stored)) == (Decision.ABORT, True)
    after = await next_owner(last, 9)
    assert not after.participants.taken()
    assert "QUARANTINED: 4 nodes" in (await after.stored()).attention_reason
    await hold_over(after, ms=2 * QUARANTINE_MS)
    await after.clock.move_to(after.clock.time + SURVIVED_MS)
    assert (await after.stored()).attention_since is None


async def test_what_is_written_of_it_meanwhile_ends_no_hold() -> None:
    """V6: nor does it make the next one shorter."""
    world = await quarantined()
    await hold_over(world)
    world.participants.taken()
    world = await next_owner(world, 9)
    at = (await world.stored()).attention_reason
    for what in (Pause("ann", "odd"), Resume("ann", "no more")):
        audit = AuditEntry("ann", "x", what.reason, world.clock.time)
        world.ask(what, audit=audit)
        await quiet()
    stored = await world.stored()
    assert (stored.attention_reason, stored.owner) == (at, NOBODY)
    await hold_over(world, ms=QUARANTINE_MS)
    assert not world.participants.taken()
    await hold_over(world, ms=QUARANTINE_MS)
    assert world.participants.taken()


async def test_who_writes_during_a_trial_does_not_drive_it() -> None:
    """V6: a wish that reaches another node costs that one nothing; it is stored, and
    whoever tries it goes on with it.
    """
    world = await quarantined()
    await hold_over(world)
    (call,) = world.participants.taken()
    other = world.twin("node-31")
    audit = AuditEntry("ann", "pause", "odd", world.clock.time)
    other.ask(Pause("ann", "odd"), audit=audit)
    await quiet()
    stored = await world.stored()
    assert (stored.owner, stored.paused_at) == ("node-4", world.clock.time)
    await world.answer(call, Unknown("TIMEOUT"))
    stored = await world.stored()
    assert (stored.attention_since, stored.paused_at) == (None, world.clock.time)
    assert not other.participants.taken()


async def test_a_trial_outlives_its_nodes_departure() -> None:
    """V6: who leaves in good order did not die of it; the next one tries it as well."""
    world = await quarantined()
    await hold_over(world)
    assert world.participants.taken()
    await world.leases.leave()
    world = await next_owner(world, 9)
    assert world.participants.taken()
    assert is_on_trial(await world.stored())


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
