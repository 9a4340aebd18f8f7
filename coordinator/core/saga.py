"""Every rule of a saga.

Theory of operation
-------------------
::

    RUNNING --all steps succeeded--> COMPLETED
       `--refusal, used up, timeout, cancel--> COMPENSATING --all undone--> COMPENSATED

A step starts when all it needs have succeeded; its input is evaluated then, stored
with the fact that it started, and never evaluated again (S1, S7, S10). Steps that do
not need each other run in parallel.

When the saga turns back, nothing new is sent forward (S4). What was *sent* is undone
in the reverse order of the graph (S2): a step's compensation starts when every step
that needs it was never sent, was refused, is compensated, or had nothing to undo and
all that needs it is clear in turn. Sent with unknown outcome counts as sent: its
compensation goes out at once, without waiting for the answer in flight, because the
participant's barrier makes it empty if the action has not run and refuses the action
if it comes later (B2, B3). A step that was never sent has no branch, so it is never
compensated (S3).

A compensation whose input is made of the step's own output cannot be evaluated when
that output never arrived. It is then sent without input: a participant whose action
never ran answers success (nothing to undo); one whose action ran answers
``OUTPUT_NEEDED`` with the recorded output, and is asked again with the input.

Compensations are asked without end; a failing one calls a person and is never
skipped (S6).
"""

from typing import assert_never

from coordinator.core import expressions, tcc
from coordinator.core.definition import Compensation, SagaDefinition, Step
from coordinator.core.draft import Draft
from coordinator.core.errors import InvariantViolated
from coordinator.core.events import (
    AttentionRaised,
    Began,
    BranchAbandoned,
    BranchRefused,
    BranchSucceeded,
    CompensationStarted,
    Decided,
    Finished,
    OutputLearned,
    StepStarted,
)
from coordinator.core.expressions import ExpressionFailed, Scope
from coordinator.core.inputs import (
    BranchReplied,
    Cancel,
    CancelByOperator,
    Input,
    Pending,
    Refused,
    Resolve,
    Submit,
    Succeeded,
    Unknown,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    UNDER_WAY,
    Branch,
    BranchSpec,
    BranchStatus,
    Decision,
    GlobalTransaction,
    Instant,
    Payload,
    Phase,
    Status,
)

OUTPUT_NEEDED = "OUTPUT_NEEDED"
"""A participant's answer to a compensation without input, when its action had run."""

OUTPUT_BYTES_MAX = 256 * 1024
"""Of one evaluated input or output; the limit of every payload."""


def begin(what: Submit, now: Instant) -> Draft:
    """A new saga, with the steps that need nothing already started."""
    draft = Draft(None)
    draft.add(Began(what.request, what.definition))
    _start(draft, tuple(s for s in what.definition.steps if not s.needs), now)
    _complete_if_done(draft, now)
    return draft


def decide(draft: Draft, what: Input, now: Instant) -> None:
    """What an input means to a saga that exists."""
    tx = draft.tx
    if tx.status is Status.RUNNING and now >= tx.request.deadline_at:
        _turn_back(draft, "TIMEOUT", "not completed within its timeout", now)
    elif tx.status is Status.RUNNING:
        overdue = (b for b in tx.branches.values() if tcc.is_overdue(b, now))
        if (branch := next(overdue, None)) is not None:
            _turn_back(draft, *tcc.overdue_reason(branch), now)
    match what:
        case Cancel(code, text):
            if draft.tx.status is Status.RUNNING:
                _turn_back(draft, code, text, now)
        case BranchReplied():
            _replied(draft, what, now)
        case CancelByOperator(reason=reason) if draft.tx.status is Status.RUNNING:
            _turn_back(draft, "CANCELLED_BY_OPERATOR", reason, now)
        case Resolve():
            _compensate_what_is_clear(draft, now)
        case _:
            pass


def compensation_of(tx: GlobalTransaction, branch_id: str) -> Compensation | None:
    """How a step of this saga is undone."""
    return _definition_step(tx, branch_id).compensation


# ---- Forward ----------------------------------------------------------------------


