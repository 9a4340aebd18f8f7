"""Every rule of a saga: what happens to it, and what that means.

Theory of operation
-------------------
::

    RUNNING --all steps done--> [CONFIRMING -->] COMPLETED
       `--refusal, used up, timeout, cancel--> COMPENSATING --all undone--> COMPENSATED

:mod:`~coordinator.core.forward` starts steps and finds the end,
:mod:`~coordinator.core.undo` goes back; this module hears what happens. A saga is one
transaction: its lists and child sagas are branches that end when their members have
(:mod:`~coordinator.core.place`).

* **The decision.** A saga commits when its pivot has succeeded, or else when all its
  steps are done. What it has reserved (TCC steps) is confirmed from then on; while
  only that is open it is CONFIRMING. It aborts when it turns back.
* **The pivot.** Once it has been *sent*, nobody may turn the saga back before its
  answer is known: neither a timeout nor a cancel, and it is asked without end. A
  refusal turns the saga back like any other (S5).
* **After the commit** nothing turns back; past its timeout, a person is called once. A
  step that is refused calls a person and is asked again, with the request to
  reconsider, because the participant's barrier would repeat the refusal that it has
  recorded.
* **Time.** Every input first looks at the clock: at the saga's deadline, at timers,
  at signals that did not come, at child sagas that take too long, at reservations
  that expire and at branches that stay pending.
* **Signals** are kept from the moment they come: a step that waits for one later finds
  it. The same again means nothing, another body is refused (T10).

A compensation whose input is made of the step's own output cannot be evaluated when
that output never arrived. It is then sent without input: a participant whose action
never ran answers success (nothing to undo); one whose action ran answers
``OUTPUT_NEEDED`` with the recorded output, and is asked again with the input. When it
has none to give, because the action is pending and will never end, the input is
evaluated with null in its place.

Compensations are asked without end; a failing one calls a person and is never
skipped (S6).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from coordinator.core import backoff, scope, tcc, undo
from coordinator.core.definition import (
    BranchKind,
    Compensation,
    signals_of,
)
from coordinator.core.draft import Draft
from coordinator.core.errors import (
    AlreadyExists,
    InvalidRequest,
    InvariantViolated,
    PreconditionFailed,
)
from coordinator.core.events import (
    AttemptFailed,
    AttentionRaised,
    Began,
    BranchPending,
    BranchRefused,
    BranchSucceeded,
    CompensationStarted,
    OutputLearned,
    SignalReceived,
)
from coordinator.core.evolution import SIGNAL_PREFIX
from coordinator.core.forward import (
    Forward,
    commit,
    complete_if_done,
    confirm_what_is_reserved,
    is_bound,
    optional_around,
)
from coordinator.core.inputs import (
    BranchReplied,
    Cancel,
    CancelByOperator,
    Input,
    Outcome,
    Pending,
    Refused,
    Resolve,
    Signal,
    Submit,
    Succeeded,
    Unknown,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    UNDER_WAY,
    Branch,
    BranchSpec,
    GlobalTransaction,
    Instant,
)
from coordinator.core.place import (
    Place,
    definition_of,
    find_place,
    is_pivot_out,
    place_of,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
    Status,
)

OUTPUT_NEEDED = "OUTPUT_NEEDED"
"""A participant's answer to a compensation without input, when its action had run."""

_RUNNING: Final = Status.RUNNING
_UNDECIDED: Final = Decision.NONE
_COMMITTED: Final = Decision.COMMIT
_TRY: Final = Phase.TRY

_CALLED = frozenset({BranchKind.CALL, BranchKind.TCC})
_FORWARD = frozenset({Phase.TRY, Phase.ACTION})
_ASKED_FORWARD = frozenset({BranchStatus.TRYING, BranchStatus.RUNNING})


def begin(what: Submit, now: Instant) -> Draft:
    """A new saga, with the steps that need nothing already started."""
    draft = Draft.begun(Began(what.request, what.definition))
    Forward(draft, now).begin()
    return draft


def decide(draft: Draft, what: Input, now: Instant) -> None:
    """What an input means to a saga that exists."""
    if draft.tx.status is _RUNNING:
        _look_at_the_clock(draft, now)
    meant = _MEANT.get(type(what))
    if meant is not None:
        meant(draft, what, now)


