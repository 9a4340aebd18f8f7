"""Sagas over random graphs of up to eight steps."""

from typing import TYPE_CHECKING

from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import (
    BranchKind,
    Call,
    Compensation,
    Constant,
    Reference,
    SagaDefinition,
    Step,
    Template,
    TemplateMap,
)
from coordinator.core.inputs import Cancel, Submit
from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    GlobalTransaction,
    Mode,
    Payload,
    Phase,
    Status,
    TransactionRequest,
)
from tests.simulation.client import Client
from tests.simulation.generators import business

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World


def launch(world: "World", gid: str) -> None:
    client = Client(world, business.key_of(gid))
    definition = _define(world, gid)
    world.definitions[definition.digest] = definition
    story = _live(client, definition)
    world.loop.later(world.rng.randint(0, 20_000), client, client.start, story)


def _define(world: "World", gid: str) -> SagaDefinition:
    rng, scenario = world.rng, world.scenario
    count = rng.choice((1, 2, 3, 3, 4, 4, 5, 8))
    steps: list[Step] = []
    for i in range(count):
        earlier = [step.step_id for step in steps]
        needs = tuple(s for s in earlier if rng.random() < 0.5)[-2:]
        steps.append(_step(world, gid, f"s{i}", needs))
    return SagaDefinition(
        name="saga",
        version="1.0.0",
        digest=f"sha256:{gid}",
        timeout_ms=scenario.timeout_ms,
        steps=tuple(steps),
    )


def _step(world: "World", gid: str, step_id: str, needs: tuple[str, ...]) -> Step:
    rng, scenario = world.rng, world.scenario
    participant = rng.choice(world.participants)
    reads_own = rng.random() < 0.3
    business.script_forward(
        world, participant, gid, step_id, Phase.ACTION, completable=not reads_own
    )
    business.script_backward(world, participant, gid, step_id, Phase.COMPENSATION)
    policy = RetryPolicy(
        attempt_max=scenario.attempt_max,
        initial_interval_ms=scenario.forward.initial_interval_ms,
        interval_max_ms=scenario.forward.interval_max_ms,
    )
    compensation = Compensation(
        operation=f"{participant.name}.undo",
        input=_output_of(step_id) if reads_own else None,
        retry=scenario.phase_two,
        timeout_ms=scenario.timeout_ms,
        attention_after=scenario.attention_after,
    )
    call = Call(
        operation=f"{participant.name}.do",
        input=_output_of(*needs) if needs else Constant({"step": step_id}),
        retry=policy,
        timeout_ms=scenario.timeout_ms,
        compensation=None if rng.random() < 0.15 else compensation,
    )
    return Step(step_id, BranchKind.CALL, needs, (call,))


def _output_of(*step_ids: str) -> Template:
    return TemplateMap(
        tuple(
            (step_id, Reference(("steps", step_id, "output", "n"), step_id))
            for step_id in step_ids
        )
    )


async def _live(client: Client, definition: SagaDefinition) -> None:
    world, timeout = client.world, business.timeout_ms(client.world)

    def submit(node: "Node") -> Submit:
        now = node.clock.now()
        request = TransactionRequest(
            key=client.key,
            mode=Mode.SAGA,
            name="saga",
            digest="d",
            created_at=now,
            deadline_at=now + timeout,
            input=Payload(b'{"amount":7}', JSON_CONTENT_TYPE),
            definition_digest=definition.digest,
            definition_version=definition.version,
        )
        return Submit(request, definition)

    await client.ask(submit)
    if client.may_die():
        return
    if "client_cancel" in world.faults and client.rng.random() < 0.4:
        await client.sleep(client.rng.randint(0, 100_000))
        answer = await client.ask(lambda node: Cancel())
        if isinstance(answer, GlobalTransaction) and (
            answer.status is Status.COMPENSATING
        ):
            world.rare.hit("saga_cancelled_by_initiator")
    await client.wait_for_end()
