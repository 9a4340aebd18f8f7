"""Every rule of a TCC transaction.

Theory of operation
-------------------
::

    TRYING --confirm--> CONFIRMING --all confirmed--> CONFIRMED
       `---cancel, deadline, refusal, used up---> CANCELLING --all done--> CANCELLED

While TRYING, branches join: *mediated* ones are tried by the coordinator (status
TRYING until answered), *direct* ones by the initiator (REGISTERED). The decision
closes registration, because both are one fact in one database transaction (T2, T3):
after it no branch can join, and the list that a confirm was checked against is the
list that is confirmed.

The races, and who wins:

* **Confirm, abort, deadline, refusal** (T9): they are inputs of one transaction and
  meet one after the other; across nodes the revision guard lets one write win. Every
  input first looks at the clock: at or after the deadline an undecided transaction is
  cancelled, whatever is asked. A loser changes nothing and is answered with the state,
  and so with the winner's decision.
* **Confirm before all tries are answered**: it decides nothing yet and is decided
  again when the last try is (``is_ready``). That happens to an initiator that heard
  a try succeed just before a crash took the answer from memory (a lazy fact): the
  try is asked again, the barrier repeats its answer, and the confirm goes through.
* **Check-back**: a transaction that named an operation for it, and whose tries have
  all succeeded, is not cancelled at its deadline but asks that operation: success
  means commit, a refusal abort. Until the answer no branch can join; the initiator
  itself may still confirm or cancel. An answer that does not come means abort.
* **Nested tries**: a branch that is registered inside another one's try joins only
  while that try is open, so a parent that has answered never gains a branch.
* **Try against cancel**: a cancel does not wait for a try in flight. The participant's
  barrier makes the cancel empty if the try has not run, and refuses the try if it
  comes later (B2, B3).
* **A refused try** has changed nothing at its participant and has recorded the
  refusal there, so it needs no cancel and its duplicates stay refused.
* **Unknown**: asked again, ``attempt_max`` times for a try; then the transaction is
  cancelled and that branch with it, because it may have run. Confirm and cancel are
  asked without end; after ``ATTENTION_AFTER`` failures a person is called, and the
  retries go on. One branch that fails never keeps the others back.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from coordinator.core import backoff
from coordinator.core.definition import BranchKind
from coordinator.core.draft import Draft
from coordinator.core.errors import AlreadyExists, InvalidRequest, PreconditionFailed
from coordinator.core.events import (
    AttemptFailed,
    AttentionRaised,
    Began,
    BranchPending,
    BranchRefused,
    BranchRegistered,
    BranchSucceeded,
    CheckBackStarted,
    Decided,
    Finished,
)
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Cancel,
    CancelByOperator,
    Confirm,
    Input,
    Outcome,
    Pending,
    Refused,
    Register,
    Resolve,
    Signal,
    Succeeded,
    Try,
    Unknown,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    UNDER_WAY,
    Branch,
    BranchSpec,
    GlobalTransaction,
    Instant,
    status_of,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
    Status,
)

_TRYING: Final = Status.TRYING
_UNDECIDED: Final = Decision.NONE
_COMMITTED: Final = Decision.COMMIT

BRANCH_MAX = 1_000
"""Branches of one transaction; also bounds its stored size (T14)."""

ATTENTION_AFTER = 10
"""Failed attempts of one confirm or cancel; with full jitter about two minutes."""

NESTING_DEPTH_MAX = 8
"""Branches and transactions inside one another's tries; deeper nesting is a loop more
often than a design."""

CHECK_BACK_ID = "tercet:check-back"
"""The branch id of the question to the initiator; no other branch may have it. No
step of a saga can: step ids have no colon."""

CHECK_BACK_TIMEOUT_MS = 3_000
CHECK_BACK_ATTEMPT_MAX = 10
"""With full jitter up to 30 s about two minutes, then the answer is no."""

CHECK_BACK_PENDING_MS = 600_000
"""How long the initiator may go on saying that it does not know yet."""

PENDING_POLL_MS = 10_000
"""A participant that named no time is asked again after this long, so that a lost
``CompleteBranch`` delays a transaction and never strands it; several times within
the default deadline."""


def begin(what: Begin, now: Instant) -> Draft:
    """A new transaction, with the branches that it brings along."""
    draft = Draft.begun(Began(what.request, None))
    _register(draft, what.tries, direct=False, now=now)
    _confirm_declared(draft, now)
    return draft


def decide(draft: Draft, what: Input, now: Instant) -> None:
    """What an input means to a transaction that exists."""
    if draft.tx.status is _TRYING:
        _look_at_the_clock(draft, now)
    meant = _MEANT.get(type(what))
    if meant is not None:
        meant(draft, what, now)


def is_ready(tx: GlobalTransaction) -> bool:
    """Whether a confirm that had to wait for open tries can be decided now."""
    return tx.status is _TRYING and BranchStatus.TRYING not in map(
        status_of, tx.branches.values()
    )


def decides_at(tx: GlobalTransaction) -> Instant | None:
    """When time alone may decide something about it, but for its calls."""
    if tx.decision is _UNDECIDED and CHECK_BACK_ID not in tx.branches:
        return tx.request.deadline_at
    return None


def _look_at_the_clock(draft: Draft, now: Instant) -> None:
    """What time alone decides, before anybody's wish is heard (T9, T13)."""
    tx = draft.tx
    if now >= tx.request.deadline_at and CHECK_BACK_ID not in tx.branches:
        if tx.request.check_back and _all_tried(tx):
            spec = BranchSpec(
                branch_id=CHECK_BACK_ID,
                operation=tx.request.check_back,
                input=tx.request.input,
                timeout_ms=CHECK_BACK_TIMEOUT_MS,
                attempt_max=CHECK_BACK_ATTEMPT_MAX,
                pending_timeout_ms=CHECK_BACK_PENDING_MS,
                kind=BranchKind.CALL,
            )
            draft.add(CheckBackStarted(spec, now))
        else:
            _abort(draft, "DEADLINE", "undecided at its deadline", now)
        return
    for branch in tx.branches.values():
        if branch.pending_since is not None and is_overdue(branch, now):
            _abort(draft, *overdue_reason(branch), now)
            return


