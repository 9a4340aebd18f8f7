"""Transactions that bring all their tries along; the coordinator does the rest."""

from typing import TYPE_CHECKING

from coordinator.core.inputs import Begin, Cancel
from tests.simulation.client import Client
from tests.simulation.generators import business

if TYPE_CHECKING:
    from tests.simulation.world import World


def launch(world: "World", gid: str) -> None:
    client = Client(world, business.key_of(gid))
    story = _live(client, business.timeout_ms(world))
    world.loop.later(world.rng.randint(0, 20_000), client, client.start, story)


async def _live(client: Client, lasts_ms: int) -> None:
    world, key = client.world, client.key
    specs = tuple(business.branches(world, key.gid))
    await client.ask(
        lambda node: Begin(
            business.tcc_request(key, node, lasts_ms, declared=True),
            specs,
            business.waits(key),
        )
    )
    if client.may_die():
        return
    if "client_cancel" in world.faults and client.rng.random() < 0.2:
        await client.ask(lambda node: Cancel())
    await client.wait_for_end()
