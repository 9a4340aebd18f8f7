"""What has really happened in the sagas of a world: the oracle's knowledge.

"Succeeded", "undone" and "took effect" come from the participants' side; of the journal
it reads only what no participant can know: that something was given up, skipped,
refused without a call, or settled by hand.
"""

import json
from typing import TYPE_CHECKING

from coordinator.core.definition import BranchKind, Constant, Reference
from coordinator.core.model import (
    Branch,
    GlobalTransaction,
    Payload,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
)
from tests.simulation.saga_tree import (
    Place,
    Special,
    Tree,
    Unit,
    is_undoable,
    resolve,
)

if TYPE_CHECKING:
    from tests.simulation.checks import Checks

FORWARD = frozenset({BranchStatus.RUNNING, BranchStatus.TRYING, BranchStatus.WAITING})
GOING_BACK = frozenset({BranchStatus.COMPENSATING, BranchStatus.CANCELLING})
ANSWERED = frozenset({BranchStatus.SUCCEEDED, BranchStatus.TRIED})
DONE_WITH = frozenset(
    {
        BranchStatus.COMPENSATED,
        BranchStatus.CANCELLED,
        BranchStatus.REFUSED,
        BranchStatus.ABANDONED,
        BranchStatus.SKIPPED,
        BranchStatus.RESOLVED,
    }
)