_MAY_BE_OVERDUE = (BranchStatus.TRYING, BranchStatus.RUNNING)


def is_overdue(branch: Branch, now: Instant) -> bool:
    """A pending try or action has used up the time it had."""
    return (
        branch.pending_since is not None
        and branch.spec.pending_timeout_ms > 0
        and branch.status in _MAY_BE_OVERDUE
        and now >= branch.pending_since + branch.spec.pending_timeout_ms
    )


def overdue_reason(branch: Branch) -> tuple[str, str]:
    """Code and text of the decision that an overdue branch brings about."""
    text = f"{branch.spec.branch_id} was pending for {branch.spec.pending_timeout_ms}"
    return "PENDING_TIMEOUT", f"{text} ms"


def pending(branch: Branch, after_ms: int | None, now: Instant) -> BranchPending:
    """It will finish later: when to ask again; a try or action, at its own deadline
    at the latest. Phase two has none, and is polled at the participant's pace.
    """
    due_at = now + (after_ms or PENDING_POLL_MS)
    since = now if branch.pending_since is None else branch.pending_since
    if branch.spec.pending_timeout_ms and branch.status in _MAY_BE_OVERDUE:
        due_at = max(now + 1, min(due_at, since + branch.spec.pending_timeout_ms))
    return BranchPending(branch.spec.branch_id, due_at, now)


def _of_participants(tx: GlobalTransaction) -> dict[str, Branch]:
    """All branches but the question to the initiator."""
    return {b: branch for b, branch in tx.branches.items() if b != CHECK_BACK_ID}


def _all_tried(tx: GlobalTransaction) -> bool:
    """Every try has succeeded, as far as the coordinator can know it."""
    return all(
        branch.status in (BranchStatus.TRIED, BranchStatus.REGISTERED)
        for branch in _of_participants(tx).values()
    )


# ---- Registration -----------------------------------------------------------------


def _register(
    draft: Draft, specs: Iterable[BranchSpec], *, direct: bool, now: Instant
) -> None:
    for spec in specs:
        tx = draft.tx
        known = tx.branches.get(spec.branch_id)
        if known is not None:
            if known.spec != spec:
                raise AlreadyExists(
                    f"branch {spec.branch_id!r} exists with another operation or"
                    " input; choose another branch_id, or repeat the first request"
                    " unchanged",
                    field="branch_id",
                    reason="BRANCH_EXISTS",
                )
            continue
        if tx.status is not _TRYING or CHECK_BACK_ID in tx.branches:
            why = tx.reason_code or tx.decision
            if tx.decision is Decision.NONE:
                why = "past its deadline, its initiator is being asked"
            raise PreconditionFailed(
                f"the transaction is {tx.status} ({why}); no branch can join",
                field="gid",
                reason="TRANSACTION_DECIDED",
            )
        if len(tx.branches) >= BRANCH_MAX:
            raise InvalidRequest(
                f"a transaction has at most {BRANCH_MAX} branches; split it",
                field="branches",
                reason="TOO_MANY_BRANCHES",
            )
        _check_nesting(tx, spec)
        draft.add(BranchRegistered(spec, direct, now))


