"""How facts change the state: the only way it ever changes.

The moves that are legal stand in ``MOVES`` of :mod:`~coordinator.core.tcc` and
:mod:`~coordinator.core.saga` for the reader, and here as one table for both; any
other move is an :class:`IllegalTransition`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

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

_RUNNING: Final = BranchStatus.RUNNING
_TRYING: Final = BranchStatus.TRYING
_TRIED: Final = BranchStatus.TRIED
_WAITING: Final = BranchStatus.WAITING
_UNDECIDED: Final = Decision.NONE
_COMPLETED: Final = Status.COMPLETED
_COMMITTED: Final = Decision.COMMIT

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

_DONE: Mapping[tuple[BranchStatus, Phase], BranchStatus] = {
    (_B.TRYING, Phase.TRY): _B.TRIED,
    (_B.CONFIRMING, Phase.CONFIRM): _B.CONFIRMED,
    (_B.CANCELLING, Phase.CANCEL): _B.CANCELLED,
    (_B.RUNNING, Phase.ACTION): _B.SUCCEEDED,
    (_B.WAITING, Phase.ACTION): _B.SUCCEEDED,
    (_B.COMPENSATING, Phase.COMPENSATION): _B.COMPENSATED,
}
"""What a success makes of a branch; of any other status and phase, nothing. Each of
these is a move of ``BRANCH_MOVES``."""

_ANSWERING = frozenset({Phase.TRY, Phase.ACTION})
"""What is answered to these is the branch's output."""

_AT_START: Mapping[Mode, Status] = {Mode.TCC: _S.TRYING, Mode.SAGA: _S.RUNNING}

_TURN: Mapping[tuple[Mode, Decision], Status] = {
    (Mode.TCC, Decision.COMMIT): _S.CONFIRMING,
    (Mode.TCC, Decision.ABORT): _S.CANCELLING,
    (Mode.SAGA, Decision.ABORT): _S.COMPENSATING,
}


def evolve(tx: GlobalTransaction | None, event: Event) -> GlobalTransaction:
    """The state after one more fact. Raises ``IllegalTransition``."""
    if tx is None:
        return _begun(event)
    return CHANGES[type(event)](tx, event)


def _begun(event: Event) -> GlobalTransaction:
    if not isinstance(event, Began):
        raise IllegalTransition(f"{type(event).__name__} before the beginning")
    return GlobalTransaction(
        request=event.request,
        status=_AT_START[event.request.mode],
        definition=event.definition,
        updated_at=event.request.created_at,
    )


def _begun_twice(tx: GlobalTransaction, _event: Began) -> GlobalTransaction:
    raise IllegalTransition(f"{tx.key.gid} began twice")


def fold(events: tuple[Event, ...]) -> GlobalTransaction:
    """The state that a whole history leads to."""
    tx: GlobalTransaction | None = None
    for event in events:
        tx = evolve(tx, event)
    if tx is None:
        raise IllegalTransition("a history without a beginning")
    return tx


# ---- Branches that join -----------------------------------------------------------

SIGNAL_PREFIX = ":signal:"
"""Begins the branch id of a received signal; no step's place begins with a colon."""

_MAY_JOIN = frozenset({Status.TRYING, Status.RUNNING})

_STEP_AT_START: Mapping[BranchKind, BranchStatus] = {
    BranchKind.SAGA: _B.WAITING,
    BranchKind.FOR_EACH: _B.WAITING,
    BranchKind.WAIT: _B.WAITING,
    BranchKind.AWAIT: _B.WAITING,
    BranchKind.TCC: _B.TRYING,
}
"""The others are RUNNING."""


def _registered(tx: GlobalTransaction, event: BranchRegistered) -> GlobalTransaction:
    status = BranchStatus.REGISTERED if event.direct else _TRYING
    due_at = None if event.direct else event.at
    return _joined(tx, event.spec, status, due_at, event.at)


def _step_started(tx: GlobalTransaction, event: StepStarted) -> GlobalTransaction:
    status = _STEP_AT_START.get(event.spec.kind, _RUNNING)
    due_at = event.wake_at if status is _WAITING else event.at
    return _joined(tx, event.spec, status, due_at, event.at)


def _asked_back(tx: GlobalTransaction, event: CheckBackStarted) -> GlobalTransaction:
    return _joined(tx, event.spec, BranchStatus.RUNNING, event.at, event.at)


def _joined(
    tx: GlobalTransaction,
    spec: BranchSpec,
    status: BranchStatus,
    due_at: int | None,
    at: int,
) -> GlobalTransaction:
    _check_may_join(tx, spec)
    branch = Branch(spec=spec, status=status, due_at=due_at, started_at=at)
    return _with_branch(tx, branch, at)


def _skipped(tx: GlobalTransaction, event: StepSkipped) -> GlobalTransaction:
    _check_may_join(tx, event.spec)
    branch = Branch(
        spec=event.spec,
        status=BranchStatus.SKIPPED,
        started_at=event.at,
        finished_at=event.at,
    )
    return _with_branch(tx, branch, event.at)


