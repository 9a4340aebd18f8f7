"""Transactions whose initiator registers its branches and sends the tries itself."""

from typing import TYPE_CHECKING

from coordinator.core.errors import PreconditionFailed
from coordinator.core.inputs import Begin, Cancel, Confirm, Register, Succeeded
from coordinator.core.model import GlobalTransaction
from tests.simulation.client import Client
from tests.simulation.generators import business
from tests.simulation.generators.tcc_mediated import note_confirmed

if TYPE_CHECKING:
    from tests.simulation.world import World


def launch(world: "World", gid: str) -> None:
    client = Client(world, business.key_of(gid))
    story = _live(client, business.timeout_ms(world))
    world.loop.later(world.rng.randint(0, 20_000), client, client.start, story)


async def _live(client: Client, lasts_ms: int) -> None:
    world, key = client.world, client.key
    begun = await client.ask(
        lambda node: Begin(business.tcc_request(key, node, lasts_ms))
    )
    if client.may_die() or not isinstance(begun, GlobalTransaction):
        return
    seen: set[str] = set()
    failed = False
    for spec in business.branches(world, key.gid, may_nest=False):
        registered = await client.ask(lambda node, spec=spec: Register((spec,)))
        if client.may_die():
            return
        if not isinstance(registered, GlobalTransaction):
            if isinstance(registered, PreconditionFailed):
                world.rare.hit("registration_after_decision_refused")
            failed = True
            break
        if isinstance(await client.call(spec), Succeeded):
            seen.add(spec.branch_id)
        else:
            failed = True
    if client.may_die():
        return
    # Careless clients confirm what they saw, though something is missing.
    careless = "odd_client" in world.faults and client.rng.random() < 0.5
    await _end(client, frozenset(seen), confirm=not failed or careless)


async def _end(client: Client, seen: frozenset[str], *, confirm: bool) -> None:
    if confirm:
        answer = await client.ask(lambda node: Confirm(seen))
        if isinstance(answer, GlobalTransaction):
            note_confirmed(client.world, answer)
        elif isinstance(answer, PreconditionFailed):
            client.world.rare.hit("confirm_list_refused")
            confirm = False
    if not confirm and not client.may_die():
        await client.ask(lambda node: Cancel())
    await client.wait_for_end()