def _check_nesting(tx: GlobalTransaction, spec: BranchSpec) -> None:
    """T12: a nested branch joins while its parent's try is open, to a bounded depth."""
    if spec.branch_id == CHECK_BACK_ID:
        raise InvalidRequest(
            f"the branch_id {CHECK_BACK_ID!r} is the coordinator's own; choose another",
            field="branch_id",
            reason="BRANCH_ID_RESERVED",
        )
    if not spec.parent_branch_id:
        return
    parent = tx.branches.get(spec.parent_branch_id)
    if parent is None or parent.status not in (
        BranchStatus.TRYING,
        BranchStatus.REGISTERED,
    ):
        raise PreconditionFailed(
            f"the try of branch {spec.parent_branch_id!r} is not open; a nested branch"
            " joins only while its parent's try runs",
            field="parent_branch_id",
            reason="PARENT_NOT_OPEN",
        )
    if tx.request.depth + depth_of(tx, spec) >= NESTING_DEPTH_MAX:
        raise InvalidRequest(
            f"branches and transactions nest at most {NESTING_DEPTH_MAX} deep; look"
            " for a loop, or register the branch without a parent",
            field="parent_branch_id",
            reason="NESTED_TOO_DEEP",
        )


def depth_of(tx: GlobalTransaction, spec: BranchSpec) -> int:
    """Inside how many other branches' tries this one runs."""
    depth = 0
    while spec.parent_branch_id and depth <= NESTING_DEPTH_MAX:
        spec = tx.branches[spec.parent_branch_id].spec
        depth += 1
    return depth


# ---- Decisions --------------------------------------------------------------------

_UNDER_WAY = frozenset(UNDER_WAY)
_TRIED = frozenset({BranchStatus.TRIED})


def _confirm(draft: Draft, what: Confirm, now: Instant) -> None:
    tx, listed = draft.tx, what.listed
    if tx.status is not Status.TRYING:
        return
    registered = _of_participants(tx).keys()
    if listed is not None and listed != registered:
        unlisted = ", ".join(sorted(registered - listed)) or "none"
        unknown = ", ".join(sorted(listed - registered)) or "none"
        raise PreconditionFailed(
            "the listed branches are not the registered ones"
            f" (registered but not listed: {unlisted}; listed but not registered:"
            f" {unknown}); cancel, or list exactly what was registered",
            field="branch_ids",
            reason="BRANCH_LIST_DIFFERS",
        )
    by_status = {branch.status for branch in tx.branches.values()}
    if listed is None and BranchStatus.REGISTERED in by_status:
        raise PreconditionFailed(
            "the transaction has branches that its initiator tries itself; list all"
            " branches that were seen to succeed",
            field="branch_ids",
            reason="BRANCH_LIST_REQUIRED",
        )
    if BranchStatus.TRYING not in by_status:
        _commit(draft, now)


def _confirm_declared(draft: Draft, now: Instant) -> None:
    tx = draft.tx
    if (
        tx.request.declared
        and tx.status is _TRYING
        and _TRIED.issuperset(map(status_of, tx.branches.values()))
    ):
        _commit(draft, now)


def _commit(draft: Draft, now: Instant) -> None:
    draft.add(Decided(Decision.COMMIT, "", "", now))
    _finish_if_done(draft, now)


def _abort(draft: Draft, code: str, text: str, now: Instant) -> None:
    draft.add(Decided(Decision.ABORT, code, text, now))
    _finish_if_done(draft, now)


def _finish_if_done(draft: Draft, now: Instant) -> None:
    found = set(map(status_of, draft.tx.branches.values()))
    if not _UNDER_WAY.isdisjoint(found):
        return
    commits = draft.tx.decision is _COMMITTED
    end = Status.CONFIRMED if commits else Status.CANCELLED
    if BranchStatus.RESOLVED in found:
        end = Status.RESOLVED
    draft.add(Finished(end, NO_PAYLOAD, now))


# ---- Answers ----------------------------------------------------------------------


def _replied(draft: Draft, what: BranchReplied, now: Instant) -> None:
    branch = draft.tx.branches.get(what.branch_id)
    if branch is None or UNDER_WAY.get(branch.status) is not what.phase:
        return  # late, repeated or foreign
    _ANSWERED[type(what.outcome)](draft, branch, what, what.outcome, now)


def _succeeded(
    draft: Draft, _branch: Branch, what: BranchReplied, it: Succeeded, now: Instant
) -> None:
    phase = what.phase
    draft.add(BranchSucceeded(what.branch_id, phase, it.output, now))
    _AFTER_SUCCESS[phase](draft, now)


def _refused(
    draft: Draft, branch: Branch, what: BranchReplied, no: Refused, now: Instant
) -> None:
    if what.phase not in _FORWARD:
        _failed(draft, branch, what, Unknown(no.code, no.text), now)
        return
    draft.add(BranchRefused(what.branch_id, no.code, no.text, now))
    _abort(draft, no.code, no.text, now)


