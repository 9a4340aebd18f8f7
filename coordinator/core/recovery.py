"""When a branch is asked again whose participant was away and has come back (V8).

Theory of operation
-------------------
A branch that failed often waits for up to its policy's longest interval. That pace is
for a participant that is away; one that is back need not wait for it. So whoever waits
for a participant that has *returned* is due within ``HASTE_MS``, each at its own
instant in that time: it follows from gid and branch, so that a crowd does not come
back together, and every node and every replay computes the same. How many of those who
are due go out at once is for the participant's breaker to say.

Nothing of this is stored. What is due sooner is recomputed from the stored state and
from what the node knows: who returned, and which of the returns a branch was asked
after. So each return hastens a branch once; when it fails again, its own back-off
holds. A node that does not know of a return, or has forgotten it, asks when the branch
is due by itself.

Not hastened: a first call, which waits for nothing; a branch that is pending, which
its participant is working on; and a wait that is longer than the policy ever computes,
which is the participant's own wish.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct

from coordinator.core import backoff
from coordinator.core.definition import Compensation
from coordinator.core.model import (
    UNDER_WAY,
    Branch,
    GlobalTransaction,
    Instant,
    Milliseconds,
    participant_of,
)
from coordinator.core.place import place_of
from coordinator.core.words import BranchStatus

HASTE_MS: Milliseconds = 4_000
"""Over which those who waited are asked: a second less than it may take until the first
of them succeeds. A crowd takes longer (:attr:`Return.within_ms`)."""


class Return(NamedTuple):
    """A participant came back to a node.

    Attributes:
        at: by the node's clock.
        number: rises with each return that the node sees, whoever returns.
        within_ms: over which those who wait for it are asked.
    """

    at: Instant
    number: int
    within_ms: Milliseconds


class Recovery(Struct, frozen=True):
    """What a node knows about those that one transaction waits for.

    Attributes:
        returned: participant to its latest return.
        asked: branch id to the number of the latest return when it was last asked.
    """

    returned: Mapping[str, Return] = {}
    asked: Mapping[str, int] = {}


NOBODY = Recovery()

_BY_DEFINITION = frozenset(
    {BranchStatus.TRYING, BranchStatus.RUNNING, BranchStatus.COMPENSATING}
)
"""A saga's definition says how often these are asked; the others, the house's rules."""


def ask_at(tx: GlobalTransaction, branch: Branch, recovery: Recovery) -> Instant | None:
    """When the branch is to be asked; ``None`` when nothing is to be asked."""
    due_at = branch.due_at
    if (
        due_at is None
        or branch.status not in UNDER_WAY
        or not recovery.returned
        or not branch.attempts
        or branch.pending_since is not None
    ):
        return due_at
    returned = recovery.returned.get(participant_of(_operation(tx, branch)))
    branch_id = branch.spec.branch_id
    if (
        returned is None
        or recovery.asked.get(branch_id, 0) >= returned.number
        or due_at - returned.at > longest_wait_ms(tx, branch)
    ):
        return due_at
    share = backoff.share_of(f"{tx.key.gid}:{branch_id}")
    return min(due_at, returned.at + round(returned.within_ms * share))


def longest_wait_ms(tx: GlobalTransaction, branch: Branch) -> Milliseconds:
    """No back-off between two calls of the branch's present phase is longer."""
    if tx.definition is None or branch.status not in _BY_DEFINITION:
        return max(backoff.FORWARD.interval_max_ms, backoff.PHASE_TWO.interval_max_ms)
    compensation = _compensation(tx, branch)
    if compensation is not None:
        return compensation.retry.interval_max_ms
    place = place_of(tx, branch.spec.branch_id)
    return place.step.calls[place.choice].retry.interval_max_ms


def _operation(tx: GlobalTransaction, branch: Branch) -> str:
    compensation = _compensation(tx, branch)
    return branch.spec.operation if compensation is None else compensation.operation


def _compensation(tx: GlobalTransaction, branch: Branch) -> Compensation | None:
    if tx.definition is None or branch.status is not BranchStatus.COMPENSATING:
        return None
    place = place_of(tx, branch.spec.branch_id)
    return place.step.calls[place.choice].compensation
