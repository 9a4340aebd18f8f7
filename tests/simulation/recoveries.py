"""V8: whoever waits for a participant that came back to its node is asked soon."""

from typing import TYPE_CHECKING, NamedTuple

from coordinator.core import breaker, recovery
from coordinator.core.actions import CallBranch
from coordinator.core.breaker import State
from coordinator.core.machine import due
from coordinator.core.model import (
    Branch,
    GlobalTransaction,
    Key,
    participant_of,
)
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

FAR_FUTURE = 1 << 60

LATE_US = 50_000
"""How much later than the rule demands a call may leave: for alarms that ring late, and
clocks that run slow."""


class Wait(NamedTuple):
    """A branch that waits for its next attempt's time."""

    key: Key
    branch: Branch


class Recoveries:
    """What came back where, and who was asked since."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._number = 0
        self._returned: dict[tuple[str, str], int] = {}
        self._asked: dict[tuple[str, Key], dict[str, int]] = {}

    def returned(self, node: "Node", participant: str) -> None:
        """A node was told that it is back; nobody is late yet."""
        self._number += 1
        self._returned[node.name, participant] = self._number
        now = node.clock.now()
        waits = [
            Wait(tx.key, tx.branches[call.branch_id])
            for tx in self._world.checks.durable.values()
            if _is_driven_by(node, tx)
            for call in due(tx, FAR_FUTURE)
            if participant_of(call.operation) == participant
            and _is_hastened(tx, tx.branches[call.branch_id], now)
        ]
        if waits and "clock_jump" not in self._world.faults:
            bound_us = recovery.HASTE_MS * 1_030 + LATE_US
            self._world.loop.later(
                bound_us, None, self._look, node, participant, self._number, waits
            )

    def sent(self, node: "Node", call: CallBranch) -> None:
        """A call leaves; its branch has had its turn."""
        asked = self._asked.setdefault((node.name, call.key), {})
        asked[call.branch_id] = self._number

    def loaded(self, node: "Node", key: Key) -> None:
        """The node has forgotten what it knew but for what is stored."""
        self._asked.pop((node.name, key), None)

    def may_be_early(self, node: "Node", call: CallBranch) -> bool:
        """Its participant has come back, and the branch was not asked since."""
        returned = self._returned.get((node.name, participant_of(call.operation)), 0)
        return call.attempt > 1 and self._last_asked(node, call.key, call.branch_id) < (
            returned
        )

    def _last_asked(self, node: "Node", key: Key, branch_id: str) -> int:
        return self._asked.get((node.name, key), {}).get(branch_id, 0)

    def _look(
        self, node: "Node", participant: str, number: int, waits: list[Wait]
    ) -> None:
        """By now all of them must have been asked, unless something came between."""
        if (
            not node.alive
            or node.name in self._world.was_paused
            or self._returned[node.name, participant] != number
            or participant not in node.links
            or not _may_be_asked(node, participant)
        ):
            return
        for key, branch in waits:
            tx, branch_id = self._world.checks.durable[key], branch.spec.branch_id
            if (
                tx.branches[branch_id] == branch
                and tx.paused_at is None
                and _is_driven_by(node, tx)
                and not _knows_better(node, key, branch)
                and not _is_out(node, participant, key, branch_id)
                and self._last_asked(node, key, branch_id) < number
            ):
                text = f"{branch_id} waits though {participant} is back"
                raise Violation("V8", key.gid, text)


def _is_driven_by(node: "Node", tx: GlobalTransaction) -> bool:
    """The node holds it, and no load or commit of it is under way."""
    resident = node.engine._residents.get(tx.key)
    return tx.owner == node.name and resident is not None and not resident.busy


def _may_be_asked(node: "Node", participant: str) -> bool:
    """It has credit, and has not been failing again since."""
    lane, now = node.dispatcher._lanes[participant], node.clock.monotonic_ms()
    is_ill = lane.breaker._tally.is_above(now, breaker.ILL_SHARE)
    return lane.has_room and lane.breaker.state is State.CLOSED and not is_ill


def _knows_better(node: "Node", key: Key, branch: Branch) -> bool:
    """An answer of the branch waits in the node's memory for the next commit."""
    resident = node.engine._residents[key]
    return resident.tx.branches[branch.spec.branch_id] != branch


def _is_out(node: "Node", participant: str, key: Key, branch_id: str) -> bool:
    """Its call went out before the node last read the transaction, and is no call that
    waits for its turn: its answer or its time-out comes by itself.
    """
    waiting = node.dispatcher._lanes[participant].waiting
    is_marked = branch_id in node.engine._residents[key].in_flight
    return is_marked and (key, branch_id) not in waiting


def _is_hastened(tx: GlobalTransaction, branch: Branch, now: int) -> bool:
    """It failed and waits, and not for a time that its participant named, or that a
    node computed whose clock is ahead.
    """
    return (
        branch.attempts > 0
        and branch.pending_since is None
        and branch.due_at is not None
        and branch.due_at <= now + recovery.longest_wait_ms(tx, branch)
    )