def _cancel(draft: Draft, what: Cancel, now: Instant) -> None:
    if draft.tx.status is Status.RUNNING and draft.tx.decision is Decision.NONE:
        _check_pivot(draft.tx)
        undo.turn_back(draft, what.code, what.text, now)


def _cancel_by_operator(draft: Draft, what: CancelByOperator, now: Instant) -> None:
    if draft.tx.decision is Decision.NONE:
        _check_pivot(draft.tx)
        undo.turn_back(draft, "CANCELLED_BY_OPERATOR", what.reason, now)


def _resolved(draft: Draft, what: Resolve, now: Instant) -> None:
    if not draft.tx.status.is_final:
        _settled(draft, place_of(draft.tx, what.branch_id), now)


def compensation_of(tx: GlobalTransaction, branch_id: str) -> Compensation | None:
    """How a branch of this saga is undone."""
    place = place_of(tx, branch_id)
    return place.step.calls[place.choice].compensation if place.step.calls else None


def is_asked_for_ever(tx: GlobalTransaction, spec: BranchSpec) -> bool:
    """Whether a forward call of this saga never uses up its attempts."""
    if not spec.attempt_max:
        return True
    definition = tx.definition or definition_of(tx)
    if tx.decision is not _COMMITTED and not definition.has_pivot:
        return False  # nothing is endless yet, see below
    return _is_endless(tx, place_of(tx, spec.branch_id))


def may_be_settled(tx: GlobalTransaction, branch: Branch) -> bool:
    """Whether an operator may settle a branch that goes forward: only where nothing
    but going forward is left.
    """
    return tx.decision is Decision.COMMIT and branch.status in (
        BranchStatus.RUNNING,
        BranchStatus.WAITING,
    )


def has_members(branch: Branch) -> bool:
    """Whether a branch stands for others: a list or a child saga, unless it could not
    even begin because an expression of it failed.
    """
    is_group = branch.spec.kind in (BranchKind.SAGA, BranchKind.FOR_EACH)
    return is_group and not is_stuck(branch)


def is_stuck(branch: Branch) -> bool:
    """Whether a branch could not begin after the commit, so that it waits for a person
    alone; a signal that did not come in time is still waited for until a time.
    """
    return (
        branch.status is BranchStatus.WAITING
        and branch.due_at is None
        and bool(branch.error_code)
    )


def decides_at(tx: GlobalTransaction) -> Instant | None:
    """When time alone may decide something about this saga, but for its calls."""
    if tx.status is not _RUNNING:
        return None
    definition = tx.definition
    if tx.attention_since is None and definition and not definition.has_times:
        return tx.request.deadline_at
    is_held = _is_held(tx)
    times = [
        branch.due_at
        for branch in map(tx.branches.__getitem__, tx.open)
        if branch.status in _MAY_END_BY_TIME
        and branch.due_at is not None
        and _ends_by_time(tx, branch, is_held=is_held)
    ]
    if not is_held or tx.attention_since is None:
        times.append(tx.request.deadline_at)
    return min(times, default=None)


_MAY_END_BY_TIME = frozenset({BranchStatus.TRIED, BranchStatus.WAITING})


def _ends_by_time(tx: GlobalTransaction, branch: Branch, *, is_held: bool) -> bool:
    """Whether the due time of a branch that may end by it ends what it waits for."""
    if branch.status is BranchStatus.TRIED:
        return not is_held and not _is_given_up(tx, branch)
    if branch.spec.kind is not BranchKind.SAGA or not is_held:
        return True
    return optional_around(tx, place_of(tx, branch.spec.branch_id)) is not None


def _is_time_up(tx: GlobalTransaction, branch: Branch, now: Instant) -> bool:
    """Whether a branch's due time has come and ends what it waits for. Asked anew for
    each branch: a timer that ended may have sent the pivot.
    """
    return (
        branch.status in _MAY_END_BY_TIME
        and branch.due_at is not None
        and branch.due_at <= now
        and _ends_by_time(tx, branch, is_held=_is_held(tx))
    )


def _is_given_up(tx: GlobalTransaction, branch: Branch) -> bool:
    """Whether a branch will be undone in any case, with the group that it is in."""
    place = place_of(tx, branch.spec.branch_id)
    return undo.given_up_around(tx, place) is not None


def _is_held(tx: GlobalTransaction) -> bool:
    """Whether the saga cannot turn back, or nobody knows whether it can."""
    return tx.decision is not Decision.NONE or is_pivot_out(tx)


