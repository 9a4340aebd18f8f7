"""The whole core behind four functions.

::

    step(tx, what, now) -> (tx', events)   what an input means, and the state after
    decide(tx, what, now) -> events        the same, the facts alone
    evolve(tx, event) -> tx'               the only way state changes
    due(tx, now) -> actions                what must be asked of the world now; sooner
                                           where a participant has come back (recovery),
                                           later where it is failing (breaker)

``decide`` of a late, repeated or foreign input is ``()``; of a wish that cannot be
granted it raises a :class:`~coordinator.core.errors.Refusal`. ``due`` is recomputed
from the state, so going on after a crash is the ordinary path.
"""

from collections.abc import Collection, Iterable

from coordinator.core import forward, operator, recovery, saga, tcc, undo
from coordinator.core.actions import CallBranch
from coordinator.core.draft import Draft
from coordinator.core.errors import AlreadyExists, InvariantViolated, NotFound
from coordinator.core.events import LAZY, Event, TrialSurvived
from coordinator.core.evolution import evolve, fold
from coordinator.core.inputs import (
    Begin,
    Cancel,
    CancelByOperator,
    Confirm,
    Input,
    Observe,
    Pause,
    Resolve,
    Resume,
    RetryNow,
    StillWaiting,
    Submit,
    Try,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    UNDER_WAY,
    Branch,
    BranchSpec,
    GlobalTransaction,
    Instant,
    TransactionRequest,
)
from coordinator.core.place import place_of
from coordinator.core.quarantine import is_quarantined, proves_survival, trial_at
from coordinator.core.recovery import NOBODY, Recovery
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    Phase,
    Status,
)

__all__ = [
    "answerable",
    "check",
    "decide",
    "due",
    "due_at",
    "evolve",
    "fold",
    "is_lazy",
    "is_ready",
    "step",
]


def step(
    tx: GlobalTransaction | None, what: Input, now: Instant
) -> tuple[GlobalTransaction, tuple[Event, ...]]:
    """What an input means to a transaction (``None``: there is none), and the result.

    Raises:
        Refusal: the wish cannot be granted; nothing changes.
        InvariantViolated: a bug; this transaction must be stopped.
    """
    if tx is None:
        match what:
            case Begin():
                draft = tcc.begin(what, now)
            case Submit():
                draft = saga.begin(what, now)
            case _:
                raise NotFound(
                    "there is no such transaction; it never began, or it ended"
                    " longer ago than the retention",
                    field="gid",
                )
    else:
        draft = Draft(tx)
        _decide(draft, what, now)
    check(tx, draft.tx)
    return draft.tx, tuple(draft.events)


def decide(
    tx: GlobalTransaction | None, what: Input, now: Instant
) -> tuple[Event, ...]:
    """The facts that an input brings about; see :func:`step`."""
    return step(tx, what, now)[1]


def _decide(draft: Draft, what: Input, now: Instant) -> None:
    if proves_survival(what, draft.tx):
        draft.add(TrialSurvived(now))
    match what:
        case Begin(request) | Submit(request):
            _check_repeated(draft.tx, request)
        case RetryNow() | CancelByOperator() | Pause() | Resume() | Resolve():
            operator.decide(draft, what, now)
        case StillWaiting(branch_id, phase, attempt):
            if due_again(draft.tx, branch_id, phase, attempt, now) is not None:
                tcc.waits_long(draft, branch_id, phase, now)
        case _:
            pass
    if draft.tx.request.mode is Mode.TCC:
        tcc.decide(draft, what, now)
    else:
        saga.decide(draft, what, now)


def _check_repeated(tx: GlobalTransaction, request: TransactionRequest) -> None:
    """T10: the same gid with another body changes nothing."""
    if tx.request.digest != request.digest:
        raise AlreadyExists(
            "a transaction with this gid and another body exists; choose another"
            " gid, or repeat the first request unchanged",
            field="gid",
            reason="GID_EXISTS",
        )


def due(
    tx: GlobalTransaction, now: Instant, known: Recovery = NOBODY
) -> tuple[CallBranch, ...]:
    """The calls that should be outstanding now; those in flight are among them.

    A paused or quarantined transaction makes none.
    """
    if tx.paused_at is not None or is_quarantined(tx):
        return ()
    return tuple(
        _call(tx, branch, phase)
        for branch in map(tx.branches.__getitem__, tx.open)
        if (ask_at := recovery.ask_at(tx, branch, known)) is not None
        and ask_at <= now
        and (phase := UNDER_WAY.get(branch.status)) is not None
    )


def due_again(
    tx: GlobalTransaction, branch_id: str, phase: Phase, attempt: int, now: Instant
) -> CallBranch | None:
    """A call that was due and has had to wait, as it is to be made now; ``None`` when
    it is to be made no more, or not yet.
    """
    branch = tx.branches.get(branch_id)
    if (
        branch is None
        or branch.due_at is None
        or (branch.pending_since is not None and branch.due_at > now)
        or UNDER_WAY.get(branch.status) is not phase
        or branch.attempts + 1 != attempt
        or tx.paused_at is not None
        or is_quarantined(tx)
    ):
        return None
    return _call(tx, branch, phase)


