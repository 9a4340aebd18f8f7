"""All other writes of a node: its tables, its heartbeat, the catalogue, a take-over."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

import pytest

from participant_sdk import connect
from tests.e2e.failpoint.flows import TCC_FLOWS
from tests.e2e.failpoint.initiator import Initiator
from tests.e2e.failpoint.points import SCHEMA_POINT, TRIAL_POINT, Armed, Moment
from tests.e2e.failpoint.saga_flows import SAGA_FLOWS
from tests.e2e.failpoint.world import SECONDS_MAX, World

TCC = TCC_FLOWS[0]
SAGA = SAGA_FLOWS[0]


async def at_start(world: World, armed: Armed) -> None:
    """What a node writes by itself as soon as it runs; the next one does it again."""
    await world.start_coordinator(armed).killed()
    await world.start_coordinator().ready()


async def at_attach(world: World, armed: Armed) -> None:
    """The catalogue, when a participant attaches; it does so again by itself."""
    coordinator = world.start_coordinator(armed)
    participant = world.start_participant()
    await coordinator.killed()
    world.start_coordinator()
    await participant.ready()


async def at_publication(world: World, armed: Armed) -> None:
    """A saga, whose publisher asks again: the version is there, and runs."""
    coordinator = world.start_coordinator(armed)
    async with connect(world.target, connect_timeout=SECONDS_MAX) as client:
        initiator = Initiator(client, world.target)
        publishing = asyncio.create_task(initiator.publish(SAGA.saga))
        await coordinator.killed(publishing)
        world.start_coordinator()
        await publishing
        await run_saga(world, initiator, f"{SAGA.name}:published")


async def at_removal(world: World, armed: Armed) -> None:
    """An operation, whose remover asks again: it is gone, and audited once."""
    before = world.audited("REMOVE_OPERATION walk.step")
    coordinator = world.start_coordinator(armed)
    async with connect(world.target, connect_timeout=SECONDS_MAX) as client:
        initiator = Initiator(client, world.target)
        await initiator.register("walk.step")
        removing = asyncio.create_task(initiator.remove("walk.step"))
        await coordinator.killed(removing)
        world.start_coordinator()
        await removing
    assert world.audited("REMOVE_OPERATION walk.step") == before + 1


async def at_take_over(world: World, armed: Armed) -> None:
    """A decided transaction, whose next owner dies as well; it ends all the same."""
    gid = f"{TCC.name}:taken-over"
    first = world.start_coordinator(Armed("tcc.decided-commit", Moment.AFTER, gid))
    async with connect(world.target, connect_timeout=SECONDS_MAX) as client:
        playing = asyncio.create_task(TCC.play(Initiator(client, world.target), gid))
        await first.killed(playing)
        second = world.start_coordinator(armed._replace(gid=gid))
        await second.killed(playing)
        world.start_coordinator()
        assert await playing == TCC.end == world.stored(gid).status
    assert set(world.effects(gid).values()) == {1}


async def at_trial(world: World, armed: Armed) -> None:
    """A decided transaction that three nodes die with: the next one quarantines it,
    tries it again by itself, and dies when it has survived that; it ends all the same.
    """
    gid = f"{TCC.name}:tried"
    first = world.start_coordinator(Armed("tcc.decided-commit", Moment.AFTER, gid))
    async with connect(world.target, connect_timeout=SECONDS_MAX) as client:
        playing = asyncio.create_task(TCC.play(Initiator(client, world.target), gid))
        await first.killed(playing)
        for _ in range(2):
            claims = Armed("store.claimed", Moment.AFTER, gid)
            await world.start_coordinator(claims).killed(playing)
        tries = world.start_coordinator(armed._replace(gid=gid))
        await tries.killed(playing)
        world.start_coordinator()
        assert await playing == TCC.end == world.stored(gid).status
    assert set(world.effects(gid).values()) == {1}


async def at_departure(world: World, armed: Armed) -> None:
    """Its row among the nodes, when it is asked to stop; the next one runs a saga."""
    coordinator = world.start_coordinator(armed)
    await coordinator.ready()
    coordinator.terminate()
    await coordinator.killed()
    world.start_coordinator()
    async with connect(world.target, connect_timeout=SECONDS_MAX) as client:
        initiator = Initiator(client, world.target)
        await run_saga(world, initiator, f"{SAGA.name}:departed")


async def run_saga(world: World, initiator: Initiator, gid: str) -> None:
    """The published saga runs to its end, each action once."""
    assert await SAGA.play(initiator, gid) == SAGA.end
    assert set(world.effects(gid).values()) == {1}


Step = Callable[[World, Armed], Coroutine[None, None, None]]

STEPS: Mapping[str, Step] = {
    SCHEMA_POINT: at_start,
    "store.heartbeat": at_start,
    "store.operations-saved": at_attach,
    "store.saga-published": at_publication,
    "store.operation-removed": at_removal,
    "store.claimed": at_take_over,
    TRIAL_POINT: at_trial,
    "store.node-forgotten": at_departure,
}
"""How each point is reached, in the order of a node's life. A step finds no
coordinator and leaves one that serves."""


@pytest.mark.timeout(len(STEPS) * SECONDS_MAX)
@pytest.mark.parametrize("moment", Moment)
async def test_death_at_any_other_write_loses_nothing(
    moment: Moment, tmp_path: Path
) -> None:
    """A node dies around every write that is no transaction's: its successor serves,
    and what was asked is done once (T7, T10, L3, L7).
    """
    async with World(tmp_path) as world:
        for point, step in STEPS.items():
            await step(world, Armed(point, moment))
            await world.coordinator.ended()