def _start(draft: Draft, steps: tuple[Step, ...], now: Instant) -> None:
    for step in steps:
        branches = draft.tx.branches
        if step.step_id in branches or not all(
            need in branches and branches[need].status is BranchStatus.SUCCEEDED
            for need in step.needs
        ):
            continue
        try:
            value = expressions.evaluate(step.input, _scope(draft.tx))
            payload = _bounded(expressions.to_payload(value))
        except ExpressionFailed as failure:
            text = f"input of step {step.step_id}: {failure}"
            _turn_back(draft, expressions.CODE, text, now)
            return
        spec = BranchSpec(
            branch_id=step.step_id,
            operation=step.operation,
            input=payload,
            timeout_ms=step.timeout_ms,
            attempt_max=step.retry.attempt_max,
        )
        draft.add(StepStarted(spec, now))


def _complete_if_done(draft: Draft, now: Instant) -> None:
    tx = draft.tx
    definition = tx.definition
    if (
        definition is None
        or tx.status is not Status.RUNNING
        or len(tx.branches) < len(definition.steps)
        or any(b.status is not BranchStatus.SUCCEEDED for b in tx.branches.values())
    ):
        return
    output = NO_PAYLOAD
    if definition.output is not None:
        try:
            value = expressions.evaluate(definition.output, _scope(tx))
            output = _bounded(expressions.to_payload(value))
        except ExpressionFailed as failure:
            # Every step has done its work: undoing all of it because a result could
            # not be written down would be the greater harm. The reason stays.
            draft.add(AttentionRaised(f"output of the saga: {failure}", now))
    draft.add(Finished(Status.COMPLETED, output, now))


def _scope(tx: GlobalTransaction) -> Scope:
    """What expressions may read: only what is stored."""
    return Scope(
        input=tx.request.input,
        outputs={
            branch_id: branch.output
            for branch_id, branch in tx.branches.items()
            if branch.output != NO_PAYLOAD
        },
        saga={"gid": tx.key.gid, "startedAt": tx.request.created_at},
    )


def _bounded(payload: Payload) -> Payload:
    if len(payload.data) > OUTPUT_BYTES_MAX:
        raise ExpressionFailed(
            f"{len(payload.data)} bytes, more than {OUTPUT_BYTES_MAX}"
        )
    return payload


# ---- Backward ---------------------------------------------------------------------


def _turn_back(draft: Draft, code: str, text: str, now: Instant) -> None:
    draft.add(Decided(Decision.ABORT, code, text, now))
    for branch_id, branch in draft.tx.branches.items():
        if branch.status is BranchStatus.RUNNING and not _undoable(draft.tx, branch_id):
            draft.add(BranchAbandoned(branch_id, now))
    _compensate_what_is_clear(draft, now)


def _compensate_what_is_clear(draft: Draft, now: Instant) -> None:
    """S2: start every compensation whose successors are all clear; end when done."""
    clear: dict[str, bool] = {}
    for step_id in _last_first(draft.tx):
        branch = draft.tx.branches.get(step_id)
        after_clear = all(clear[s] for s in _successors(draft.tx, step_id))
        if (
            branch is not None
            and after_clear
            and branch.status in (BranchStatus.RUNNING, BranchStatus.SUCCEEDED)
            and _undoable(draft.tx, step_id)
        ):
            payload = _compensation_input(draft.tx, branch)
            draft.add(CompensationStarted(step_id, payload, now))
            branch = draft.tx.branches[step_id]
        clear[step_id] = after_clear and (
            branch is None or _is_undone(draft.tx, branch)
        )
    branches = draft.tx.branches.values()
    if all(_is_undone(draft.tx, branch) for branch in branches):
        by_hand = any(branch.status is BranchStatus.RESOLVED for branch in branches)
        end = Status.RESOLVED if by_hand else Status.COMPENSATED
        draft.add(Finished(end, NO_PAYLOAD, now))


def _is_undone(tx: GlobalTransaction, branch: Branch) -> bool:
    if branch.status is BranchStatus.SUCCEEDED:
        return not _undoable(tx, branch.spec.branch_id)
    return branch.status in (
        BranchStatus.COMPENSATED,
        BranchStatus.REFUSED,
        BranchStatus.ABANDONED,
        BranchStatus.RESOLVED,
    )


def _undoable(tx: GlobalTransaction, step_id: str) -> bool:
    return compensation_of(tx, step_id) is not None


