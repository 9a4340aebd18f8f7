"""How facts change the state: the only way it ever changes.

The moves that are legal stand in ``MOVES`` of :mod:`~coordinator.core.tcc` and
:mod:`~coordinator.core.saga` for the reader, and here as one table for both; any
other move is an :class:`IllegalTransition`.
"""

from collections.abc import Mapping
from typing import assert_never

from coordinator.core.changed import changed
from coordinator.core.errors import IllegalTransition
from coordinator.core.events import (
    AttemptFailed,
    AttentionRaised,
    Began,
    BranchAbandoned,
    BranchPending,
    BranchRefused,
    BranchRegistered,
    BranchResolved,
    BranchSucceeded,
    CheckBackStarted,
    CompensationStarted,
    Decided,
    Event,
    Finished,
    OutputLearned,
    Paused,
    Resumed,
    RetryRequested,
    StepStarted,
)
from coordinator.core.model import (
    UNDER_WAY,
    Branch,
    BranchStatus,
    Decision,
    GlobalTransaction,
    Mode,
    Phase,
    Status,
)
from coordinator.core.sweep import is_quarantined

_S = Status
_B = BranchStatus

STATUS_MOVES: Mapping[Status, frozenset[Status]] = {
    _S.TRYING: frozenset({_S.CONFIRMING, _S.CANCELLING}),
    _S.CONFIRMING: frozenset({_S.CONFIRMED, _S.RESOLVED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.RESOLVED}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.COMPENSATING}),
    _S.COMPENSATING: frozenset({_S.COMPENSATED, _S.RESOLVED}),
    **{status: frozenset() for status in Status if status.is_final},
}
"""Every move of a transaction; whatever is not here is illegal."""

BRANCH_MOVES: Mapping[BranchStatus, frozenset[BranchStatus]] = {
    _B.REGISTERED: frozenset({_B.CONFIRMING, _B.CANCELLING}),
    _B.TRYING: frozenset({_B.TRIED, _B.REFUSED, _B.CANCELLING}),
    _B.TRIED: frozenset({_B.CONFIRMING, _B.CANCELLING}),
    _B.CONFIRMING: frozenset({_B.CONFIRMED, _B.RESOLVED}),
    _B.CANCELLING: frozenset({_B.CANCELLED, _B.RESOLVED}),
    _B.RUNNING: frozenset({_B.SUCCEEDED, _B.REFUSED, _B.COMPENSATING, _B.ABANDONED}),
    _B.SUCCEEDED: frozenset({_B.COMPENSATING}),
    _B.COMPENSATING: frozenset({_B.COMPENSATED, _B.RESOLVED}),
    _B.REFUSED: frozenset(),
    _B.CONFIRMED: frozenset(),
    _B.CANCELLED: frozenset(),
    _B.COMPENSATED: frozenset(),
    _B.ABANDONED: frozenset(),
    _B.RESOLVED: frozenset(),
}
"""Every move of a branch; whatever is not here is illegal."""

_DONE: Mapping[Phase, BranchStatus] = {
    Phase.TRY: _B.TRIED,
    Phase.CONFIRM: _B.CONFIRMED,
    Phase.CANCEL: _B.CANCELLED,
    Phase.ACTION: _B.SUCCEEDED,
    Phase.COMPENSATION: _B.COMPENSATED,
}

_SETTLED: Mapping[type[BranchAbandoned | BranchResolved], BranchStatus] = {
    BranchAbandoned: _B.ABANDONED,
    BranchResolved: _B.RESOLVED,
}

_AT_START: Mapping[Mode, Status] = {Mode.TCC: _S.TRYING, Mode.SAGA: _S.RUNNING}

_TURN: Mapping[tuple[Mode, Decision], Status] = {
    (Mode.TCC, Decision.COMMIT): _S.CONFIRMING,
    (Mode.TCC, Decision.ABORT): _S.CANCELLING,
    (Mode.SAGA, Decision.ABORT): _S.COMPENSATING,
}


