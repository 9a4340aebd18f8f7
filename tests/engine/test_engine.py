"""Promises of the engine: durable, then act; conflicts; unknown commits; restart."""

import pytest
from msgspec.structs import replace

from coordinator.core.backoff import PHASE_TWO
from coordinator.core.errors import (
    InvariantViolated,
    NotFound,
    StoreUnavailable,
)
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Cancel,
    Confirm,
    Observe,
    Pending,
    Refused,
    RetryNow,
    Submit,
    Succeeded,
    Try,
    Unknown,
)
from coordinator.core.model import Key
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
    Status,
)
from coordinator.engine.engine import FOREIGN_POLL_MS
from coordinator.ports import AuditEntry, TransactionFilter
from tests.core.world import (
    DEADLINE,
    definition,
    saga_request,
    spec,
    step,
    tcc_request,
)
from tests.engine.world import DEAD_MS, GID, World, quiet

SAGA = Key("default", "s-1")


@pytest.fixture
def world() -> World:
    """One node over an empty database."""
    return World()


async def tried(world: World) -> None:
    """A transaction with two branches whose tries have succeeded."""
    await world.asked(Begin(tcc_request()))
    world.ask(Try((spec("a"), spec("b"))))
    await quiet()
    await world.answer_all()


async def test_transfer_from_begin_to_end(world: World) -> None:
    """Begin, try, confirm: confirmed at every participant and in the database."""
    await tried(world)
    confirm = await world.asked(Confirm(wait=True))
    assert confirm.answers == []
    await world.answer_all()

    assert confirm.tx.status is Status.CONFIRMED
    stored = await world.stored()
    assert stored is not None
    assert stored.status is Status.CONFIRMED


async def test_four_commits_for_a_mediated_transaction(world: World) -> None:
    """Accepted, registered, decided, ended: parallel answers cost no commit."""
    await tried(world)
    await world.asked(Confirm())
    await world.answer_all()

    stored = await world.stored()
    assert stored is not None
    assert stored.revision == 4
    assert [entry.seq for entry in await world.store.journal(GID)] == [1, 2, 3, 4]


async def test_three_commits_for_a_declared_transaction(world: World) -> None:
    """Accepted, tried and decided, ended."""
    begin = Begin(tcc_request(declared=True), (spec("a"), spec("b")))
    await world.asked(begin)
    await world.answer_all()

    stored = await world.stored()
    assert stored is not None
    assert (stored.status, stored.revision) == (Status.CONFIRMED, 3)


async def test_nothing_leaves_before_it_is_durable(world: World) -> None:
    """Neither answer nor call goes out while the commit is under way (T4, T7)."""
    await world.asked(Begin(tcc_request()))
    world.store.holding = True
    attempt = await world.asked(Try((spec("a"),)))
    await world.store.until_held()
    assert world.participants.calls == []
    world.store.release()
    await quiet()

    assert [c.phase for c in world.participants.taken()] == [Phase.TRY]
    assert attempt.answers == []


async def test_inputs_during_a_commit_wait_for_it(world: World) -> None:
    """A transaction with a commit under way queues its later inputs."""
    world.store.holding = True
    begin = await world.asked(Begin(tcc_request()))
    cancel = await world.asked(Cancel())
    assert len(world.store.held()) == 1
    world.store.release()
    await quiet()
    assert begin.tx.status is Status.TRYING
    world.store.release()
    await quiet()

    assert cancel.tx.status is Status.CANCELLED


async def test_commits_are_shared(world: World) -> None:
    """What arrives while a commit is under way goes into the next one, together."""
    world.store.holding = True
    for n in range(50):
        request = replace(tcc_request(), key=Key("default", f"g-{n}"))
        await world.asked(Begin(request), request.key)
    sizes = [len(changes) for changes in world.store.held()]
    world.store.release()
    await quiet()
    sizes += [len(changes) for changes in world.store.held()]

    assert sizes == [1, 49]


async def test_try_is_answered_without_a_commit_of_its_own(world: World) -> None:
    """The initiator hears a try's success while nothing but memory holds it."""
    await world.asked(Begin(tcc_request()))
    attempt = await world.asked(Try((spec("a"),)))
    (call,) = world.participants.taken()
    world.store.holding = True
    await world.answer(call)

    assert attempt.tx.branches["a"].status.value == "TRIED"
    assert world.store.held() == []


