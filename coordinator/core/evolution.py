"""How facts change the state: the only way it ever changes.

The moves that are legal stand in ``MOVES`` of :mod:`~coordinator.core.tcc` and
:mod:`~coordinator.core.saga` for the reader, and here as one table for both; any
other move is an :class:`IllegalTransition`.
"""

from collections.abc import Mapping
from typing import assert_never

from coordinator.core import quarantine
from coordinator.core.changed import changed
from coordinator.core.definition import BranchKind
from coordinator.core.errors import IllegalTransition
from coordinator.core.events import (
    AllStepsDone,
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
    ConfirmStarted,
    Decided,
    Event,
    Finished,
    OutputLearned,
    Paused,
    Resumed,
    RetryRequested,
    SignalReceived,
    StepRefused,
    StepSkipped,
    StepStarted,
    TrialSurvived,
)
from coordinator.core.model import (
    OPEN,
    UNDER_WAY,
    Branch,
    BranchSpec,
    GlobalTransaction,
    is_open,
    open_of,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    Phase,
    Status,
)

_S = Status
_B = BranchStatus

STATUS_MOVES: Mapping[Status, frozenset[Status]] = {
    _S.TRYING: frozenset({_S.CONFIRMING, _S.CANCELLING}),
    _S.CONFIRMING: frozenset({_S.CONFIRMED, _S.COMPLETED, _S.RESOLVED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.RESOLVED}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.CONFIRMING, _S.COMPENSATING, _S.RESOLVED}),
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
    _B.RUNNING: frozenset(
        {_B.SUCCEEDED, _B.REFUSED, _B.COMPENSATING, _B.ABANDONED, _B.RESOLVED}
    ),
    _B.WAITING: frozenset(
        {_B.SUCCEEDED, _B.REFUSED, _B.COMPENSATING, _B.ABANDONED, _B.RESOLVED}
    ),
    _B.SUCCEEDED: frozenset({_B.COMPENSATING}),
    _B.COMPENSATING: frozenset({_B.COMPENSATED, _B.RESOLVED}),
    _B.REFUSED: frozenset(),
    _B.SKIPPED: frozenset(),
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
    """The state after one more fact. Raises ``IllegalTransition``.

    The most frequent facts are asked for first.
    """
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
        case Finished():
            return _finished(tx, event)
        case Decided():
            return _decided(tx, event)
        case AllStepsDone():
            return _confirming(tx, event)
        case StepSkipped() | StepRefused() | SignalReceived():
            return _with_branch(tx, _settled_branch(tx, event), event.at)
        case AttentionRaised() | TrialSurvived():
            return _attended(tx, event)
        case RetryRequested():
            return _due_at_once(tx, event)
        case Paused() | Resumed():
            paused_at = event.at if isinstance(event, Paused) else None
            return changed(tx, paused_at=paused_at, updated_at=event.at)
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


_WITHOUT_PARTICIPANT = frozenset(
    {BranchKind.SAGA, BranchKind.FOR_EACH, BranchKind.WAIT, BranchKind.AWAIT}
)

SIGNAL_PREFIX = ":signal:"
"""Begins the branch id of a received signal; no step's place begins with a colon."""


def _new_branch(
    tx: GlobalTransaction, event: BranchRegistered | StepStarted | CheckBackStarted
) -> Branch:
    _check_may_join(tx, event.spec)
    due_at: int | None = event.at
    if isinstance(event, BranchRegistered):
        status = BranchStatus.REGISTERED if event.direct else BranchStatus.TRYING
        due_at = None if event.direct else event.at
    elif isinstance(event, StepStarted) and event.spec.kind in _WITHOUT_PARTICIPANT:
        status, due_at = BranchStatus.WAITING, event.wake_at
    elif isinstance(event, StepStarted) and event.spec.kind is BranchKind.TCC:
        status = BranchStatus.TRYING
    else:
        status = BranchStatus.RUNNING
    return Branch(spec=event.spec, status=status, due_at=due_at, started_at=event.at)


def _settled_branch(
    tx: GlobalTransaction, event: StepSkipped | StepRefused | SignalReceived
) -> Branch:
    """A branch that no participant is ever asked about."""
    if isinstance(event, SignalReceived):
        spec = BranchSpec(
            branch_id=SIGNAL_PREFIX + event.name,
            operation="",
            input=event.payload,
            timeout_ms=0,
            attempt_max=0,
            kind=BranchKind.SIGNAL,
        )
        _check_may_join(tx, spec)
        return Branch(
            spec=spec,
            status=BranchStatus.SUCCEEDED,
            output=event.payload,
            started_at=event.at,
            finished_at=event.at,
        )
    _check_may_join(tx, event.spec)
    if isinstance(event, StepSkipped):
        return Branch(
            spec=event.spec,
            status=BranchStatus.SKIPPED,
            started_at=event.at,
            finished_at=event.at,
        )
    return Branch(
        spec=event.spec,
        status=BranchStatus.WAITING if event.stuck else BranchStatus.REFUSED,
        error_code=event.code,
        error_text=event.text,
        started_at=event.at,
        finished_at=None if event.stuck else event.at,
    )


def _check_may_join(tx: GlobalTransaction, spec: BranchSpec) -> None:
    if spec.branch_id in tx.branches:
        raise IllegalTransition(f"branch {spec.branch_id} exists already")
    if tx.status not in (Status.TRYING, Status.RUNNING):
        raise IllegalTransition(f"no branch may join while {tx.status}")