def _call(tx: GlobalTransaction, branch: Branch, phase: Phase) -> CallBranch:
    spec = branch.spec
    operation, payload, timeout_ms = spec.operation, spec.input, spec.timeout_ms
    if phase is Phase.COMPENSATION:
        compensation = saga.compensation_of(tx, spec.branch_id)
        if compensation is None:
            raise InvariantViolated(f"step {spec.branch_id} has no compensation")
        operation, timeout_ms = compensation.operation, compensation.timeout_ms
        payload = branch.compensation_input
    return CallBranch(
        key=tx.key,
        branch_id=spec.branch_id,
        operation=operation,
        phase=phase,
        attempt=branch.attempts + 1,
        input=payload,
        output=branch.output if phase is not Phase.TRY else NO_PAYLOAD,
        timeout_ms=timeout_ms,
        began_at=tx.request.created_at,
        depth=tx.request.depth + _depth_of(tx, spec),
        # After a commit a step that was refused is asked again (S5); not one that may
        # fail: its refusal counts, even when it is heard late.
        reconsider=phase is Phase.ACTION
        and tx.decision is Decision.COMMIT
        and branch.attempts > 0
        and forward.optional_around(tx, place_of(tx, spec.branch_id)) is None,
        endless=phase in _ENDLESS
        or (
            tx.request.mode is Mode.SAGA and saga.is_asked_for_ever(tx, spec.branch_id)
        ),
    )


_ENDLESS = frozenset({Phase.CONFIRM, Phase.CANCEL, Phase.COMPENSATION})
"""Nothing but an answer ends these."""


def _depth_of(tx: GlobalTransaction, spec: BranchSpec) -> int:
    """A saga's branches are called by the coordinator, however deep they stand."""
    return tcc.depth_of(tx, spec) if tx.request.mode is Mode.TCC else 0


def due_at(
    tx: GlobalTransaction, in_flight: Collection[str] = (), known: Recovery = NOBODY
) -> Instant | None:
    """When something is to be done about the transaction; ``None`` = never again.

    Args:
        in_flight: branches whose call is out; their answer will come by itself.
        known: of participants that came back to the node that asks.
    """
    if tx.status.is_final:
        return None
    if is_quarantined(tx):
        return trial_at(tx)
    times: list[Instant] = []
    if tx.paused_at is None:
        times += [
            ask_at
            for branch_id in tx.open
            if branch_id not in in_flight
            and (branch := tx.branches[branch_id]).status in UNDER_WAY
            and (ask_at := recovery.ask_at(tx, branch, known)) is not None
        ]
    if tx.request.mode is Mode.SAGA:
        times.extend(saga.instants(tx))
    elif tx.decision is Decision.NONE and tcc.CHECK_BACK_ID not in tx.branches:
        times.append(tx.request.deadline_at)
    return min(times, default=None)


def answerable(what: Input, tx: GlobalTransaction) -> bool:
    """Whether the asker can be answered with this state, once it is durable."""
    match what:
        case Try(specs):
            return tx.decision is not Decision.NONE or all(
                tx.branches[spec.branch_id].status is not BranchStatus.TRYING
                for spec in specs
                if spec.branch_id in tx.branches
            )
        case Confirm(wait=True) | Cancel(wait=True) | Observe(wait=True):
            return tx.status.is_final
        case Confirm():
            return tx.decision is not Decision.NONE
        case _:
            return True


def is_ready(what: Input, tx: GlobalTransaction) -> bool:
    """Whether a wish that had to wait for others' answers can be decided now."""
    return tcc.is_ready(what, tx)


def is_lazy(events: Iterable[Event], *, check_back: bool = False) -> bool:
    """Whether all these facts may wait in memory for the next commit.

    Args:
        check_back: the transaction asks its initiator back. Then none may: the
            initiator acts on the tries that it saw succeed, and if a crash took such
            an answer from memory, the deadline would cancel without asking.
    """
    return not check_back and all(isinstance(event, LAZY) for event in events)


def check(before: GlobalTransaction | None, after: GlobalTransaction) -> None:
    """Assert what must hold whatever happened. Raises ``InvariantViolated``."""
    if before is after:
        return
    if (
        before is not None
        and before.decision is not Decision.NONE
        and (after.decision is not before.decision)
    ):
        raise InvariantViolated("T1: a decision was changed")
    if before is not None and before.status.is_final:
        raise InvariantViolated("T8: an ended transaction was changed")
    if not _may_end(after):
        raise InvariantViolated(f"T8: {after.status} with branches that are not")


def _may_end(tx: GlobalTransaction) -> bool:
    """Whether the branches bear out the status, if it is an end."""
    match tx.status:
        case Status.COMPLETED:
            return forward.is_complete(tx)
        case Status.COMPENSATED:
            return undo.is_undone(tx)
        case Status.CONFIRMED | Status.CANCELLED:
            allowed = _ENDS[tx.status]
            return all(
                branch.status in allowed
                for branch_id, branch in tx.branches.items()
                if branch_id != tcc.CHECK_BACK_ID
            )
        case _:
            return True


_ENDS = {
    Status.CONFIRMED: frozenset({BranchStatus.CONFIRMED}),
    Status.CANCELLED: frozenset({BranchStatus.CANCELLED, BranchStatus.REFUSED}),
}