async def test_try_is_durable_before_the_answer_where_a_check_back_follows(
    world: World,
) -> None:
    """The initiator acts on the answer, so that a crash must not take it: the deadline
    would cancel what the initiator would have said yes to.
    """
    await world.asked(Begin(tcc_request(check_back="client.was_paid")))
    attempt = await world.asked(Try((spec("a"),)))
    (call,) = world.participants.taken()
    world.store.holding = True
    await world.answer(call)
    assert attempt.answers == []
    world.store.release()
    await quiet()

    assert attempt.tx.branches["a"].status.value == "TRIED"


async def test_reported_outcome_is_durable_before_the_answer(world: World) -> None:
    """What a participant reports unasked cannot be asked again, so it is stored."""
    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    (call,) = world.participants.taken()
    await world.answer(call, Pending())
    world.store.holding = True
    report = await world.asked(BranchReplied("a", Phase.TRY, 0, Succeeded()))
    assert report.answers == []
    world.store.release()
    await quiet()

    assert report.tx.branches["a"].status.value == "TRIED"


async def test_refused_try_answers_the_initiator_when_durable(world: World) -> None:
    """The initiator hears the refusal with the decision."""
    await world.asked(Begin(tcc_request()))
    attempt = await world.asked(Try((spec("a"),)))
    (call,) = world.participants.taken()
    await world.answer(call, Refused("NO"))

    assert attempt.tx.reason_code == "NO"
    stored = await world.stored()
    assert stored is not None
    assert stored.status is Status.CANCELLED


async def test_repeated_begin_gets_the_same_answer(world: World) -> None:
    """A lost reply is resolved by asking again, on any node (T10)."""
    await tried(world)
    again = await world.twin().asked(Begin(tcc_request()))

    assert again.tx.status is Status.TRYING
    assert again.tx.branches.keys() == {"a", "b"}


async def test_begin_that_waits_is_answered_at_the_end(world: World) -> None:
    """By whichever node it was asked, and as often; the end is the same."""
    begin = Begin(tcc_request(declared=True), (spec("a"),), wait=True)
    first = await world.asked(begin)
    again = await world.asked(begin)
    elsewhere = await world.twin().asked(begin)
    assert [first.answers, again.answers, elsewhere.answers] == [[], [], []]
    await world.answer_all()
    assert first.tx.status is again.tx.status is Status.CONFIRMED
    await world.clock.move_to(FOREIGN_POLL_MS)
    assert elsewhere.tx.status is Status.CONFIRMED


async def test_confirm_after_a_crash_waits_for_the_tries(world: World) -> None:
    """The initiator heard the tries succeed, the node died with that in memory: the
    confirm at the next node waits until the participants have said so again.
    """
    await tried(world)
    twin = world.twin()
    confirm = await twin.asked(Confirm())
    assert confirm.answers == []
    await twin.leases.beat()
    await twin.sweeper.sweep()
    await quiet()
    assert await twin.sweeper.sweep() == 0
    await twin.clock.move_to(FOREIGN_POLL_MS)
    await twin.answer_all()

    assert confirm.tx.decision is Decision.COMMIT


async def test_refusal_while_a_confirm_waits(world: World) -> None:
    """Who wants to confirm learns that it was decided otherwise (T9)."""
    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    confirm = await world.asked(Confirm())
    (call,) = world.participants.taken()
    await world.answer(call, Refused("NO"))

    assert confirm.tx.status is Status.CANCELLED


async def test_unknown_gid_is_not_found(world: World) -> None:
    """And nothing stays in memory for it."""
    asked = await world.asked(Observe())

    assert isinstance(asked.answer, NotFound)
    assert not world.engine._residents


async def test_deadline_cancels_an_abandoned_transaction(world: World) -> None:
    """An initiator that died is not waited for."""
    await tried(world)
    await world.clock.move_to(DEADLINE)
    await world.answer_all()

    stored = await world.stored()
    assert stored is not None
    assert (stored.status, stored.reason_code) == (Status.CANCELLED, "DEADLINE")


async def test_failed_call_is_made_again_when_due(world: World) -> None:
    """An unknown outcome is asked again after its back-off, and not before."""
    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    (call,) = world.participants.taken()
    await world.answer(call, Unknown("TIMEOUT"))
    await world.clock.move_to(PHASE_TWO.interval_max_ms)

    (again,) = world.participants.taken()
    assert (again.branch_id, again.attempt) == ("a", 2)


async def test_call_is_not_doubled_while_it_is_out(world: World) -> None:
    """Other inputs do not send a call again that has no answer yet."""
    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    await world.asked(Observe())
    await world.asked(Try((spec("b"),)))

    assert [c.branch_id for c in world.participants.taken()] == ["a", "b"]