def _postponed(
    draft: Draft, branch: Branch, _what: BranchReplied, it: Pending, now: Instant
) -> None:
    draft.add(pending(branch, it.retry_after_ms, now))


def _failed(
    draft: Draft, branch: Branch, what: BranchReplied, why: Unknown, now: Instant
) -> None:
    attempts = branch.attempts + 1
    if what.attempt not in (0, attempts):
        return  # the answer to an older call, counted already
    forward = what.phase in _FORWARD
    if forward and attempts >= branch.spec.attempt_max:
        text = f"{branch.spec.branch_id}: {why.code} after {attempts} attempts"
        _abort(draft, "ATTEMPTS_USED_UP", text, now)
        return
    policy = backoff.FORWARD if forward else backoff.PHASE_TWO
    add_failed_attempt(draft, branch, why, policy, now)
    if not forward and attempts == ATTENTION_AFTER:
        raise_attention(draft, branch, what.phase, attempts, why, now)


_FORWARD = frozenset({Phase.TRY, Phase.ACTION})

_AFTER_SUCCESS: Mapping[Phase, Callable[[Draft, Instant], None]] = {
    Phase.TRY: _confirm_declared,
    Phase.ACTION: _commit,  # the check-back says: commit
    Phase.CONFIRM: _finish_if_done,
    Phase.CANCEL: _finish_if_done,
}

_Answered: TypeAlias = Callable[[Draft, Branch, BranchReplied, Any, Instant], None]

_ANSWERED: Mapping[type[Outcome], _Answered] = {
    Succeeded: _succeeded,
    Refused: _refused,
    Pending: _postponed,
    Unknown: _failed,
}


def add_failed_attempt(
    draft: Draft,
    branch: Branch,
    why: Unknown,
    policy: backoff.RetryPolicy,
    now: Instant,
) -> None:
    """Count the attempt and compute the next one's time."""
    attempts = branch.attempts + 1
    seed = f"{draft.tx.key.gid}:{branch.spec.branch_id}"
    wait_ms = why.retry_after_ms or backoff.delay_ms(attempts, policy, seed)
    draft.add(
        AttemptFailed(
            branch.spec.branch_id, attempts, now + wait_ms, why.code, why.text
        )
    )


def waits_long(draft: Draft, branch_id: str, phase: Phase, now: Instant) -> None:
    """A branch that failed waits for its participant without being asked, so that its
    attempts do not count: its age calls a person, once.
    """
    if draft.tx.attention_since is not None:
        return
    branch = draft.tx.branches[branch_id]
    last = f"{branch.error_code} {branch.error_text}".rstrip()
    draft.add(
        AttentionRaised(
            f"{phase} of branch {branch_id} ({branch.spec.operation}) waits for its"
            f" participant, after {branch.attempts} failed attempts, last: {last}",
            now,
        )
    )


def raise_attention(
    draft: Draft,
    branch: Branch,
    phase: Phase,
    attempts: int,
    why: Unknown,
    now: Instant,
) -> None:
    """Call a person, naming branch, attempts and last error; retries go on."""
    draft.add(
        AttentionRaised(
            f"{phase} of branch {branch.spec.branch_id} ({branch.spec.operation})"
            f" failed {attempts} times, last: {why.code} {why.text}".rstrip(),
            now,
        )
    )


# ---- Whatever is asked ------------------------------------------------------------


def _try(draft: Draft, what: Try, now: Instant) -> None:
    _register(draft, what.specs, direct=False, now=now)


def _register_direct(draft: Draft, what: Register, now: Instant) -> None:
    _register(draft, what.specs, direct=True, now=now)


def _cancel(draft: Draft, what: Cancel, now: Instant) -> None:
    if draft.tx.status is Status.TRYING:
        _abort(draft, what.code, what.text, now)


def _cancel_by_operator(draft: Draft, what: CancelByOperator, now: Instant) -> None:
    if draft.tx.status is Status.TRYING:
        _abort(draft, "CANCELLED_BY_OPERATOR", what.reason, now)


def _settled(draft: Draft, _what: Resolve, now: Instant) -> None:
    _finish_if_done(draft, now)


def _awaits_none(_draft: Draft, _what: Signal, _now: Instant) -> None:
    raise InvalidRequest(
        "a TCC transaction awaits no signals; name a saga",
        field="gid",
        reason="NOT_A_SAGA",
    )


_MEANT: Mapping[type[Input], Callable[[Draft, Any, Instant], None]] = {
    BranchReplied: _replied,
    Try: _try,
    Register: _register_direct,
    Confirm: _confirm,
    Cancel: _cancel,
    CancelByOperator: _cancel_by_operator,
    Resolve: _settled,
    Signal: _awaits_none,
}
"""What an input means to a transaction that exists; the others mean nothing here."""