def _could_not_start(tx: GlobalTransaction, event: StepRefused) -> GlobalTransaction:
    _check_may_join(tx, event.spec)
    branch = Branch(
        spec=event.spec,
        status=BranchStatus.WAITING if event.stuck else BranchStatus.REFUSED,
        error_code=event.code,
        error_text=event.text,
        started_at=event.at,
        finished_at=None if event.stuck else event.at,
    )
    return _with_branch(tx, branch, event.at)


def _signalled(tx: GlobalTransaction, event: SignalReceived) -> GlobalTransaction:
    """A branch that no participant is ever asked about keeps what came."""
    spec = BranchSpec(
        branch_id=SIGNAL_PREFIX + event.name,
        operation="",
        input=event.payload,
        timeout_ms=0,
        attempt_max=0,
        kind=BranchKind.SIGNAL,
    )
    _check_may_join(tx, spec)
    branch = Branch(
        spec=spec,
        status=BranchStatus.SUCCEEDED,
        output=event.payload,
        started_at=event.at,
        finished_at=event.at,
    )
    return _with_branch(tx, branch, event.at)


def _check_may_join(tx: GlobalTransaction, spec: BranchSpec) -> None:
    if spec.branch_id in tx.branches:
        raise IllegalTransition(f"branch {spec.branch_id} exists already")
    if tx.status not in _MAY_JOIN:
        raise IllegalTransition(f"no branch may join while {tx.status}")


def _with_branch(tx: GlobalTransaction, branch: Branch, at: int) -> GlobalTransaction:
    branch_id = branch.spec.branch_id
    branches = {**tx.branches, branch_id: branch}
    still_open = tx.open
    if is_open(branch):
        if branch_id not in still_open:
            still_open = {**still_open, branch_id: None}
    elif branch_id in still_open:
        still_open = dict(still_open)
        del still_open[branch_id]
    return changed(tx, branches=branches, updated_at=at, open=still_open)


# ---- Branches that change ---------------------------------------------------------


def _branch_of(tx: GlobalTransaction, branch_id: str) -> Branch:
    branch = tx.branches.get(branch_id)
    if branch is None:
        raise IllegalTransition(f"no branch {branch_id}")
    return branch


def _moved(branch: Branch, to: BranchStatus, at: int) -> Branch:
    """The branch in its next status; attempts count within a phase."""
    if to not in BRANCH_MOVES[branch.status]:
        raise IllegalTransition(
            f"branch {branch.spec.branch_id} cannot go from {branch.status} to {to}"
        )
    if to in UNDER_WAY:
        return changed(
            branch,
            status=to,
            attempts=0,
            due_at=at,
            pending_since=None,
            finished_at=None,
        )
    return changed(branch, status=to, due_at=None, pending_since=None, finished_at=at)


def _succeeded(tx: GlobalTransaction, event: BranchSucceeded) -> GlobalTransaction:
    branch, phase, at = _branch_of(tx, event.branch_id), event.phase, event.at
    done = _DONE.get((branch.status, phase))
    if done is None:
        raise IllegalTransition(f"{phase} while {branch.status}")
    due_at = None
    if branch.spec.expires_ms and done is _TRIED:
        due_at = branch.started_at + branch.spec.expires_ms
    after = changed(
        branch,
        status=done,
        due_at=due_at,
        pending_since=None,
        finished_at=at,
        output=event.output if phase in _ANSWERING else branch.output,
    )
    return _with_branch(tx, after, at)


def _refused(tx: GlobalTransaction, event: BranchRefused) -> GlobalTransaction:
    branch = _branch_of(tx, event.branch_id)
    after = _moved(branch, BranchStatus.REFUSED, event.at)
    after = changed(after, error_code=event.code, error_text=event.text)
    return _with_branch(tx, after, event.at)


def _abandoned(tx: GlobalTransaction, event: BranchAbandoned) -> GlobalTransaction:
    branch = _branch_of(tx, event.branch_id)
    after = _moved(branch, BranchStatus.ABANDONED, event.at)
    if event.code:
        after = changed(after, error_code=event.code, error_text=event.text)
    return _with_branch(tx, after, event.at)


def _resolved(tx: GlobalTransaction, event: BranchResolved) -> GlobalTransaction:
    branch = _branch_of(tx, event.branch_id)
    return _with_branch(tx, _moved(branch, BranchStatus.RESOLVED, event.at), event.at)


def _confirm_started(tx: GlobalTransaction, event: ConfirmStarted) -> GlobalTransaction:
    branch = _branch_of(tx, event.branch_id)
    if tx.decision is not Decision.COMMIT:
        raise IllegalTransition("a confirm before the commit")
    return _with_branch(tx, _moved(branch, BranchStatus.CONFIRMING, event.at), event.at)


def _output_learned(tx: GlobalTransaction, event: OutputLearned) -> GlobalTransaction:
    branch = _branch_of(tx, event.branch_id)
    return _with_branch(tx, changed(branch, output=event.output), event.at)