async def test_conflict_is_decided_again(world: World) -> None:
    """Another node wrote the row: the old owner reloads and sees its decision (L1)."""
    await tried(world)
    twin = world.twin()
    await twin.asked(Cancel("OTHER"))
    confirm = await world.asked(Confirm())

    assert confirm.tx.reason_code == "OTHER"
    assert confirm.tx.status is Status.CANCELLING


async def test_old_owner_lets_go_after_a_conflict(world: World) -> None:
    """After the conflict the new owner drives, and the old one does not."""
    await tried(world)
    twin = world.twin()
    await twin.asked(Cancel())
    await world.asked(Confirm())

    assert not world.engine.drives(GID)
    assert [c.phase for c in world.participants.taken()] == []
    assert [c.phase for c in twin.participants.taken()] == [Phase.CANCEL] * 2


async def test_end_of_a_foreign_transaction_is_waited_for(world: World) -> None:
    """Who waits at another node than the owner learns the end too."""
    await tried(world)
    twin = world.twin()
    waiting = await twin.asked(Observe(wait=True))
    await world.asked(Confirm())
    await world.answer_all()
    assert waiting.answers == []
    await world.clock.move_to(FOREIGN_POLL_MS)

    assert waiting.tx.status is Status.CONFIRMED


@pytest.mark.parametrize("kept", [True, False])
async def test_unknown_commit_is_read_again(world: World, *, kept: bool) -> None:
    """Whether or not it was written, asking again gets the truth (L6, T10)."""
    await tried(world)
    world.store.holding = True
    first = await world.asked(Confirm())
    world.store.lose(kept=kept)
    world.store.holding = False
    await quiet()
    assert isinstance(first.answer, StoreUnavailable)
    assert world.participants.taken() == []
    if not kept:  # the answers to the tries were lost with it, and are asked again
        await world.asked(Observe())
        await world.answer_all()
    second = await world.asked(Confirm())

    assert second.tx.status is Status.CONFIRMING


async def test_restart_resumes_from_what_is_stored(world: World) -> None:
    """A new process takes up what the dead one left, without being asked (L7)."""
    await world.leases.beat()
    await tried(world)
    await world.asked(Confirm())
    assert len(world.participants.taken()) == 2
    twin = world.twin()
    await twin.leases.beat()
    assert await twin.sweeper.sweep() == 0  # its owner may be alive
    await world.clock.move_to(DEAD_MS)
    await twin.leases.beat()
    assert await twin.sweeper.sweep() == 1
    await quiet()
    await twin.answer_all()

    stored = await world.stored()
    assert stored is not None
    assert stored.status is Status.CONFIRMED


async def test_dead_owner_is_replaced_though_somebody_waits_here(
    world: World,
) -> None:
    """A client that waits at a node does not keep that node from taking over (L7)."""
    await tried(world)
    await world.asked(Confirm())
    twin = world.twin()
    waiting = await twin.asked(Observe(wait=True))
    await twin.leases.beat()
    assert await twin.sweeper.sweep() == 1
    await quiet()
    await twin.answer_all()

    assert waiting.tx.status is Status.CONFIRMED


async def test_living_peer_keeps_its_transactions(world: World) -> None:
    """A heartbeat that moves keeps the row where it is."""
    await world.leases.beat()
    await tried(world)
    await world.asked(Confirm())
    twin = world.twin()
    for second in range(1, 8):
        await world.clock.move_to(second * 1_000)
        await world.leases.beat()
        await twin.leases.beat()
        assert await twin.sweeper.sweep() == 0


async def test_nothing_is_loaded_at_start(world: World) -> None:
    """A start reads no transaction; the sweeper pages."""
    for n in range(20):
        key = Key("default", f"g-{n}")
        await world.asked(Begin(replace(tcc_request(), key=key)), key)
    twin = world.twin()

    assert not twin.engine._residents


async def test_saga_survives_a_restart_with_its_definition(world: World) -> None:
    """A taken-over saga goes on with the definition it is pinned to (S7)."""
    saga = definition(step("a"), step("b", "a"))
    world.definitions.known[saga.digest] = saga
    await world.asked(Submit(saga_request(), saga), SAGA)
    (call,) = world.participants.taken()
    await world.answer(call)
    world.participants.taken()
    twin = world.twin()
    await twin.leases.beat()
    await twin.sweeper.sweep()
    await quiet()
    await twin.answer_all()

    stored = await world.stored(SAGA)
    assert stored is not None
    assert stored.status is Status.COMPLETED


async def test_saga_without_its_definition_is_stopped_alone(world: World) -> None:
    """The others go on, and who asks is told."""
    saga = definition(step("a"))
    await world.asked(Submit(saga_request(), saga), SAGA)
    twin = world.twin()
    asked = await twin.asked(Observe(), SAGA)
    other = await twin.asked(Begin(tcc_request()))

    assert isinstance(asked.answer, NotFound)
    assert other.tx.status is Status.TRYING


