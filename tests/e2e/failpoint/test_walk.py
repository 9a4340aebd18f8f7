"""Every persisted step, both sides of its commit: SIGKILL, restart, the right end."""

import asyncio
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from coordinator.core.evolution import fold
from coordinator.storage.journal import facts_of
from participant_sdk import connect
from tests.e2e.failpoint.flows import Flow
from tests.e2e.failpoint.initiator import Initiator
from tests.e2e.failpoint.points import Armed, Moment
from tests.e2e.failpoint.saga_flows import FLOWS
from tests.e2e.failpoint.trigger import Dying
from tests.e2e.failpoint.world import SECONDS_MAX, Child, World

NEEDED_DECISION = {"CONFIRM": "COMMIT", "CANCEL": "ABORT", "COMPENSATION": "ABORT"}


class Walk:
    """One flow, sent into points again and again."""

    def __init__(self, world: World, initiator: Initiator, flow: Flow) -> None:
        self._world = world
        self._initiator = initiator
        self._flow = flow

    async def undisturbed(self) -> None:
        """Play the flow without any death; it reaches all its points."""
        gid = f"{self._flow.name}:undisturbed"
        told = await self._flow.play(self._initiator, gid)
        await self._check_end(gid, told)
        missed = {*self._flow.points, *self._flow.local} - self._world.reached
        assert not missed

    async def kill_coordinator(self, moment: Moment) -> None:
        """Die at every commit that carries a point of the flow.

        Points that one commit carries are walked by one death.
        """
        left = dict.fromkeys(self._flow.points)
        while left:
            armed = self._armed(next(iter(left)), moment)
            coordinator = self._world.coordinator
            playing = await self._play(coordinator, armed)
            died = await coordinator.killed(playing)
            self._check_stored(armed, died)
            self._world.start_coordinator()
            await self._check_end(armed.gid, await playing)
            for point in died.points:
                left.pop(point, None)

    async def kill_participant(self, moment: Moment) -> None:
        """Die at the first local commit of every phase of the flow."""
        for point in self._flow.local:
            armed = self._armed(point, moment)
            participant = self._world.participant
            playing = await self._play(participant, armed)
            await participant.killed(playing)
            self._world.start_participant()
            await self._check_end(armed.gid, await playing)

    def _armed(self, point: str, moment: Moment) -> Armed:
        return Armed(point, moment, f"{self._flow.name}:{point}:{moment}")

    async def _play(self, child: Child, armed: Armed) -> "asyncio.Task[str]":
        await child.arm(armed)
        return asyncio.create_task(self._flow.play(self._initiator, armed.gid))

    def _check_stored(self, armed: Armed, died: Dying) -> None:
        """It died on the side of the commit where it should, and nothing had been
        asked of the participant that was not stored before (T4).
        """
        stored = self._world.stored(armed.gid)
        made = died.revisions[armed.gid]
        assert stored.revision == made - (armed.moment is Moment.BEFORE)
        for branch_id, phase in self._world.effects(armed.gid):
            assert branch_id in stored.branches
            assert stored.decision == NEEDED_DECISION.get(phase, stored.decision)

    async def _check_end(self, gid: str, told: str) -> None:
        """Told = stored = due, the journal says the same (T11), and each effect of
        this end is there once (T6, S3).
        """
        end = await self._initiator.client.get(gid, wait=True)
        stored = self._world.stored(gid)
        assert [told, end.status, stored.status] == [self._flow.end] * 3
        journal = self._world.journal(gid)
        assert [e.seq for e in journal] == list(range(1, len(journal) + 1))
        folded = fold(tuple(chain.from_iterable(map(facts_of, journal))))
        assert (folded.status, folded.decision) == (stored.status, stored.decision)
        assert stored.branches == {b: s.status for b, s in folded.branches.items()}
        assert self._world.effects(gid) == Counter(
            (branch_id, phase)
            for branch_id, phases in self._flow.effects.items()
            for phase in phases
        )


@pytest.mark.timeout(SECONDS_MAX)
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
async def test_death_at_any_step_changes_no_end(flow: Flow, tmp_path: Path) -> None:
    """The coordinator dies before and after every commit of the flow, the participant
    around every local commit: the transaction ends as if nobody had died, its
    initiator is told so, and every effect is there once (T4, T5, T6, T7, T11, T12,
    S3, B1).
    """
    async with World(tmp_path) as world:
        world.start_coordinator()
        await world.start_participant().ready()
        async with connect(world.target, connect_timeout=SECONDS_MAX) as client:
            if flow.saga:
                await client.publish_saga(flow.saga)
            walk = Walk(world, Initiator(client, world.target), flow)
            await walk.undisturbed()
            for moment in Moment:
                await walk.kill_coordinator(moment)
                await walk.kill_participant(moment)
