"""Faults that strike at an instant: crashes, pauses, cuts, clock jumps, operators."""

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

from coordinator.core import machine, quarantine
from coordinator.core.changed import changed
from coordinator.core.definition import BranchKind
from coordinator.core.inputs import (
    Begin,
    CancelByOperator,
    OperatorInput,
    Pause,
    Resolve,
    Resume,
    RetryNow,
    Signal,
)
from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    GlobalTransaction,
    Key,
    Payload,
)
from coordinator.core.quarantine import is_quarantined
from coordinator.core.sweep import OWNERS_LOST_MAX
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
)
from coordinator.ports import AuditEntry, Change
from tests.simulation.disk import now
from tests.simulation.generators.business import tcc_request
from tests.simulation.loop import Process
from tests.simulation.node import Node
from tests.simulation.participant import Participant
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World


CROWD = 40
"""More than a sweep of small pages takes up."""

HELD = 3
"""Enough to be claimed beside each other, if that were possible."""

SKEW_MS = 5_000
"""So long ago, all of it is due by everybody's clock."""


def plan(world: "World") -> None:
    """Spread the seed's strikes over the time until it heals."""
    if "poison" in world.faults:
        world.poison = f"g{world.scenario.seed % world.scenario.transactions}"
    strikes = {
        "crash": _crash,
        "pause": _pause,
        "cut": _cut,
        "unlink": _unlink,
        "clock_jump": _jump,
        "participant_crash": _crash_participant,
        "operator": _operate,
        "operator_hand": _take_in_hand,
        "hang": _hang,
        "flap": _flap,
    }
    if "crowd" in world.faults and world.scenario.resident_max > CROWD:
        at = world.scenario.heal_us // 4
        world.loop.later(at, None, leave_behind, world)
    if "held" in world.faults:
        leave_held(world)
    rng = world.rng
    for fault, strike in strikes.items():
        if fault in world.faults:
            for _ in range(rng.randint(1, 3)):
                # Most of a transaction happens soon after its beginning.
                share = rng.random() ** 3
                at = int(share * world.scenario.heal_us)
                world.loop.later(at, None, _strike, world, strike)


def leave_behind(world: "World") -> None:
    """A node that nobody knows has begun many transactions in one namespace, and one in
    another; then it was gone.
    """
    clock = world.clock_of(0, Process("gone"))
    gone = SimpleNamespace(name="gone", clock=clock)
    keys = [Key("crowd", f"crowd-{number}") for number in range(CROWD)]
    for late, key in enumerate([*keys, Key("lonely", "lonely")], -CROWD - SKEW_MS):
        request = tcc_request(key, gone, late)
        tx, events = machine.step(None, Begin(request), request.created_at)
        tx = changed(tx, revision=1, journal_seq=1, owner=gone.name)
        change = Change(None, tx, tuple(events), machine.due_at(tx))
        world.checks.committed(gone, [change], now(world.data.commit([change])))


def leave_held(world: "World") -> None:
    """Three nodes that nobody knows died with some transactions, and another one
    quarantined them all; then it was gone.
    """
    clock = world.clock_of(0, Process("gone"))
    gone = SimpleNamespace(name="gone", clock=clock)
    for number in range(HELD):
        request = tcc_request(Key("held", f"held-{number}"), gone, -SKEW_MS)
        tx, began = machine.step(None, Begin(request), request.created_at)
        tx = changed(tx, revision=1, journal_seq=1, owner=gone.name)
        change = Change(None, tx, tuple(began), machine.due_at(tx))
        world.checks.committed(gone, [change], now(world.data.commit([change])))
        world.checks.quarantines.lost[tx.key] = OWNERS_LOST_MAX - 1
        event = quarantine.hold(tx, clock.now())
        held = machine.evolve(tx, event)
        held = changed(held, owner=quarantine.NOBODY, revision=2, journal_seq=2)
        change = Change(tx, held, (event,), machine.due_at(held))
        world.checks.committed(gone, [change], now(world.data.commit([change])))


def _strike(world: "World", strike: object) -> None:
    if world.faulty:
        strike(world)


def _crash(world: "World") -> None:
    """A node crashes after some more callbacks, so anywhere between two of them."""
    if node := world.alive_node():
        node.crash_at = node.steps + world.rng.randint(1, 25)


def _pause(world: "World") -> None:
    node = world.alive_node()
    if node is None or node.stash is not None:
        return
    world.trace("pause", node.name)
    node.stash = []
    world.was_paused.add(node.name)
    limit = 3 * world.scenario.ttl_ms * 1_000
    duration = world.rng.randint(1_000, limit)
    if duration > world.scenario.ttl_ms * 1_000:
        world.rare.hit("node_paused_past_ttl")
    world.loop.later(duration, None, _resume, world, node)


def _resume(world: "World", node: Node) -> None:
    if node.stash is not None:
        world.trace("resume", node.name)
        world.loop.resume(node)


def _cut(world: "World") -> None:
    """One direction between two ends is lost for a while."""
    ends = [node.name for node in world.nodes] + [c.name for c in world.clients]
    one = world.rng.choice(ends)
    other = world.rng.choice(world.participants).name
    if one.startswith("c"):
        other = world.rng.choice(world.nodes).name
    link = (one, other) if world.coin() else (other, one)
    world.cuts.add(link)
    world.loop.later(
        world.rng.randint(10_000, 2_000_000), None, world.cuts.discard, link
    )