def evolve(tx: GlobalTransaction | None, event: Event) -> GlobalTransaction:
    """The state after one more fact. Raises ``IllegalTransition``."""
    match event:
        case Began():
            if tx is not None:
                raise IllegalTransition(f"{tx.key.gid} began twice")
            return GlobalTransaction(
                request=event.request,
                status=_AT_START[event.request.mode],
                definition=event.definition,
                updated_at=event.request.created_at,
            )
        case _ if tx is None:
            raise IllegalTransition(f"{type(event).__name__} before the beginning")
        case BranchRegistered() | StepStarted() | CheckBackStarted():
            return _with_branch(tx, _new_branch(tx, event), event.at)
        case Decided():
            return _decided(tx, event)
        case Finished():
            return _finished(tx, event)
        case AttentionRaised():
            since = tx.attention_since or event.at
            reason = tx.attention_reason if is_quarantined(tx) else event.reason
            return changed(tx, attention_since=since, attention_reason=reason)
        case RetryRequested():
            return _due_at_once(tx, event)
        case Paused():
            return changed(tx, paused_at=event.at, updated_at=event.at)
        case Resumed():
            return changed(tx, paused_at=None, updated_at=event.at)
        case _:
            return _branch_changed(tx, event)


def fold(events: tuple[Event, ...]) -> GlobalTransaction:
    """The state that a whole history leads to."""
    tx: GlobalTransaction | None = None
    for event in events:
        tx = evolve(tx, event)
    if tx is None:
        raise IllegalTransition("a history without a beginning")
    return tx


def _new_branch(
    tx: GlobalTransaction, event: BranchRegistered | StepStarted | CheckBackStarted
) -> Branch:
    if event.spec.branch_id in tx.branches:
        raise IllegalTransition(f"branch {event.spec.branch_id} exists already")
    if tx.status not in (Status.TRYING, Status.RUNNING):
        raise IllegalTransition(f"no branch may join while {tx.status}")
    if not isinstance(event, BranchRegistered):
        status = BranchStatus.RUNNING
    else:
        status = BranchStatus.REGISTERED if event.direct else BranchStatus.TRYING
    return Branch(
        spec=event.spec,
        status=status,
        due_at=event.at if status in UNDER_WAY else None,
        started_at=event.at,
    )


def _with_branch(
    tx: GlobalTransaction, branch: Branch, at: int | None = None
) -> GlobalTransaction:
    branches = {**tx.branches, branch.spec.branch_id: branch}
    updated_at = tx.updated_at if at is None else at
    return changed(tx, branches=branches, updated_at=updated_at)


def _moved(branch: Branch, to: BranchStatus, at: int) -> Branch:
    """The branch in its next status; attempts count within a phase."""
    if to not in BRANCH_MOVES[branch.status]:
        raise IllegalTransition(
            f"branch {branch.spec.branch_id} cannot go from {branch.status} to {to}"
        )
    goes_on = to in UNDER_WAY
    return changed(
        branch,
        status=to,
        attempts=0 if goes_on else branch.attempts,
        due_at=at if goes_on else None,
        pending_since=None,
        finished_at=None if goes_on else at,
    )


