"""Sagas: their business is scripted, they are submitted, signalled and cancelled."""

import json
from typing import TYPE_CHECKING

from coordinator.core.definition import BranchKind, Call, JsonValue, SagaDefinition
from coordinator.core.errors import AlreadyExists, InvalidRequest, PreconditionFailed
from coordinator.core.inputs import Cancel, Signal, Submit
from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    GlobalTransaction,
    Payload,
    TransactionRequest,
)
from coordinator.core.words import (
    Mode,
    Phase,
    Status,
)
from tests.simulation.client import Client
from tests.simulation.generators import business, saga_graph
from tests.simulation.saga_tree import Tree
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World


def launch(world: "World", gid: str) -> None:
    client = Client(world, business.key_of(gid))
    definition, data = saga_graph.draw(world, gid)
    tree = Tree(definition, data)
    world.definitions[definition.digest] = definition
    world.checks.sagas.expect(gid, tree)
    for branch_id, call in tree.calls():
        _script(world, gid, branch_id, call)
    story = _live(client, definition, data, tree)
    world.loop.later(world.rng.randint(0, 20_000), client, client.start, story)


def _script(world: "World", gid: str, branch_id: str, call: Call) -> None:
    name = call.operation.partition(".")[0]
    participant = next(p for p in world.participants if p.name == name)
    undo = call.compensation
    completable = undo is None or undo.input is None
    is_tcc = call.kind is BranchKind.TCC
    business.script_forward(
        world,
        participant,
        gid,
        branch_id,
        Phase.TRY if is_tcc else Phase.ACTION,
        completable=completable,
    )
    backward = (Phase.CONFIRM, Phase.CANCEL) if is_tcc else (Phase.COMPENSATION,)
    for phase in backward:
        business.script_backward(world, participant, gid, branch_id, phase)


async def _live(
    client: Client, definition: SagaDefinition, data: JsonValue, tree: Tree
) -> None:
    world, timeout = client.world, business.timeout_ms(client.world)
    body = Payload(json.dumps(data).encode(), JSON_CONTENT_TYPE)

    def submit(node: "Node") -> Submit:
        now = node.clock.now()
        request = TransactionRequest(
            key=client.key,
            mode=Mode.SAGA,
            name=definition.name,
            digest="d",
            created_at=now,
            deadline_at=now + timeout,
            input=body,
            definition_digest=definition.digest,
            definition_version=definition.version,
        )
        return Submit(request, definition, business.waits(client.key))

    await client.ask(submit)
    if client.may_die():
        return
    for name in sorted(tree.signals):
        if client.rng.random() < 0.8:
            await client.sleep(client.rng.choice((0, 0, 20_000, 200_000)))
            await send_signal(client, name)
    if "client_cancel" in world.faults and client.rng.random() < 0.4:
        await client.sleep(client.rng.choice((0, 20_000, 100_000, 400_000)))
        await _cancel(client)
    await client.wait_for_end()


async def send_signal(client: Client, name: str) -> None:
    """Once; and perhaps the same again, another body, or a name that nobody awaits."""
    hit, rng = client.world.rare.hit, client.rng
    payload = Payload(b'{"by":"ann"}', JSON_CONTENT_TYPE)
    client.world.checks.sagas.signalled(client.key.gid, name, payload)
    first = await client.ask(lambda node: Signal(name, payload))
    if not isinstance(first, GlobalTransaction) or rng.random() < 0.5:
        return
    again = await client.ask(lambda node: Signal(name, payload))
    if isinstance(again, GlobalTransaction):
        hit("signal_repeated")
    elif again is not None:
        raise Violation("T10", client.key.gid, f"a repeated signal was told {again!r}")
    other = await client.ask(lambda node: Signal(name, Payload(b"{}")))
    if isinstance(other, AlreadyExists):
        hit("signal_with_other_body_refused")
    elif isinstance(other, GlobalTransaction):
        raise Violation("T10", client.key.gid, "another body of a signal was accepted")
    unknown = await client.ask(lambda node: Signal("nobody-awaits-this"))
    if isinstance(unknown, InvalidRequest):
        hit("unknown_signal_refused")
    elif isinstance(unknown, GlobalTransaction):
        raise Violation("T10", client.key.gid, "an unknown signal was accepted")


async def _cancel(client: Client) -> None:
    hit = client.world.rare.hit
    answer = await client.ask(lambda node: Cancel())
    if isinstance(answer, GlobalTransaction):
        if answer.status is Status.COMPENSATING:
            hit("saga_cancelled_by_initiator")
        elif answer.status in (Status.RUNNING, Status.CONFIRMING):
            hit("saga_cancelled_after_its_decision")
    elif (
        isinstance(answer, PreconditionFailed)
        and answer.detail_reason == "PIVOT_IN_FLIGHT"
    ):
        hit("cancel_refused_with_pivot_in_flight")