def _check_pivot(tx: GlobalTransaction) -> None:
    if is_pivot_out(tx):
        raise PreconditionFailed(
            "the saga's pivot has been sent and has not been answered, so nobody knows"
            " whether the saga can still turn back; ask again when it is answered",
            field="gid",
            reason="PIVOT_IN_FLIGHT",
        )


# ---- Time -------------------------------------------------------------------------


def _look_at_the_clock(draft: Draft, now: Instant) -> None:
    """What time alone decides, before anybody's wish is heard."""
    tx = draft.tx
    if now >= tx.request.deadline_at and _is_past_its_deadline(draft, now):
        return
    for branch in map(tx.branches.__getitem__, tx.open):
        if branch.pending_since is None and branch.status not in _MAY_END_BY_TIME:
            continue  # it has no time of its own
        branch_id = branch.spec.branch_id
        if (
            draft.tx.status is not Status.RUNNING
            or branch is not draft.tx.branches[branch_id]
        ):
            continue
        if tcc.is_overdue(branch, now):
            place = place_of(tx, branch_id)
            if not _is_endless(draft.tx, place):
                _failed(draft, place, *tcc.overdue_reason(branch), now)
        elif _is_time_up(draft.tx, branch, now):
            _time_is_up(draft, place_of(tx, branch_id), branch, now)


def _is_past_its_deadline(draft: Draft, now: Instant) -> bool:
    """Turn back where that may be, or else call a person once; whether it turned."""
    if not _is_held(draft.tx):
        undo.turn_back(draft, "TIMEOUT", "not completed within its timeout", now)
        return True
    if draft.tx.attention_since is None:
        text = "not completed within its timeout, and it only goes forward"
        draft.add(AttentionRaised(text, now))
    return False


def _time_is_up(draft: Draft, place: Place, branch: Branch, now: Instant) -> None:
    branch_id = place.branch_id
    match branch.spec.kind:
        case BranchKind.WAIT:
            draft.add(BranchSucceeded(branch_id, Phase.ACTION, NO_PAYLOAD, now))
            Forward(draft, now, [place]).go_on()
        case BranchKind.AWAIT:
            _no_signal(draft, place, branch, now)
        case BranchKind.TCC:
            _reservation_expired(draft, place, now)
        case _:
            text = f"{branch_id}: not done within its timeout"
            Forward(draft, now).failed(place, "TIMEOUT", text, known=False)


def _reservation_expired(draft: Draft, place: Place, now: Instant) -> None:
    text = f"{place.branch_id}: its reservation expired before the saga was decided"
    undo.turn_back(draft, "RESERVATION_EXPIRED", text, now)


def _no_signal(draft: Draft, place: Place, branch: Branch, now: Instant) -> None:
    code, text = "SIGNAL_TIMEOUT", f"{place.branch_id}: no signal {place.step.signal!r}"
    if not is_bound(draft.tx, place):
        draft.add(BranchRefused(place.branch_id, code, text, now))
        Forward(draft, now).failed(place, code, text, known=True)
        return
    attempts, again_at = branch.attempts + 1, now + place.step.timeout_ms
    draft.add(AttemptFailed(place.branch_id, attempts, again_at, code, text))
    if attempts == 1:
        draft.add(AttentionRaised(f"{text} in time; it is still awaited", now))


# ---- Signals ----------------------------------------------------------------------


def _signalled(draft: Draft, what: Signal, now: Instant) -> None:
    tx = draft.tx
    known = tx.branches.get(SIGNAL_PREFIX + what.name)
    if known is not None:
        if known.output != what.payload:
            raise AlreadyExists(
                f"the signal {what.name!r} came before with another payload; a signal"
                " is sent once",
                field="payload",
                reason="SIGNAL_EXISTS",
            )
        return
    awaited = signals_of(definition_of(tx))
    if what.name not in awaited:
        names = ", ".join(sorted(awaited)) or "none"
        raise InvalidRequest(
            f"no step of this saga awaits the signal {what.name!r}; awaited are:"
            f" {names}",
            field="name",
            reason="UNKNOWN_SIGNAL",
        )
    if tx.status is not Status.RUNNING:
        raise PreconditionFailed(
            f"the saga is {tx.status}; no step of it awaits a signal any more",
            field="gid",
            reason="TRANSACTION_DECIDED",
        )
    draft.add(SignalReceived(what.name, what.payload, now))
    waiting = []
    for branch_id in tx.open:
        place = find_place(tx, branch_id)
        if (
            place is not None
            and place.step.kind is BranchKind.AWAIT
            and place.step.signal == what.name
            and not is_stuck(tx.branches[branch_id])
        ):
            draft.add(BranchSucceeded(branch_id, Phase.ACTION, what.payload, now))
            waiting.append(place)
    Forward(draft, now, waiting).go_on()