def _with_branch(
    tx: GlobalTransaction, branch: Branch, at: int | None = None
) -> GlobalTransaction:
    branch_id = branch.spec.branch_id
    branches = {**tx.branches, branch_id: branch}
    updated_at = tx.updated_at if at is None else at
    still_open = tx.open
    if is_open(branch) != (branch_id in still_open):
        still_open = dict(still_open)
        if branch_id in still_open:
            del still_open[branch_id]
        else:
            still_open[branch_id] = None
    return changed(tx, branches=branches, updated_at=updated_at, open=still_open)


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
    | ConfirmStarted
    | BranchResolved,
) -> GlobalTransaction:
    branch = tx.branches.get(event.branch_id)
    if branch is None:
        raise IllegalTransition(f"no branch {event.branch_id}")
    match event:
        case BranchSucceeded():
            return _with_branch(tx, _succeeded(branch, event), event.at)
        case BranchRefused():
            after = changed(
                _moved(branch, BranchStatus.REFUSED, event.at),
                error_code=event.code,
                error_text=event.text,
            )
            return _with_branch(tx, after, event.at)
        case BranchAbandoned() | BranchResolved():
            after = _moved(branch, _SETTLED[type(event)], event.at)
            if isinstance(event, BranchAbandoned) and event.code:
                after = changed(after, error_code=event.code, error_text=event.text)
            return _with_branch(tx, after, event.at)
        case ConfirmStarted():
            if tx.decision is not Decision.COMMIT:
                raise IllegalTransition("a confirm before the commit")
            after = _moved(branch, BranchStatus.CONFIRMING, event.at)
            return _with_branch(tx, after, event.at)
        case CompensationStarted():
            return _with_branch(tx, _undone(tx, branch, event), event.at)
        case OutputLearned():
            return _with_branch(tx, changed(branch, output=event.output), event.at)
        case AttemptFailed() | BranchPending():
            return _with_branch(tx, _postponed(branch, event))
        case _:
            assert_never(event)


def _succeeded(branch: Branch, event: BranchSucceeded) -> Branch:
    waited = branch.status is BranchStatus.WAITING and event.phase is Phase.ACTION
    if UNDER_WAY.get(branch.status) is not event.phase and not waited:
        raise IllegalTransition(f"{event.phase} while {branch.status}")
    done = _DONE[event.phase]
    after = _moved(branch, done, event.at)
    if event.phase in (Phase.TRY, Phase.ACTION):
        after = changed(after, output=event.output)
    if done is BranchStatus.TRIED and branch.spec.expires_ms:
        after = changed(after, due_at=branch.started_at + branch.spec.expires_ms)
    return after


_GROUPS = frozenset({BranchKind.SAGA, BranchKind.FOR_EACH})
_MAY_UNDO = frozenset({Status.RUNNING, Status.CONFIRMING, Status.COMPENSATING})


def _undone(
    tx: GlobalTransaction, branch: Branch, event: CompensationStarted
) -> Branch:
    """A branch on its way back; a group's has no due time, its members have."""
    if tx.status not in _MAY_UNDO:
        raise IllegalTransition(f"compensation while {tx.status}")
    is_tcc = branch.spec.kind is BranchKind.TCC
    to = BranchStatus.CANCELLING if is_tcc else BranchStatus.COMPENSATING
    if branch.status is not to:
        branch = _moved(branch, to, event.at)
    due_at = None if branch.spec.kind in _GROUPS else event.at
    after = changed(branch, compensation_input=event.input, due_at=due_at)
    if event.code:
        after = changed(after, error_code=event.code, error_text=event.text)
    return after


def _postponed(branch: Branch, event: AttemptFailed | BranchPending) -> Branch:
    if branch.status not in OPEN:
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
    if event.decision is Decision.NONE:
        raise IllegalTransition("a decision that is none")
    branches = tx.branches
    if tx.request.mode is Mode.TCC:
        branches = {i: _turned(branch, event) for i, branch in branches.items()}
    return changed(
        tx,
        status=_TURN.get((tx.request.mode, event.decision), tx.status),
        decision=event.decision,
        reason_code=event.code,
        reason_text=event.text,
        branches=branches,
        open=open_of(branches),
        updated_at=event.at,
    )


def _confirming(tx: GlobalTransaction, event: AllStepsDone) -> GlobalTransaction:
    if tx.decision is not Decision.COMMIT:
        raise IllegalTransition("undecided, and all steps done")
    if Status.CONFIRMING not in STATUS_MOVES[tx.status]:
        raise IllegalTransition(f"from {tx.status} to {Status.CONFIRMING}")
    return changed(tx, status=Status.CONFIRMING, updated_at=event.at)


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


def _attended(
    tx: GlobalTransaction, event: AttentionRaised | TrialSurvived
) -> GlobalTransaction:
    if isinstance(event, TrialSurvived):
        return changed(quarantine.without_quarantine(tx), updated_at=event.at)
    return changed(
        tx,
        attention_since=tx.attention_since or event.at,
        attention_reason=quarantine.reason_after(tx, event),
    )


def _due_at_once(tx: GlobalTransaction, event: RetryRequested) -> GlobalTransaction:
    branches = {
        branch_id: changed(branch, due_at=event.at)
        if branch.status in UNDER_WAY
        and branch.due_at is not None
        and branch.due_at > event.at
        else branch
        for branch_id, branch in tx.branches.items()
    }
    return changed(
        quarantine.without_quarantine(tx),
        branches=branches,
        open=open_of(branches),
        updated_at=event.at,
    )