async def test_broken_invariant_stops_one_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in the rules harms the transaction that met it, and no other."""
    from coordinator.core import machine

    real = machine.step

    def broken(tx: object, what: object, now: int) -> object:
        if isinstance(what, Cancel):
            raise InvariantViolated("T0: planted")
        return real(tx, what, now)

    await world.asked(Begin(tcc_request()))
    await world.asked(Try((spec("a"),)))
    monkeypatch.setattr(machine, "step", broken)
    cancel = await world.asked(Cancel())
    later = await world.asked(Observe())
    key = Key("default", "g-2")
    other = await world.asked(Begin(replace(tcc_request(), key=key)), key)

    assert isinstance(cancel.answer, InvariantViolated)
    assert isinstance(later.answer, InvariantViolated)
    assert other.tx.status is Status.TRYING
    await world.answer_all()
    wanted = TransactionFilter("default", attention=True)
    (shown,) = await world.store.list_transactions(wanted)
    assert shown.key == GID
    assert shown.status is Status.TRYING
    assert shown.attention_reason == "INVARIANT_VIOLATED: T0: planted"


async def test_a_wish_that_waited_breaks_an_invariant_for_itself_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is answered in the same moment goes on, and nothing else is stored of it."""
    from coordinator.core import machine

    real = machine.step

    def broken(tx: object, what: object, now: int) -> object:
        if isinstance(what, Confirm):
            raise InvariantViolated("T0: planted")
        return real(tx, what, now)

    other = Key("default", "g-2")
    for key in (GID, other):
        request = replace(tcc_request(), key=key, check_back="shop.check")
        await world.asked(Begin(request), key)
        world.ask(Try((spec("a"),)), key)
        await quiet()
    confirm = await world.asked(Confirm())
    monkeypatch.setattr(machine, "step", broken)
    tried = [
        (call.key, BranchReplied(call.branch_id, call.phase, call.attempt, Succeeded()))
        for call in world.participants.taken()
    ]
    world.engine.replied(tried)
    await quiet()

    assert isinstance(confirm.answer, InvariantViolated)
    stopped = await world.stored()
    assert stopped.attention_reason == "INVARIANT_VIOLATED: T0: planted"
    assert stopped.branches["a"].status is BranchStatus.TRYING
    cancelled = await world.asked(Cancel(), other)
    assert cancelled.tx.status is Status.CANCELLING


async def test_retry_now_is_audited_with_its_effect(world: World) -> None:
    """The operator's action stands in the audit trail of the same commit."""
    await tried(world)
    await world.asked(Confirm())
    for call in world.participants.taken():
        await world.answer(call, Unknown("TIMEOUT"))
    entry = AuditEntry("ops", "retry", "it is back", 0)
    world.ask(RetryNow("ops", "it is back"), audit=entry)
    world.ask(RetryNow("ops", "again"), audit=replace(entry, reason="again"))
    await quiet()

    trail = await world.store.audit_trail()
    assert [record.reason for record in trail] == ["it is back", "again"]
    assert len(world.participants.taken()) == 2


async def test_watch_tells_every_durable_change(world: World) -> None:
    """Watching sees the stored states, in order, to the end."""
    seen: list[str] = []
    world.engine.watch(GID, lambda answer: seen.append(answer.status.value))
    await tried(world)
    await world.asked(Confirm())
    await world.answer_all()

    assert seen == ["TRYING", "TRYING", "CONFIRMING", "CONFIRMED"]


async def test_cancelled_ticket_is_not_answered(world: World) -> None:
    """Who hung up is not called; what was asked happens all the same."""
    asked = world.ask(Begin(tcc_request()))
    assert asked.ticket is not None
    asked.ticket.cancel()
    await quiet()

    assert asked.answers == []
    assert await world.stored() is not None


async def test_memory_is_given_back(world: World) -> None:
    """An ended transaction leaves the node's memory."""
    await tried(world)
    await world.asked(Confirm())
    await world.answer_all()

    assert not world.engine._residents


async def test_forgotten_transaction_is_taken_up_again(world: World) -> None:
    """After a failed store the sweeper brings back what this node let go of (L7)."""
    await tried(world)
    world.store.holding = True
    await world.asked(Confirm())
    world.store.lose(kept=True)
    world.store.holding = False
    await quiet()
    assert not world.engine.drives(GID)
    assert await world.sweeper.sweep() == 1
    await quiet()
    await world.answer_all()

    stored = await world.stored()
    assert stored is not None
    assert stored.status is Status.CONFIRMED