def _branch_changed(
    tx: GlobalTransaction,
    event: BranchSucceeded
    | BranchRefused
    | BranchAbandoned
    | AttemptFailed
    | BranchPending
    | OutputLearned
    | CompensationStarted
    | BranchResolved,
) -> GlobalTransaction:
    branch = tx.branches.get(event.branch_id)
    if branch is None:
        raise IllegalTransition(f"no branch {event.branch_id}")
    match event:
        case BranchSucceeded():
            if UNDER_WAY.get(branch.status) is not event.phase:
                raise IllegalTransition(f"{event.phase} while {branch.status}")
            after = _moved(branch, _DONE[event.phase], event.at)
            if event.phase in (Phase.TRY, Phase.ACTION):
                after = changed(after, output=event.output)
            return _with_branch(tx, after, event.at)
        case BranchRefused():
            after = changed(
                _moved(branch, BranchStatus.REFUSED, event.at),
                error_code=event.code,
                error_text=event.text,
            )
            return _with_branch(tx, after, event.at)
        case BranchAbandoned() | BranchResolved():
            after = _moved(branch, _SETTLED[type(event)], event.at)
            return _with_branch(tx, after, event.at)
        case CompensationStarted():
            if tx.status is not Status.COMPENSATING:
                raise IllegalTransition(f"compensation while {tx.status}")
            if branch.status is not BranchStatus.COMPENSATING:
                branch = _moved(branch, BranchStatus.COMPENSATING, event.at)
            after = changed(branch, compensation_input=event.input, due_at=event.at)
            return _with_branch(tx, after, event.at)
        case OutputLearned():
            return _with_branch(tx, changed(branch, output=event.output), event.at)
        case AttemptFailed() | BranchPending():
            return _with_branch(tx, _postponed(branch, event))
        case _:
            assert_never(event)


def _postponed(branch: Branch, event: AttemptFailed | BranchPending) -> Branch:
    if branch.status not in UNDER_WAY:
        raise IllegalTransition(f"nothing is asked while {branch.status}")
    if isinstance(event, BranchPending):
        since = event.at if branch.pending_since is None else branch.pending_since
        return changed(branch, pending_since=since, due_at=event.due_at)
    return changed(
        branch,
        attempts=event.attempts,
        pending_since=None,
        due_at=event.due_at,
        error_code=event.code,
        error_text=event.text,
    )


def _decided(tx: GlobalTransaction, event: Decided) -> GlobalTransaction:
    """T1: once. For TCC all open branches turn in the same fact (T3)."""
    if tx.decision is not Decision.NONE or tx.status.is_final:
        raise IllegalTransition(f"{tx.key.gid} is decided already")
    status = _TURN.get((tx.request.mode, event.decision))
    if status is None:
        raise IllegalTransition("a saga commits by finishing")
    branches = tx.branches
    if tx.request.mode is Mode.TCC:
        branches = {
            branch_id: _turned(branch, event) for branch_id, branch in branches.items()
        }
    return changed(
        tx,
        status=status,
        decision=event.decision,
        reason_code=event.code,
        reason_text=event.text,
        branches=branches,
        updated_at=event.at,
    )


def _turned(branch: Branch, event: Decided) -> Branch:
    """A TCC branch after the decision; what was refused or answered has no turn."""
    match branch.status:
        case BranchStatus.REFUSED | BranchStatus.SUCCEEDED:
            return branch
        case BranchStatus.RUNNING:  # the check-back: its answer no longer matters
            return _moved(branch, BranchStatus.ABANDONED, event.at)
        case _ if event.decision is Decision.COMMIT:
            return _moved(branch, BranchStatus.CONFIRMING, event.at)
        case _:
            return _moved(branch, BranchStatus.CANCELLING, event.at)


def _finished(tx: GlobalTransaction, event: Finished) -> GlobalTransaction:
    if event.status not in STATUS_MOVES[tx.status]:
        raise IllegalTransition(f"from {tx.status} to {event.status}")
    decision = tx.decision
    if event.status is Status.COMPLETED:
        decision = Decision.COMMIT
    return changed(
        tx,
        status=event.status,
        decision=decision,
        output=event.output,
        attention_since=None,
        updated_at=event.at,
        finished_at=event.at,
    )


def _due_at_once(tx: GlobalTransaction, event: RetryRequested) -> GlobalTransaction:
    branches = {
        branch_id: changed(branch, due_at=event.at)
        if branch.due_at is not None and branch.due_at > event.at
        else branch
        for branch_id, branch in tx.branches.items()
    }
    since = None if is_quarantined(tx) else tx.attention_since
    return changed(tx, branches=branches, updated_at=event.at, attention_since=since)
