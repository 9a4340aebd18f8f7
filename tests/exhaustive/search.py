"""Breadth first through all states of a world, each visited once.

The first way to a state is a shortest one, so what is reported of a violation is a
shortest path to it. After the search every state is asked whether an end can still be
reached from it without a fault, and without anything that the initiator would have to
ask: else it is stuck.
"""

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.exhaustive.world import State, World


@dataclass
class Found:
    """What came out of one world.

    Attributes:
        ended: states in which the transaction has ended.
        violations: each with the events that lead to it.
        complete: every state was visited.
    """

    world: str
    states: int = 0
    transitions: int = 0
    ended: int = 0
    violations: list[tuple[str, list[str]]] = field(default_factory=list)
    seconds: float = 0.0
    complete: bool = True

    def __str__(self) -> str:
        return (
            f"EXHAUSTIVE world={self.world} states={self.states}"
            f" transitions={self.transitions} violations={len(self.violations)}"
            f" seconds={self.seconds:.1f}" + ("" if self.complete else " INCOMPLETE")
        )


def explore(
    world: World,
    *,
    state_max: int = 20_000_000,
    progress: Callable[[Found], object] | None = None,
) -> Found:
    """Visit every state; stop at the first violation."""
    return Search(world, state_max, progress).run()


SAY_EVERY = 250_000


class Search:
    """One run through a world."""

    def __init__(
        self,
        world: World,
        state_max: int,
        progress: Callable[[Found], object] | None,
    ) -> None:
        self._world = world
        self._state_max = state_max
        self._progress = progress
        self._found = Found(world.name)
        start = world.canonical(world.initial())
        self._seen: dict[State, int] = {start: 0}
        self._order: list[State] = [start]
        self._parents = array("I", [0])
        self._edges = array("I")
        self._edges_until = array("Q")

    def run(self) -> Found:
        """All states, then whether any is stuck."""
        began = time.monotonic()
        found = self._found
        if self._visit_all() and found.complete:
            self._look_for_stuck()
        found.states = len(self._order)
        found.seconds = time.monotonic() - began
        return found

    def _visit_all(self) -> bool:
        """Whether nothing was found to be wrong."""
        world, seen, order, found = self._world, self._seen, self._order, self._found
        canonical, verdict = world.canonical, world.verdict
        at = 0
        while at < len(order):
            for move in world.moves(order[at]):
                found.transitions += 1
                if move.bug:
                    return self._wrong(move.bug, at, move.label)
                after = canonical(move.after)
                number = seen.setdefault(after, len(order))
                if number == len(order):
                    order.append(after)
                    self._parents.append(at)
                    if wrong := verdict(after):
                        return self._wrong(wrong, number)
                if move.helps:
                    self._edges.append(number)
            self._edges_until.append(len(self._edges))
            at += 1
            if not at % SAY_EVERY and self._progress:
                found.states = len(order)
                self._progress(found)
            if len(order) > self._state_max:
                found.complete = False
                return True
        return True

    def _look_for_stuck(self) -> None:
        """Mark, from the ends backwards, what can still reach one."""
        order, edges, until = self._order, self._edges, self._edges_until
        ends = bytearray(map(self._world.has_ended, order))
        self._found.ended = sum(ends)
        open_states = [n for n in reversed(range(len(order))) if not ends[n]]
        while True:
            still_open = []
            for number in open_states:
                first = until[number - 1] if number else 0
                if any(ends[to] for to in edges[first : until[number]]):
                    ends[number] = True
                else:
                    still_open.append(number)
            if len(still_open) == len(open_states):
                break
            open_states = still_open
        if open_states:
            self._wrong("V1 nothing leads to an end from here", open_states[-1])

    def _wrong(self, rule: str, number: int, last: str = "") -> bool:
        events = self._path(number)
        self._found.violations.append((rule, [*events, last] if last else events))
        return False

    def _path(self, number: int) -> list[str]:
        """The events up to a state, with the nodes' names kept through the mirror."""
        way = []
        while number:
            way.append(self._order[number])
            number = self._parents[number]
        here, events = self._world.initial(), []
        for wanted in reversed(way):
            move = next(
                m
                for m in self._world.moves(here)
                if not m.bug and self._world.canonical(m.after) == wanted
            )
            events.append(move.label)
            here = move.after
        return events