_GROUPS = frozenset({BranchKind.SAGA, BranchKind.FOR_EACH})
_MAY_UNDO = frozenset({Status.RUNNING, Status.CONFIRMING, Status.COMPENSATING})


def _undone(tx: GlobalTransaction, event: CompensationStarted) -> GlobalTransaction:
    """A branch on its way back; a group's has no due time, its members have."""
    branch = _branch_of(tx, event.branch_id)
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
    return _with_branch(tx, after, event.at)


def _attempt_failed(tx: GlobalTransaction, event: AttemptFailed) -> GlobalTransaction:
    after = changed(
        _asked(tx, event.branch_id),
        attempts=event.attempts,
        pending_since=None,
        due_at=event.due_at,
        error_code=event.code,
        error_text=event.text,
    )
    return _with_branch(tx, after, tx.updated_at)


def _postponed(tx: GlobalTransaction, event: BranchPending) -> GlobalTransaction:
    branch = _asked(tx, event.branch_id)
    since = event.at if branch.pending_since is None else branch.pending_since
    after = changed(branch, pending_since=since, due_at=event.due_at)
    return _with_branch(tx, after, tx.updated_at)


def _asked(tx: GlobalTransaction, branch_id: str) -> Branch:
    branch = _branch_of(tx, branch_id)
    if branch.status not in OPEN:
        raise IllegalTransition(f"nothing is asked while {branch.status}")
    return branch


# ---- The transaction as a whole ---------------------------------------------------


def _decided(tx: GlobalTransaction, event: Decided) -> GlobalTransaction:
    """T1: once. For TCC all open branches turn in the same fact (T3)."""
    if tx.decision is not _UNDECIDED or tx.status.is_final:
        raise IllegalTransition(f"{tx.key.gid} is decided already")
    if event.decision is _UNDECIDED:
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


_HAVE_NO_TURN = frozenset({BranchStatus.REFUSED, BranchStatus.SUCCEEDED})
_DIRECTION: Mapping[Decision, BranchStatus] = {
    Decision.COMMIT: BranchStatus.CONFIRMING,
    Decision.ABORT: BranchStatus.CANCELLING,
}


def _turned(branch: Branch, event: Decided) -> Branch:
    """A TCC branch after the decision; what was refused or answered has no turn."""
    if branch.status in _HAVE_NO_TURN:
        return branch
    if branch.status is _RUNNING:
        # The check-back: its answer no longer matters.
        return _moved(branch, BranchStatus.ABANDONED, event.at)
    return _moved(branch, _DIRECTION[event.decision], event.at)


def _finished(tx: GlobalTransaction, event: Finished) -> GlobalTransaction:
    if event.status not in STATUS_MOVES[tx.status]:
        raise IllegalTransition(f"from {tx.status} to {event.status}")
    return changed(
        tx,
        status=event.status,
        decision=_COMMITTED if event.status is _COMPLETED else tx.decision,
        output=event.output,
        attention_since=None,
        updated_at=event.at,
        finished_at=event.at,
    )


def _attended(tx: GlobalTransaction, event: AttentionRaised) -> GlobalTransaction:
    return changed(
        tx,
        attention_since=tx.attention_since or event.at,
        attention_reason=quarantine.reason_after(tx, event),
    )


def _survived(tx: GlobalTransaction, event: TrialSurvived) -> GlobalTransaction:
    return changed(quarantine.without_quarantine(tx), updated_at=event.at)


def _paused(tx: GlobalTransaction, event: Paused) -> GlobalTransaction:
    return changed(tx, paused_at=event.at, updated_at=event.at)


def _resumed(tx: GlobalTransaction, event: Resumed) -> GlobalTransaction:
    return changed(tx, paused_at=None, updated_at=event.at)


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


_Change: TypeAlias = Callable[[GlobalTransaction, Any], GlobalTransaction]

CHANGES: Mapping[type[Event], _Change] = {
    Began: _begun_twice,
    BranchRegistered: _registered,
    StepStarted: _step_started,
    StepSkipped: _skipped,
    StepRefused: _could_not_start,
    SignalReceived: _signalled,
    CheckBackStarted: _asked_back,
    BranchSucceeded: _succeeded,
    BranchRefused: _refused,
    BranchAbandoned: _abandoned,
    BranchResolved: _resolved,
    AttemptFailed: _attempt_failed,
    BranchPending: _postponed,
    OutputLearned: _output_learned,
    ConfirmStarted: _confirm_started,
    CompensationStarted: _undone,
    Decided: _decided,
    AllStepsDone: _confirming,
    Finished: _finished,
    AttentionRaised: _attended,
    TrialSurvived: _survived,
    RetryRequested: _due_at_once,
    Paused: _paused,
    Resumed: _resumed,
}
"""Every fact, and what it does to a transaction that exists. Looked up by its class:
asking for one class after the other costs the last one two dozen questions."""
