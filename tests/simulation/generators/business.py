"""What all generators share: requests, branches, and what participants say to them."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    BranchSpec,
    Key,
    Payload,
    TransactionRequest,
)
from coordinator.core.tcc import CHECK_BACK_ID
from coordinator.core.words import Mode, Phase
from participant_sdk.executor.outcome import CallOutcome, Failed, Later, No

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.participant import Participant
    from tests.simulation.world import World


def key_of(gid: str) -> Key:
    return Key("default", gid)


def timeout_ms(world: "World") -> int:
    """How long after its beginning a transaction is decided against."""
    if "tight_deadline" in world.faults:
        return world.rng.choice((5, 30, 200, 600))
    return world.rng.choice((1_500, 4_000))


def waits(key: Key) -> bool:
    """Whether an initiator wants to hear of the end alone: every other one."""
    return key.gid[-1] in "13579"


def tcc_request(
    key: Key,
    node: "Node",
    timeout: int,
    *,
    declared: bool = False,
    digest: str = "d",
    check_back: str = "",
) -> TransactionRequest:
    """As the node's wire reader would make it, with the node's own clock."""
    now = node.clock.now()
    return TransactionRequest(
        key=key,
        mode=Mode.TCC,
        name="transfer",
        digest=digest,
        created_at=now,
        deadline_at=now + timeout,
        declared=declared,
        check_back=check_back,
    )


def check_back(world: "World", gid: str) -> str:
    """Perhaps an operation that is asked "commit or not?", with its answers."""
    rng = world.rng
    if "check_back" not in world.faults or rng.random() < 0.3:
        return ""
    participant = rng.choice(world.participants)
    plan = failures(world)
    if rng.random() < 0.4:
        plan.append(No("NOT_MINE", "it gave up"))
    participant.plans[gid, CHECK_BACK_ID, Phase.ACTION.value] = plan
    return f"{participant.name}.ask"


def branch(world: "World", gid: str, branch_id: str) -> BranchSpec:
    """A TCC branch at some participant, whose business is scripted."""
    participant = world.rng.choice(world.participants)
    script_forward(world, participant, gid, branch_id, Phase.TRY)
    script_backward(world, participant, gid, branch_id, Phase.CONFIRM)
    script_backward(world, participant, gid, branch_id, Phase.CANCEL)
    return BranchSpec(
        branch_id=branch_id,
        operation=f"{participant.name}.move",
        input=Payload(b'{"b":"%s"}' % branch_id.encode(), JSON_CONTENT_TYPE),
        timeout_ms=world.scenario.timeout_ms,
        attempt_max=world.scenario.attempt_max,
        pending_timeout_ms=world.rng.choice((0, 0, 50, 300)),
    )


def branches(world: "World", gid: str, *, may_nest: bool = True) -> list[BranchSpec]:
    """What the initiator tries; a try may bring a nested one along."""
    count = world.rng.choice((0, 1, 2, 2, 3, 3, 3, 4))
    specs = [branch(world, gid, f"b{i}") for i in range(count)]
    if may_nest and specs and "nested" in world.faults and world.rng.random() < 0.4:
        parent = world.rng.choice(specs)
        name = parent.operation.partition(".")[0]
        child = branch(world, gid, f"{parent.branch_id}.n")
        child = replace(child, parent_branch_id=parent.branch_id)
        holder = next(p for p in world.participants if p.name == name)
        holder.nested[gid, parent.branch_id] = child
    return specs


def script_forward(
    world: "World",
    participant: "Participant",
    gid: str,
    branch_id: str,
    phase: Phase,
    *,
    completable: bool = True,
) -> None:
    """Errors, then perhaps "later", then perhaps "no"; else it succeeds."""
    rng, plan = world.rng, failures(world)
    if "pending" in world.faults and rng.random() < 0.3:
        if completable and rng.random() < 0.5:
            plan.append(Later())
        else:
            plan += [Later(rng.randint(1, 200))] * rng.randint(1, 2)
    elif "refusal" in world.faults and rng.random() < 0.2:
        plan.append(No("NO_FUNDS", "not enough"))
    if plan:
        participant.plans[gid, branch_id, phase.value] = plan


def script_backward(
    world: "World",
    participant: "Participant",
    gid: str,
    branch_id: str,
    phase: Phase,
) -> None:
    """Errors; in the end it succeeds."""
    if plan := failures(world):
        participant.plans[gid, branch_id, phase.value] = plan


def failures(world: "World") -> list[CallOutcome]:
    """Failed runs, some of which say when to come back."""
    rng = world.rng
    if "handler_error" not in world.faults or rng.random() < 0.6:
        return []
    if rng.random() < 0.2:
        return [Failed("RETRY_AFTER", "", rng.randint(1, 300))]
    return [Failed("HANDLER_ERROR")] * rng.randint(1, 4)
