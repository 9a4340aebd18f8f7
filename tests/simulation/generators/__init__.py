"""What initiators do: one module each; a new kind joins by adding a module here.

A generator has ``launch(world, gid)``: it scripts the participants' business for its
transaction and starts the client that lives its story.
"""

from typing import TYPE_CHECKING

from tests.simulation.generators import (
    saga,
    tcc_declared,
    tcc_direct,
    tcc_mediated,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

KINDS = (tcc_mediated, tcc_mediated, tcc_direct, tcc_declared, saga, saga)
"""In the proportions in which they are drawn."""


def launch(world: "World", gid: str) -> None:
    """Start one transaction of a kind that the seed chooses."""
    world.rng.choice(KINDS).launch(world, gid)