class SagaFacts:
    """Knows every saga of one world."""

    def __init__(self, checks: "Checks") -> None:
        self._checks = checks
        self._hit = checks.hit
        self._trees: dict[str, Tree] = {}
        self._signals: dict[tuple[str, str], Payload] = {}
        self._deciders: dict[str, str] = {}
        self._given_up: set[tuple[str, str]] = set()
        self._inputs: dict[tuple[str, str, Phase], bytes] = {}

    def expect(self, gid: str, tree: Tree) -> None:
        """A saga will be submitted."""
        self._trees[gid] = tree

    def signalled(self, gid: str, name: str, payload: Payload) -> None:
        """Somebody is about to send a signal."""
        self._signals[gid, name] = payload

    def is_undoable(self, gid: str, branch_id: str) -> bool:
        """Whether what was done for this branch can be undone."""
        unit, choice = self._trees[gid].branches.get(branch_id, (None, 0))
        return unit is not None and is_undoable(unit, choice)

    def waits_for_somebody(self, tx: GlobalTransaction) -> bool:
        """Whether a saga that can only go forward waits for a signal, or a person."""
        if tx.decision is not Decision.COMMIT:
            return False
        waiting = [tx.branches[branch_id] for branch_id in tx.open]
        return all(branch.status is BranchStatus.WAITING for branch in waiting) and any(
            branch.spec.kind is BranchKind.AWAIT or branch.error_code == "EXPRESSION"
            for branch in waiting
        )

    def _is_satisfied(self, tx: GlobalTransaction, place: Place) -> bool:
        """Whether those that need a step may go on (S1), by what really happened."""
        step_branch = tx.branches.get(place.branch_id)
        if step_branch is not None and step_branch.status is BranchStatus.SKIPPED:
            return True
        if place.is_list:
            if step_branch is None:
                return False
            if step_branch.status is BranchStatus.RESOLVED:
                return True
            if place.step.optional and step_branch.status is BranchStatus.REFUSED:
                return True
            if not isinstance(place.items, list):
                return False
        return all(self._is_unit_satisfied(tx, unit) for unit in place.units)

    def _is_unit_satisfied(self, tx: GlobalTransaction, unit: Unit) -> bool:
        gid, step = tx.key.gid, unit.step
        latest = self._latest(tx, unit)
        if latest is None:
            return False
        if (gid, latest.spec.branch_id) in self._checks.by_hand:
            return True
        if step.optional and latest.status not in FORWARD:
            return True
        if latest.status in GOING_BACK | DONE_WITH:
            return False
        if unit.child is not None:
            places = unit.child.places.values()
            return all(self._is_satisfied(tx, place) for place in places)
        match step.kind:
            case BranchKind.AWAIT:
                return (gid, step.signal) in self._signals
            case BranchKind.WAIT:
                return latest.status is BranchStatus.SUCCEEDED
            case _:
                return (gid, latest.spec.branch_id) in self._checks.succeeded

    def _is_clear(
        self, tx: GlobalTransaction, unit: Unit, *, members: bool = False
    ) -> bool:
        """Whether nothing is left of a unit: never sent, refused, or really undone.

        Args:
            members: of a group, look at its members alone.
        """
        gid = tx.key.gid
        if unit.child is not None and not all(
            self._is_clear(tx, inner) for inner in unit.child.units()
        ):
            return False
        if unit.child is not None and members:
            return True
        for choice, branch_id in enumerate(unit.branch_ids):
            branch = tx.branches.get(branch_id)
            if branch is None or (gid, branch_id) in self._checks.by_hand:
                continue
            if branch.status in FORWARD:
                return False
            never_ran = branch.status in (BranchStatus.REFUSED, BranchStatus.SKIPPED)
            is_buried = (gid, branch_id) in self._checks.buried
            if is_undoable(unit, choice) and not never_ran and not is_buried:
                return False
        return True

    def _has_to_be_undone(self, unit: Unit, branch: Branch) -> bool:
        choice = unit.branch_ids.index(branch.spec.branch_id)
        return unit.child is not None or is_undoable(unit, choice)

    def _may_fail(self, unit: Unit) -> bool:
        at: Unit | None = unit
        while at is not None:
            if at.step.optional:
                return True
            at = at.place.scope.owner
        return False

    def _is_in_given_up(
        self, tx: GlobalTransaction, place: Place, unit: Unit | None
    ) -> bool:
        """Whether a group around it is being undone as a whole."""
        if unit is not None and unit.index is not None:
            of_list = tx.branches.get(place.branch_id)
            if of_list is not None and of_list.status in GOING_BACK:
                return True
        owner = place.scope.owner
        if owner is None:
            return False
        branch = tx.branches.get(owner.unit_id)
        if branch is not None and branch.status in GOING_BACK:
            return True
        return self._is_in_given_up(tx, owner.place, owner)

    def _is_forward(self, tx: GlobalTransaction, unit: Unit) -> bool:
        """Whether an item was sent, and neither succeeded nor came to nothing."""
        latest = self._latest(tx, unit)
        if latest is None or latest.status not in FORWARD:
            return False
        key = (tx.key.gid, latest.spec.branch_id)
        return (
            bool(unit.child)
            or latest.status in FORWARD
            or (key not in self._checks.succeeded)
        )

    def _latest(self, tx: GlobalTransaction, unit: Unit) -> Branch | None:
        found = [tx.branches[b] for b in unit.branch_ids if b in tx.branches]
        return found[-1] if found else None

    def _condition(self, tx: GlobalTransaction, place: Place) -> object:
        template = place.step.condition
        if template is None:
            return True
        value = resolve(template, place.scope.input)
        if value is Special.LATER and isinstance(template, Reference):
            need = place.scope.places[str(template.path[1])]
            return self._output(tx, need, str(template.path[3]))
        return value

    def _is_broken(self, tx: GlobalTransaction, place: Place) -> bool:
        """Whether a step may fail by an expression of its own."""
        if any(gid == tx.key.gid for gid, _ in self._checks.by_hand):
            return True  # what was settled by hand has no output to read
        condition = self._condition(tx, place)
        if not isinstance(condition, bool):
            return True
        if place.is_list and not isinstance(place.items, list):
            return True
        wait = place.step.wait
        return isinstance(wait, Constant) and wait.value == "soon"

    def _output(self, tx: GlobalTransaction, place: Place, name: str) -> object:
        """A field of a step's output, of the choice that succeeded."""
        latest = self._latest(tx, place.units[0])
        if latest is None:
            return None
        key = (tx.key.gid, latest.spec.branch_id)
        return json.loads(self._checks.outputs.get(key, b"{}")).get(name)
