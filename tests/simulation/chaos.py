"""Faults that strike at an instant: crashes, pauses, cuts, clock jumps, operators."""

from typing import TYPE_CHECKING

from coordinator.core.inputs import RetryNow
from coordinator.ports import AuditEntry
from tests.simulation.node import Node

if TYPE_CHECKING:
    from tests.simulation.world import World


def plan(world: "World") -> None:
    """Spread the seed's strikes over the time until it heals."""
    strikes = {
        "crash": _crash,
        "pause": _pause,
        "cut": _cut,
        "unlink": _unlink,
        "clock_jump": _jump,
        "participant_crash": _crash_participant,
        "operator": _operate,
    }
    rng = world.rng
    for fault, strike in strikes.items():
        if fault in world.faults:
            for _ in range(rng.randint(1, 3)):
                # Most of a transaction happens soon after its beginning.
                share = rng.random() ** 3
                at = int(share * world.scenario.heal_us)
                world.loop.later(at, None, _strike, world, strike)


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


def _restart_participant(world: "World", participant: object) -> None:
    if participant.process.alive:
        return
    participant.restart()
    for node in world.nodes:
        world.loop.soon(node, node.attach, participant)


def _operate(world: "World") -> None:
    """An operator asks for the next attempts at once; it is audited with its effect."""
    node = world.alive_node()
    if node is None or not world.checks.durable:
        return
    key = world.rng.choice(list(world.checks.durable))
    what = RetryNow("ann", "impatient")
    audit = AuditEntry("ann", "RETRY_TRANSACTION", "impatient", node.clock.now())
    world.loop.soon(node, lambda: node.engine.submit(key, what, heard, audit=audit))

    def heard(answer: object) -> None:
        world.rare.hit("operator_retried")