def _unlink(world: "World") -> None:
    """A session breaks, and is opened again a little later."""
    node, participant = world.alive_node(), world.rng.choice(world.participants)
    if node is not None:
        world.loop.soon(node, node.detach, participant)
        delay = world.rng.randint(1_000, 800_000)
        world.loop.later(delay, node, node.attach, participant)


def _jump(world: "World") -> None:
    if node := world.alive_node():
        world.trace("jump", node.name)
        world.rare.hit("clock_jumped")
        node.clock.offset_ms += world.rng.randint(-1_500, 1_500)


def _crash_participant(world: "World") -> None:
    participant = world.rng.choice(world.participants)
    if not participant.process.alive:
        return
    world.trace("crash", participant.name)
    world.rare.hit("participant_crashed")
    participant.crash()
    for node in world.nodes:
        world.loop.soon(node, node.detach, participant)
    delay = world.rng.randint(1_000, 1_200_000)
    world.loop.later(delay, None, _restart_participant, world, participant)


def _hang(world: "World") -> None:
    """A participant stands still, its sessions open, for many calls' times."""
    process = world.rng.choice(world.participants).process
    if not process.alive or process.stash is not None:
        return
    world.trace("hang", process.name)
    process.stash = []
    duration = world.rng.randint(100_000, 10_000_000)
    world.loop.later(duration, None, _go_on, world, process)


def _go_on(world: "World", process: Process) -> None:
    if process.stash is not None:
        world.trace("go on", process.name)
        world.loop.resume(process)


def _flap(world: "World") -> None:
    """A participant loses its database, and has it again, several times."""
    participant = world.rng.choice(world.participants)
    at = 0
    for _ in range(world.rng.randint(1, 4)):
        for fails in (True, False):
            world.loop.later(at, None, _set_failing, world, participant, fails)
            at += world.rng.randint(50_000, 1_500_000)


def _set_failing(world: "World", participant: Participant, fails: bool) -> None:
    participant.fails = fails and world.faulty


def _restart_participant(world: "World", participant: object) -> None:
    if participant.process.alive:
        return
    participant.restart()
    for node in world.nodes:
        world.loop.soon(node, node.attach, participant)


def _operate(world: "World") -> None:
    """An operator asks for the next attempts at once."""
    if world.checks.durable:
        key = world.rng.choice(list(world.checks.durable))
        command(world, key, RetryNow("ann", f"r{world.next_number()}"))


def _take_in_hand(world: "World") -> None:
    """An operator cancels, holds, or settles a branch."""
    if not world.checks.durable:
        return
    rng = world.rng
    tx = rng.choice(list(world.checks.durable.values()))
    wishes = [CancelByOperator, Pause, Pause]
    open_branches = [b for b, branch in tx.branches.items() if branch.due_at]
    if open_branches and tx.decision is not Decision.NONE:
        command(world, tx.key, Resolve(rng.choice(open_branches), "ann", "by phone"))
    else:
        command(world, tx.key, rng.choice(wishes)("ann", "looks odd"))


def release_all(world: "World") -> None:
    """After healing the operators let go of what is held, and help what is stuck,
    until they are heard.

    What was poisoned comes last, when the others have ended without it (V2): from then
    on it kills nobody any more. What is quarantined is only looked at, and has to end
    by itself (V6).
    """
    if world.over:
        return
    durable, ended = world.checks.durable, world.checks.ended
    if all(gid in ended or gid == world.poison for _, gid in durable):
        world.poison = ""
    for key, tx in list(durable.items()):
        if tx.paused_at is not None and not tx.status.is_final:
            command(world, key, Resume("ann", "all is well"))
        elif is_quarantined(tx) and key not in world.seen_held:
            world.seen_held.add(key)
            command(world, key, Pause("ann", "what is this?"))
        if tx.request.mode is Mode.SAGA and tx.decision is Decision.COMMIT:
            _help(world, tx)
    world.loop.later(500_000, None, release_all, world)


def _help(world: "World", tx: GlobalTransaction) -> None:
    """A saga that can only go forward waits for a signal, or for a person."""
    for branch_id, branch in tx.branches.items():
        if branch.status is not BranchStatus.WAITING:
            continue
        if branch.spec.kind is BranchKind.AWAIT and branch.spec.input.data:
            name = json.loads(branch.spec.input.data)
            payload = Payload(b'{"by":"ann"}', JSON_CONTENT_TYPE)
            world.checks.sagas.signalled(tx.key.gid, name, payload)
            if node := world.alive_node():
                what = Signal(name, payload)
                world.loop.soon(node, node.engine.submit, tx.key, what, _heard)
        if branch.error_code == "EXPRESSION":
            world.rare.hit("stuck_step_settled_by_hand")
            command(world, tx.key, Resolve(branch_id, "ann", "done by phone"))


def _heard(answer: object) -> None:
    """Nobody waits for it."""


def command(world: "World", key: Key, what: OperatorInput) -> None:
    """Some node is told; what was told to have been done is in the audit trail."""
    node = world.alive_node()
    if node is None:
        return
    audit = AuditEntry(what.actor, type(what).__name__, what.reason, node.clock.now())

    def heard(answer: object) -> None:
        if isinstance(answer, GlobalTransaction) and isinstance(what, RetryNow):
            world.rare.hit("operator_retried")
            trail = now(world.data.audit_trail())
            if not any(record.reason == what.reason for record in trail):
                raise Violation("T7", key.gid, "an operator's action is not audited")

    world.loop.soon(node, lambda: node.engine.submit(key, what, heard, audit=audit))
