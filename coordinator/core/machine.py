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

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from coordinator.core import forward, operator, recovery, saga, tcc, undo
from coordinator.core.actions import CallBranch
from coordinator.core.changed import changed
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
)
from coordinator.core.place import place_of
from coordinator.core.quarantine import is_quarantined, proves_survival, trial_at
from coordinator.core.recovery import NOBODY, Recovery
from coordinator.core.tcc import is_ready
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    Phase,
    Status,
)

_SAGA: Final = Mode.SAGA
_UNDECIDED: Final = Decision.NONE
_TRY: Final = Phase.TRY
_COMPENSATION: Final = Phase.COMPENSATION

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
        draft = _begun(what, now)
    else:
        draft = Draft(tx)
        # What is on trial always calls for a person, and hardly anything else does.
        if tx.attention_since is not None and proves_survival(what, tx):
            draft.add(TrialSurvived(now))
        first = _WHATEVER_THE_MODE.get(type(what))
        if first is not None:
            first(draft, what, now)
        _RULES[tx.request.mode](draft, what, now)
    after = draft.tx
    check(tx, after)
    return after, draft.events


def _begun(what: Input, now: Instant) -> Draft:
    if isinstance(what, Submit):
        return saga.begin(what, now)
    if isinstance(what, Begin):
        return tcc.begin(what, now)
    raise NotFound(
        "there is no such transaction; it never began, or it ended longer ago than the"
        " retention",
        field="gid",
    )


def decide(
    tx: GlobalTransaction | None, what: Input, now: Instant
) -> tuple[Event, ...]:
    """The facts that an input brings about; see :func:`step`."""
    return step(tx, what, now)[1]


_RULES: Mapping[Mode, Callable[[Draft, Input, Instant], None]] = {
    Mode.TCC: tcc.decide,
    Mode.SAGA: saga.decide,
}


def _check_repeated(draft: Draft, what: Begin | Submit, _now: Instant) -> None:
    """T10: the same gid with another body changes nothing."""
    if draft.tx.request.digest != what.request.digest:
        raise AlreadyExists(
            "a transaction with this gid and another body exists; choose another"
            " gid, or repeat the first request unchanged",
            field="gid",
            reason="GID_EXISTS",
        )


def _waits_long(draft: Draft, what: StillWaiting, now: Instant) -> None:
    waiting = due_again(draft.tx, what.branch_id, what.phase, what.attempt, now)
    if waiting is not None:
        tcc.waits_long(draft, what.branch_id, what.phase, now)


_WHATEVER_THE_MODE: Mapping[type[Input], Callable[[Draft, Any, Instant], None]] = {
    Begin: _check_repeated,
    Submit: _check_repeated,
    RetryNow: operator.decide,
    CancelByOperator: operator.decide,
    Pause: operator.decide,
    Resume: operator.decide,
    Resolve: operator.decide,
    StillWaiting: _waits_long,
}
"""What these inputs mean before the mode's own rules hear them."""


def due(
    tx: GlobalTransaction,
    now: Instant,
    known: Recovery = NOBODY,
    in_flight: Mapping[str, Phase] = {},
) -> tuple[CallBranch, ...]:
    """The calls that should be outstanding now, but for those that are out.

    A paused or quarantined transaction makes none.

    Args:
        known: of participants that came back to the node that asks.
        in_flight: by branch, the phase of its call that is out.
    """
    if tx.paused_at is not None or (
        tx.attention_since is not None and is_quarantined(tx)
    ):
        return ()
    calls = []
    branches = tx.branches
    for branch_id in tx.open:
        branch = branches[branch_id]
        phase = UNDER_WAY.get(branch.status)
        if in_flight.get(branch_id) is phase:
            continue  # also where nothing is asked
        # Who was never asked in this phase waits for nobody's return.
        ask_at = (
            recovery.ask_at(tx, branch, known) if branch.attempts else branch.due_at
        )
        if phase is not None and ask_at is not None and ask_at <= now:
            calls.append(_call(tx, branch, phase))
    return tuple(calls)


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
    spec, request = branch.spec, tx.request
    call = CallBranch(
        key=request.key,
        branch_id=spec.branch_id,
        operation=spec.operation,
        phase=phase,
        attempt=branch.attempts + 1,
        input=spec.input,
        output=branch.output if phase is not _TRY else NO_PAYLOAD,
        timeout_ms=spec.timeout_ms,
        began_at=request.created_at,
        depth=_depth_of(tx, spec) if spec.parent_branch_id else request.depth,
        # After a commit a step that was refused is asked again (S5); not one that may
        # fail: its refusal counts, even when it is heard late.
        reconsider=branch.attempts > 0
        and phase is Phase.ACTION
        and tx.decision is Decision.COMMIT
        and forward.optional_around(tx, place_of(tx, spec.branch_id)) is None,
        endless=phase in _ENDLESS
        or (request.mode is _SAGA and saga.is_asked_for_ever(tx, spec)),
    )
    return call if phase is not _COMPENSATION else _undoing(tx, branch, call)