# ---- Answers ----------------------------------------------------------------------


def _replied(draft: Draft, what: BranchReplied, now: Instant) -> None:
    branch = draft.tx.branches.get(what.branch_id)
    if (
        branch is None
        or branch.spec.kind not in _CALLED
        or UNDER_WAY.get(branch.status) is not what.phase
    ):
        return  # late, repeated or foreign
    place = place_of(draft.tx, what.branch_id)
    answered = _FORWARD_ANSWERED if what.phase in _FORWARD else _PHASE_TWO_ANSWERED
    answered[type(what.outcome)](draft, place, branch, what, what.outcome, now)


def _settled(draft: Draft, place: Place, now: Instant) -> None:
    """Nothing is expected of this branch any more: go on wherever that leads."""
    undo.go_on(draft, place, now)
    if draft.tx.status is Status.RUNNING:
        Forward(draft, now, [place]).go_on()
    else:
        complete_if_done(draft, now)


def _phase_two_succeeded(
    draft: Draft,
    place: Place,
    _branch: Branch,
    what: BranchReplied,
    _outcome: Succeeded,
    now: Instant,
) -> None:
    draft.add(BranchSucceeded(what.branch_id, what.phase, NO_PAYLOAD, now))
    _settled(draft, place, now)


def _succeeded(
    draft: Draft,
    place: Place,
    _branch: Branch,
    what: BranchReplied,
    outcome: Succeeded,
    now: Instant,
) -> None:
    output = outcome.output
    is_pivot = place.step.pivot and draft.tx.decision is _UNDECIDED
    if len(output.data) > scope.OUTPUT_BYTES_MAX:
        text = (
            f"{place.branch_id}: an output of {len(output.data)} bytes, more than"
            f" {scope.OUTPUT_BYTES_MAX}"
        )
        if not is_pivot and not is_bound(draft.tx, place):
            _failed(draft, place, "OUTPUT_TOO_LARGE", text, now)
            return
        draft.add(AttentionRaised(f"{text}; it is dropped", now))
        output = NO_PAYLOAD
    draft.add(BranchSucceeded(what.branch_id, what.phase, output, now))
    if is_pivot:
        commit(draft, now)
    elif what.phase is _TRY:
        confirm_what_is_reserved(draft, now)
        if _is_time_up(draft.tx, draft.tx.branches[what.branch_id], now):
            _reservation_expired(draft, place, now)  # before it was even heard of
            return
    Forward(draft, now, [place]).go_on()


def _failed(draft: Draft, place: Place, code: str, text: str, now: Instant) -> None:
    """A call has failed for good, and may have happened."""
    Forward(draft, now).failed(place, code, text, known=False)


def _pending(
    draft: Draft,
    place: Place,
    branch: Branch,
    _what: BranchReplied,
    outcome: Pending,
    now: Instant,
) -> None:
    """It will finish later. What cannot fail has no deadline for that, but a person
    is called when it is over.
    """
    if not _is_endless(draft.tx, place) or branch.status not in _ASKED_FORWARD:
        draft.add(tcc.pending(branch, outcome.retry_after_ms, now))
        return
    again_at = now + (outcome.retry_after_ms or tcc.PENDING_POLL_MS)
    draft.add(BranchPending(place.branch_id, again_at, now))
    if tcc.is_overdue(branch, now) and draft.tx.attention_since is None:
        _, text = tcc.overdue_reason(branch)
        draft.add(AttentionRaised(f"{text}; it is still asked", now))


def _is_endless(tx: GlobalTransaction, place: Place) -> bool:
    """Whether a call goes on until it is known to have succeeded or been refused."""
    return place.step.pivot or is_bound(tx, place)


