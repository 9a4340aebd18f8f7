"""Draws faults from a seed and lets them happen, several at a time.

The plan is the seed's alone: which kinds, in which order, when. Whom they hit, and what
was going on there, is the run's. Nobody is hit by two faults at once; a fault whose
victim is taken waits for it.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic

from tests.chaos.faults import Kind
from tests.chaos.scene import Scene

ROUND_SECONDS = 50.0
"""In each, every kind happens once."""

TAIL_SECONDS = 12.0
"""Before the end nothing begins any more: the longest fault takes that long."""

RETRY_SECONDS = 0.5
"""After a fault that met nobody, such as a link without connections."""


@dataclass(frozen=True)
class Blow:
    """A fault that is planned, ``at`` seconds after the beginning."""

    at: float
    kind: Kind
    seed: str


@dataclass
class Tally:
    """What happened so far.

    Attributes:
        counts: by kind, of those that did something.
        going_on: the faults of this moment.
    """

    counts: Counter[str] = field(default_factory=Counter)
    going_on: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All faults."""
        return self.counts.total()


def plan(kinds: Sequence[Kind], *, seconds: float, seed: int) -> list[Blow]:
    """Rounds of all kinds, each in an order of its own, evenly spread."""
    dice = random.Random(f"nemesis {seed}")
    span = max(seconds - TAIL_SECONDS, seconds / 2)
    ordered: list[Kind] = []
    for _ in range(rounds_of(seconds)):
        ordered += dice.sample(kinds, len(kinds))
    step = span / len(ordered)
    return [
        Blow((number + dice.random()) * step, kind, f"{seed} {number}")
        for number, kind in enumerate(ordered)
    ]


def rounds_of(seconds: float) -> int:
    """How often each kind is planned."""
    return max(1, round(seconds / ROUND_SECONDS))


class Nemesis:
    """Carries out a plan."""

    def __init__(self, scene: Scene, tally: Tally, say: Callable[[str], None]) -> None:
        self._scene = scene
        self._tally = tally
        self._say = say
        self._taken: dict[str, asyncio.Lock] = {}

    async def strike(self, blows: Sequence[Blow], *, seconds: float) -> None:
        """All of it; returns after ``seconds``, or when the last fault is over."""
        started = monotonic()
        async with asyncio.TaskGroup() as group:
            for blow in blows:
                await asyncio.sleep(max(0.0, started + blow.at - monotonic()))
                group.create_task(self._strike(blow, started + seconds))
            await asyncio.sleep(max(0.0, started + seconds - monotonic()))

    async def _strike(self, blow: Blow, end: float) -> None:
        dice = random.Random(blow.seed)
        while monotonic() < end:
            victim = blow.kind.choose(self._scene, dice)
            async with AsyncExitStack() as stack:
                for name in sorted({victim, *blow.kind.takes}):
                    lock = self._taken.setdefault(name, asyncio.Lock())
                    await stack.enter_async_context(lock)
                if monotonic() > end:
                    return
                if await self._act(blow.kind, dice, victim):
                    self._tally.counts[blow.kind.name] += 1
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def _act(self, kind: Kind, dice: random.Random, victim: str) -> bool:
        what, began = f"{kind.name} {victim}", monotonic()
        self._say(what)
        self._tally.going_on.append(what)
        try:
            is_felt = await kind.act(self._scene, dice, victim)
        finally:
            self._tally.going_on.remove(what)
        self._note(what=what, at=began, until=monotonic(), is_felt=is_felt)
        return is_felt

    def _note(self, **fields: object) -> None:
        """For whoever asks what was going on when something went wrong."""
        with (self._scene.directory / "faults.jsonl").open("a") as file:
            file.write(json.dumps(fields) + "\n")