def _undoing(tx: GlobalTransaction, branch: Branch, call: CallBranch) -> CallBranch:
    """A compensation is an operation of its own, with its own input."""
    compensation = saga.compensation_of(tx, branch.spec.branch_id)
    if compensation is None:
        raise InvariantViolated(f"step {branch.spec.branch_id} has no compensation")
    return changed(
        call,
        operation=compensation.operation,
        input=branch.compensation_input,
        timeout_ms=compensation.timeout_ms,
    )


def _depth_of(tx: GlobalTransaction, spec: BranchSpec) -> int:
    """A saga's branches are called by the coordinator, however deep they stand."""
    is_nested = tx.request.mode is Mode.TCC
    return tx.request.depth + (tcc.depth_of(tx, spec) if is_nested else 0)


_ENDLESS = frozenset({Phase.CONFIRM, Phase.CANCEL, Phase.COMPENSATION})
"""Nothing but an answer ends these."""


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
    if tx.attention_since is not None and is_quarantined(tx):
        return trial_at(tx)
    soonest = _DECIDES_AT[tx.request.mode](tx)
    if tx.paused_at is not None:
        return soonest
    branches = tx.branches
    for branch_id in tx.open:
        if branch_id in in_flight:
            continue
        branch = branches[branch_id]
        ask_at = (
            recovery.ask_at(tx, branch, known) if branch.attempts else branch.due_at
        )
        if (
            ask_at is not None
            and branch.status in UNDER_WAY
            and (soonest is None or ask_at < soonest)
        ):
            soonest = ask_at
    return soonest


_DECIDES_AT: Mapping[Mode, Callable[[GlobalTransaction], Instant | None]] = {
    Mode.TCC: tcc.decides_at,
    Mode.SAGA: saga.decides_at,
}


def answerable(what: Input, tx: GlobalTransaction) -> bool:
    """Whether the asker can be answered with this state, once it is durable."""
    return _ANSWERED.get(type(what), _is_asked)(what, tx)


def _is_asked(_what: Input, _tx: GlobalTransaction) -> bool:
    """The others are answered with whatever state there is."""
    return True


def _are_tried(what: Try, tx: GlobalTransaction) -> bool:
    return tx.decision is not Decision.NONE or all(
        tx.branches[spec.branch_id].status is not BranchStatus.TRYING
        for spec in what.specs
        if spec.branch_id in tx.branches
    )


def _is_confirmed(what: Confirm, tx: GlobalTransaction) -> bool:
    if what.wait:
        return tx.status.is_final
    return tx.decision is not Decision.NONE


def _is_seen(what: Begin | Submit | Cancel | Observe, tx: GlobalTransaction) -> bool:
    return not what.wait or tx.status.is_final


_ANSWERED: Mapping[type[Input], Callable[[Any, GlobalTransaction], bool]] = {
    Begin: _is_seen,
    Submit: _is_seen,
    Try: _are_tried,
    Confirm: _is_confirmed,
    Cancel: _is_seen,
    Observe: _is_seen,
}


def is_lazy(events: Iterable[Event], tx: GlobalTransaction | None = None) -> bool:
    """Whether all these facts may wait in memory for the next commit.

    Args:
        tx: whose facts they are. When it asks its initiator back none may wait: the
            initiator acts on the tries that it saw succeed, and if a crash took such
            an answer from memory, the deadline would cancel without asking.
    """
    are_answers = _LAZY.issuperset(map(type, events))
    return are_answers and (tx is None or not tx.request.check_back)


_LAZY = frozenset(LAZY)


def check(before: GlobalTransaction | None, after: GlobalTransaction) -> None:
    """Assert what must hold whatever happened. Raises ``InvariantViolated``."""
    if before is after:
        return
    if before is not None:
        if before.decision is not after.decision and (
            before.decision is not _UNDECIDED
        ):
            raise InvariantViolated("T1: a decision was changed")
        if before.status.is_final:
            raise InvariantViolated("T8: an ended transaction was changed")
    if after.status.is_final and not _MAY_END[after.status](after):
        raise InvariantViolated(f"T8: {after.status} with branches that are not")


def _is_settled_by_hand(_tx: GlobalTransaction) -> bool:
    """An operator answers for it."""
    return True


def _is_confirmed_all_over(tx: GlobalTransaction) -> bool:
    return _all_participants_are(tx, _CONFIRMED)


def _is_cancelled_all_over(tx: GlobalTransaction) -> bool:
    return _all_participants_are(tx, _CANCELLED)


def _all_participants_are(
    tx: GlobalTransaction, allowed: frozenset[BranchStatus]
) -> bool:
    """Whether all branches but the question to the initiator have such a status."""
    for branch_id, branch in tx.branches.items():
        if branch.status not in allowed and branch_id != tcc.CHECK_BACK_ID:
            return False
    return True


_CONFIRMED = frozenset({BranchStatus.CONFIRMED})
_CANCELLED = frozenset({BranchStatus.CANCELLED, BranchStatus.REFUSED})

_MAY_END: Mapping[Status, Callable[[GlobalTransaction], bool]] = {
    Status.COMPLETED: forward.is_complete,
    Status.COMPENSATED: undo.is_undone,
    Status.CONFIRMED: _is_confirmed_all_over,
    Status.CANCELLED: _is_cancelled_all_over,
    Status.RESOLVED: _is_settled_by_hand,
}
"""Whether the branches bear out the status, where it is an end."""