def _compensation_input(tx: GlobalTransaction, branch: Branch) -> Payload:
    compensation = compensation_of(tx, branch.spec.branch_id)
    if compensation is None or compensation.input is None:
        return branch.spec.input
    try:
        value = expressions.evaluate(compensation.input, _scope(tx))
        return _bounded(expressions.to_payload(value))
    except ExpressionFailed:
        return NO_PAYLOAD  # the participant will answer OUTPUT_NEEDED if it ran


def _last_first(tx: GlobalTransaction) -> list[str]:
    """All steps, each after every step that needs it."""
    definition = _definition(tx)
    waiting = {s: len(definition.successors[s]) for s in definition.by_id}
    order = [s for s, successors in waiting.items() if not successors]
    for step_id in order:
        for need in definition.by_id[step_id].needs:
            waiting[need] -= 1
            if not waiting[need]:
                order.append(need)
    return order


# ---- Answers ----------------------------------------------------------------------


def _replied(draft: Draft, what: BranchReplied, now: Instant) -> None:
    branch = draft.tx.branches.get(what.branch_id)
    if branch is None or UNDER_WAY.get(branch.status) is not what.phase:
        return  # late, repeated or foreign
    match what.outcome:
        case Succeeded(output):
            draft.add(BranchSucceeded(what.branch_id, what.phase, output, now))
            if what.phase is Phase.ACTION:
                definition = _definition(draft.tx)
                following = definition.successors[what.branch_id]
                _start(draft, tuple(definition.by_id[s] for s in following), now)
                _complete_if_done(draft, now)
            else:
                _compensate_what_is_clear(draft, now)
        case Refused(code, text) if what.phase is Phase.ACTION:
            draft.add(BranchRefused(what.branch_id, code, text, now))
            _turn_back(draft, code, text, now)
        case Refused(code, text):
            _compensation_failed(draft, branch, what, Unknown(code, text), now)
        case Pending(retry_after_ms):
            draft.add(tcc.pending(branch, retry_after_ms, now))
        case Unknown() as unknown if what.phase is Phase.ACTION:
            _action_failed(draft, branch, what, unknown, now)
        case Unknown() as unknown:
            _compensation_failed(draft, branch, what, unknown, now)
        case _:
            assert_never(what.outcome)


def _action_failed(
    draft: Draft, branch: Branch, what: BranchReplied, why: Unknown, now: Instant
) -> None:
    attempts = branch.attempts + 1
    if what.attempt not in (0, attempts):
        return  # the answer to an older call, counted already
    retry = _definition_step(draft.tx, what.branch_id).retry
    if why.code in retry.non_retryable or attempts == retry.attempt_max:
        text = f"{what.branch_id}: {why.code} after {attempts} attempts"
        _turn_back(draft, "ATTEMPTS_USED_UP", text, now)
    else:
        tcc.add_failed_attempt(draft, branch, why, retry, now)


def _compensation_failed(
    draft: Draft, branch: Branch, what: BranchReplied, why: Unknown, now: Instant
) -> None:
    attempts = branch.attempts + 1
    if what.attempt not in (0, attempts):
        return  # the answer to an older call, counted already
    if why.code == OUTPUT_NEEDED and branch.output == NO_PAYLOAD != why.output:
        draft.add(OutputLearned(what.branch_id, why.output, now))
        payload = _compensation_input(draft.tx, draft.tx.branches[what.branch_id])
        if payload != NO_PAYLOAD:
            draft.add(CompensationStarted(what.branch_id, payload, now))
            return
    compensation = compensation_of(draft.tx, what.branch_id)
    if compensation is None:
        raise InvariantViolated(f"step {what.branch_id} has no compensation")
    branch = draft.tx.branches[what.branch_id]
    tcc.add_failed_attempt(draft, branch, why, compensation.retry, now)
    if attempts == compensation.attention_after:
        tcc.raise_attention(draft, branch, what.phase, attempts, why, now)


def _definition(tx: GlobalTransaction) -> SagaDefinition:
    if tx.definition is None:
        raise InvariantViolated(f"saga {tx.key.gid} came without its definition")
    return tx.definition


def _definition_step(tx: GlobalTransaction, step_id: str) -> Step:
    return _definition(tx).by_id[step_id]


def _successors(tx: GlobalTransaction, step_id: str) -> tuple[str, ...]:
    return _definition(tx).successors[step_id]