def _refused(
    draft: Draft,
    place: Place,
    branch: Branch,
    what: BranchReplied,
    why_not: Refused,
    now: Instant,
) -> None:
    code, text = why_not.code, why_not.text
    if not is_bound(draft.tx, place):
        draft.add(BranchRefused(what.branch_id, code, text, now))
        Forward(draft, now).failed(place, code, text, known=True)
        return
    attempts = branch.attempts + 1
    if what.attempt not in (0, attempts):
        return  # the answer to an older call, counted already
    why = Unknown(code, text)
    tcc.add_failed_attempt(draft, branch, why, backoff.PHASE_TWO, now)
    if attempts == 1:
        tcc.raise_attention(draft, branch, what.phase, attempts, why, now)


def _forward_failed(
    draft: Draft,
    place: Place,
    branch: Branch,
    what: BranchReplied,
    why: Unknown,
    now: Instant,
) -> None:
    attempts = branch.attempts + 1
    if what.attempt not in (0, attempts):
        return  # the answer to an older call, counted already
    retry = place.step.calls[place.choice].retry
    is_endless = _is_endless(draft.tx, place)
    is_used_up = 0 < retry.attempt_max <= attempts or why.code in retry.non_retryable
    if is_used_up and not is_endless:
        text = f"{what.branch_id}: {why.code} after {attempts} attempts"
        _failed(draft, place, "ATTEMPTS_USED_UP", text, now)
        return
    tcc.add_failed_attempt(draft, branch, why, retry, now)
    if is_endless and attempts == tcc.ATTENTION_AFTER:
        tcc.raise_attention(draft, branch, what.phase, attempts, why, now)


def _phase_two_failed(
    draft: Draft,
    place: Place,
    branch: Branch,
    what: BranchReplied,
    outcome: Refused | Unknown,
    now: Instant,
) -> None:
    why = outcome
    if isinstance(why, Refused):
        why = Unknown(why.code, why.text)
    attempts = branch.attempts + 1
    if what.attempt not in (0, attempts):
        return  # the answer to an older call, counted already
    policy, attention_after = backoff.PHASE_TWO, tcc.ATTENTION_AFTER
    if what.phase is Phase.COMPENSATION:
        if why.code == OUTPUT_NEEDED and _asked_with_input(draft, place, why, now):
            return
        compensation = place.step.calls[place.choice].compensation
        if compensation is None:
            raise InvariantViolated(f"step {what.branch_id} has no compensation")
        policy = compensation.retry
        attention_after = compensation.attention_after
    branch = draft.tx.branches[what.branch_id]
    tcc.add_failed_attempt(draft, branch, why, policy, now)
    if attempts == attention_after:
        tcc.raise_attention(draft, branch, what.phase, attempts, why, now)


def _asked_with_input(draft: Draft, place: Place, why: Unknown, now: Instant) -> bool:
    """Whether a compensation that needs its action's answer can be asked with it."""
    branch = draft.tx.branches[place.branch_id]
    if branch.compensation_input != NO_PAYLOAD:
        return False
    if branch.output == NO_PAYLOAD != why.output:
        draft.add(OutputLearned(place.branch_id, why.output, now))
        branch = draft.tx.branches[place.branch_id]
    is_lenient = branch.output == NO_PAYLOAD
    payload = scope.compensation_input(draft.tx, place, branch, is_lenient=is_lenient)
    if payload == NO_PAYLOAD:
        return False
    draft.add(CompensationStarted(place.branch_id, payload, now))
    return True


_Answered: TypeAlias = Callable[
    [Draft, Place, Branch, BranchReplied, Any, Instant], None
]

_FORWARD_ANSWERED: Mapping[type[Outcome], _Answered] = {
    Succeeded: _succeeded,
    Refused: _refused,
    Pending: _pending,
    Unknown: _forward_failed,
}
_PHASE_TWO_ANSWERED: Mapping[type[Outcome], _Answered] = {
    Succeeded: _phase_two_succeeded,
    Refused: _phase_two_failed,
    Pending: _pending,
    Unknown: _phase_two_failed,
}

_MEANT: Mapping[type[Input], Callable[[Draft, Any, Instant], None]] = {
    BranchReplied: _replied,
    Cancel: _cancel,
    Signal: _signalled,
    CancelByOperator: _cancel_by_operator,
    Resolve: _resolved,
}
"""What an input means to a saga that exists; the others mean nothing here."""
