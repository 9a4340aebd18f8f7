"""What an operator may do to a transaction, whatever its mode.

An operator hastens, holds, cancels what is undecided, and settles a branch by hand
when no participant ever will. None of it can write CONFIRMED, CANCELLED, COMPLETED or
COMPENSATED without the participants' answers (T8): a transaction with a branch that
was settled by hand ends as RESOLVED. Who did it and why is part of the history, and
the engine stores an audit entry in the same database transaction.
"""

from typing import assert_never

from coordinator.core import saga
from coordinator.core.draft import Draft
from coordinator.core.errors import NotFound, PreconditionFailed
from coordinator.core.events import BranchResolved, Paused, Resumed, RetryRequested
from coordinator.core.inputs import (
    CancelByOperator,
    OperatorInput,
    Pause,
    Resolve,
    Resume,
    RetryNow,
)
from coordinator.core.model import Instant
from coordinator.core.words import BranchStatus, Decision

_BY_HAND = (
    BranchStatus.CONFIRMING,
    BranchStatus.CANCELLING,
    BranchStatus.COMPENSATING,
)
"""A branch can be settled by hand only in the direction that was decided; a step of
a saga also when nothing but going forward is left."""


def decide(draft: Draft, what: OperatorInput, now: Instant) -> None:
    """The facts of an operator's wish; its consequences are the mode's own rules."""
    tx = draft.tx
    if tx.status.is_final:
        raise PreconditionFailed(
            f"the transaction has ended as {tx.status}; there is nothing left to do",
            field="gid",
            reason="TRANSACTION_ENDED",
        )
    match what:
        case RetryNow(actor, reason):
            draft.add(RetryRequested(actor, reason, now))
        case Pause(actor, reason) if tx.paused_at is None:
            draft.add(Paused(actor, reason, now))
        case Resume(actor, reason) if tx.paused_at is not None:
            draft.add(Resumed(actor, reason, now))
        case Pause() | Resume():
            pass  # it is so already
        case CancelByOperator():
            _check_undecided(draft)
        case Resolve():
            _resolve(draft, what, now)
        case _:
            assert_never(what)


def _check_undecided(draft: Draft) -> None:
    if draft.tx.decision is not Decision.NONE:
        raise PreconditionFailed(
            f"the transaction is decided ({draft.tx.status}); a decision never changes",
            field="gid",
            reason="TRANSACTION_DECIDED",
        )


def _resolve(draft: Draft, what: Resolve, now: Instant) -> None:
    branch = draft.tx.branches.get(what.branch_id)
    if branch is None:
        raise NotFound(
            f"the transaction has no branch {what.branch_id!r}", field="branch_id"
        )
    if branch.status is BranchStatus.RESOLVED:
        return  # it is so already
    if saga.has_members(branch):
        raise PreconditionFailed(
            f"branch {what.branch_id!r} stands for others; settle each of its members",
            field="branch_id",
            reason="BRANCH_IS_GROUP",
        )
    if branch.status not in _BY_HAND and not saga.may_be_settled(draft.tx, branch):
        raise PreconditionFailed(
            f"branch {what.branch_id!r} is {branch.status}; by hand a branch can be"
            " settled only while its confirm, cancel or compensation is open",
            field="branch_id",
            reason="BRANCH_NOT_OPEN",
        )
    draft.add(BranchResolved(what.branch_id, what.actor, what.reason, now))
