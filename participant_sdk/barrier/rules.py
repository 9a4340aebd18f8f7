"""ALL rules of the barrier. Pure: recorded rows in, a verdict out.

Theory of operation. A branch has two slots at its participant, and the database's
unique key over (gid, branch_id, slot) lets each be taken once:

- FORWARD: by the try or action; or, when cancel or compensation comes first, by a
  *tombstone*. So a try and an empty cancel can never both take effect (B2, B3).
- SECOND: by confirm, cancel or compensation. So confirm
  and cancel can never both take effect (B5).

A call first *claims* its slot by inserting the row (never by looking first: two
callers that both see nothing would both go on, and a locking read of a missing key
deadlocks, B6). Only if the key is taken are the rows read, and ``admit`` says what
they mean. The row, with the recorded answer, and the business change are committed
in one local transaction or not at all (B1).

Rows are removed when nobody can need them (``is_removable``); what is removed leaves
the *horizon*, an instant that only grows. A transaction that began before it may have
had a row here that is gone, so its late try is refused (B3).

A refusal of an action is final for whoever asks the same again. Only a call that says
*reconsider* lets the business code answer anew: a saga that can only go forward has no
other way on. It takes the REFUSED row over by compare-and-set, and so does the
compensation of a refused action, which leaves a tombstone in its place: whichever is
first excludes the other, so a late reconsidering call finds the branch undone (B3).

A row is INTENT while a handler works *outside* of any transaction (B9): the row is
committed first, the answer afterwards. Who reads INTENT knows that an attempt began,
and not how it ended: so a duplicate runs again, and a cancel runs too.

A row is RUNNING only while its transaction is open. Whoever *reads* RUNNING sees a
transaction that was split, by a handler that committed by itself: loud, no effect.
"""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TypeAlias


class Phase(StrEnum):
    """Which side of an operation is called."""

    TRY = "TRY"
    CONFIRM = "CONFIRM"
    CANCEL = "CANCEL"
    ACTION = "ACTION"
    COMPENSATION = "COMPENSATION"

    @property
    def is_forward(self) -> bool:
        """Try or action: may be refused."""
        return self is Phase.TRY or self is Phase.ACTION

    @property
    def is_backward(self) -> bool:
        """Cancel or compensation: undoes what there is to undo."""
        return self is Phase.CANCEL or self is Phase.COMPENSATION


class Slot(IntEnum):
    """Each can be taken once per branch."""

    FORWARD = 1
    SECOND = 2


class Outcome(StrEnum):
    """What a row records."""

    RUNNING = "RUNNING"
    INTENT = "INTENT"
    SUCCEEDED = "SUCCEEDED"
    REFUSED = "REFUSED"
    PENDING = "PENDING"
    EMPTY = "EMPTY"


@dataclass(frozen=True, slots=True)
class Record:
    """One row: who took a slot, and the answer it gave."""

    phase: Phase
    outcome: Outcome
    output: bytes = b""
    content_type: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """Call the business code.

    Attributes:
        forward: what the try or action recorded.
        resumes: an earlier attempt's intent stands; its row is this call's too.
        replaces: the recorded refusal whose row this call takes over; it stands again
            if the business code gives no answer.
    """

    forward: Record | None = None
    resumes: bool = False
    replaces: Record | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """It has been done: give the recorded answer, and change nothing."""

    record: Record


@dataclass(frozen=True, slots=True)
class Bury:
    """An empty cancel: keep the tombstone, call nothing, answer success (B2).

    Attributes:
        replaces: the recorded refusal of an action; the tombstone takes its place.
    """

    replaces: Record | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Change nothing and say so.

    Attributes:
        final: asking again cannot help (the late try); else it is answered as a
            failure, which is asked again.
        alarming: a coordinator that keeps the rules never asks this (B5).
    """

    code: str
    message: str
    final: bool = False
    alarming: bool = False


Verdict: TypeAlias = Run | Answer | Bury | Reject

# How each phase names the one that it belongs to.
_FORWARD_OF = {
    Phase.TRY: Phase.TRY,
    Phase.CONFIRM: Phase.TRY,
    Phase.CANCEL: Phase.TRY,
    Phase.ACTION: Phase.ACTION,
    Phase.COMPENSATION: Phase.ACTION,
}

_LATE = Reject(
    "BRANCH_CANCELLED",
    "this branch was cancelled before; nothing was changed",
    final=True,
)
_BROKEN = Reject(
    "BARRIER_BROKEN",
    "the row of an earlier call is RUNNING although its transaction ended: its "
    "handler committed by itself; compare the business tables, then correct the row",
    alarming=True,
)
_OVERTAKEN = Reject(
    "BRANCH_CANCELLED",
    "this branch was cancelled while its handler ran outside of the database: look "
    "whether it left an effect after its cancel",
    final=True,
    alarming=True,
)
_EXPIRED = Reject(
    "BRANCH_EXPIRED",
    "the transaction is older than what this participant remembers, so it cannot tell "
    "a first call from a late one; nothing was changed",
    final=True,
)
_FORGOTTEN = Reject(
    "BARRIER_ROW_EXPIRED",
    "the transaction is older than what this participant remembers, so it cannot tell "
    "whether the action ran: compare the business tables, then resolve the branch",
    alarming=True,
)
_MISSING = Reject(
    "BARRIER_ROW_MISSING",
    "the coordinator has this branch's answer, but this database has no row of it: "
    "compensate where the action ran, or look for a database that was set back",
    alarming=True,
)


def _wrong_order(message: str) -> Reject:
    return Reject("WRONG_ORDER", message, alarming=True)


def claim_of(*, transactional: bool) -> Outcome:
    """What the row of a call says that has not answered yet."""
    return Outcome.RUNNING if transactional else Outcome.INTENT


def first_claim(phase: Phase, *, transactional: bool = True) -> tuple[Slot, Outcome]:
    """The row that a call of ``phase`` inserts before it reads anything."""
    if phase.is_forward:
        return Slot.FORWARD, claim_of(transactional=transactional)
    if phase.is_backward:
        return Slot.FORWARD, Outcome.EMPTY
    return Slot.SECOND, claim_of(transactional=transactional)


def admit(
    phase: Phase,
    forward: Record | None,
    second: Record | None,
    *,
    known_done: bool = False,
    expired: bool = False,
    reconsider: bool = False,
) -> Verdict:
    """What a call of ``phase`` may do, given the rows of *earlier* calls.

    Args:
        phase: of the call.
        forward: the row of the first slot.
        second: the row of the second slot.
        known_done: the coordinator has this branch's answer. Then a missing row is
            no empty cancel but the wrong database, or one that was set back.
        expired: the transaction began before the horizon; matters only where a row
            is missing.
        reconsider: an action that was refused runs anew; nothing else changes.
    """
    if forward is not None and forward.outcome is Outcome.RUNNING:
        return _BROKEN
    if second is not None and second.outcome is Outcome.RUNNING:
        return _BROKEN
    if (
        forward is not None
        and forward.outcome is not Outcome.EMPTY
        and forward.phase is not _FORWARD_OF[phase]
    ):
        return _wrong_order(
            f"{phase} was asked of a branch that began with {forward.phase}"
        )
    if phase.is_forward:
        if forward is None and expired:
            return _EXPIRED
        return _admit_forward(forward, second, reconsider=reconsider)
    if phase.is_backward:
        if forward is None and known_done:
            return _MISSING
        if forward is None and expired and phase is Phase.COMPENSATION:
            # A try that waits for its second side is never removed, an action is.
            return _FORGOTTEN
        return _admit_backward(forward, second)
    return _admit_confirm(forward, second)


def _admit_forward(
    forward: Record | None, second: Record | None, *, reconsider: bool
) -> Verdict:
    if second is not None and second.phase.is_backward:
        return _LATE
    if forward is None:
        return Run()
    if forward.outcome is Outcome.EMPTY:
        return _LATE
    if forward.outcome is Outcome.INTENT:
        return Run(resumes=True)
    if reconsider and _is_refused_action(forward):
        return Run(replaces=forward)
    return Answer(forward)


def _is_refused_action(record: Record) -> bool:
    return record.phase is Phase.ACTION and record.outcome is Outcome.REFUSED


def _admit_backward(forward: Record | None, second: Record | None) -> Verdict:
    if forward is None:
        return Bury()
    if _is_refused_action(forward) and second is None:
        return Bury(replaces=forward)
    if forward.outcome in (Outcome.EMPTY, Outcome.REFUSED):
        # There is nothing to undo: it never ran, or the refusal undid it.
        return Answer(Record(forward.phase, Outcome.SUCCEEDED))
    if second is None:
        return Run(forward)
    if second.phase is Phase.CONFIRM:
        return _wrong_order("a branch that is confirmed cannot be cancelled")
    if second.outcome is Outcome.INTENT:
        return Run(forward, resumes=True)
    return Answer(second)


def _admit_confirm(forward: Record | None, second: Record | None) -> Verdict:
    if forward is None:
        return _wrong_order("a branch that was never tried cannot be confirmed")
    if forward.outcome is Outcome.EMPTY:
        return _wrong_order("a branch that is cancelled cannot be confirmed")
    if forward.outcome is Outcome.REFUSED:
        return _wrong_order("a branch whose try was refused cannot be confirmed")
    if forward.outcome is Outcome.INTENT:
        return _wrong_order("a branch whose try has not answered cannot be confirmed")
    if second is None:
        return Run(forward)
    if second.phase is not Phase.CONFIRM:
        return _wrong_order("a branch that is cancelled cannot be confirmed")
    if second.outcome is Outcome.INTENT:
        return Run(forward, resumes=True)
    return Answer(second)


def admit_answer(
    phase: Phase, forward: Record | None, second: Record | None
) -> Verdict:
    """What becomes of the answer of a call that worked outside, given all rows.

    ``Run``: it is to be recorded. ``Answer``: another attempt was first, and its
    answer counts. ``Reject``: the branch was turned back meanwhile.
    """
    own = forward if phase.is_forward else second
    if own is None:
        return _MISSING
    if phase.is_forward and (
        own.outcome is Outcome.EMPTY
        or (second is not None and second.phase.is_backward)
    ):
        return _OVERTAKEN
    return Run(forward, resumes=True) if own.outcome is Outcome.INTENT else Answer(own)


DAY_MS = 24 * 60 * 60 * 1_000
KEEP_MS_MIN = 31 * DAY_MS
"""No row is removed sooner: the longest deadline of a transaction is 30 days, the
longest call an hour; the rest is for clocks that differ."""
_FRESH_MS = DAY_MS


def horizon_of(now_ms: int, keep_ms: int) -> int:
    """Before which rows may be removed; ``keep_ms`` is at least ``KEEP_MS_MIN``."""
    return now_ms - keep_ms


def is_surely_young(began_at_ms: int, now_ms: int) -> bool:
    """No horizon can be later than the transaction's begin: it need not be read.

    Horizons lie at least ``KEEP_MS_MIN`` back by the clock of whoever removed rows.
    A day leaves a month for the difference between that clock and this one.
    """
    return began_at_ms >= now_ms - _FRESH_MS


def is_expired(began_at_ms: int, horizon_ms: int) -> bool:
    """The transaction may have had rows that are removed; 0 = its age is unknown."""
    return began_at_ms < horizon_ms


def recorded_at(began_at_ms: int, now_ms: int) -> int:
    """The instant to keep with a row: never before its transaction's begin.

    So whatever is removed by its own age belongs to a transaction that is expired,
    however the clocks of participant and coordinator differ.
    """
    return max(began_at_ms, now_ms)


_OPEN = (Outcome.RUNNING, Outcome.INTENT)


def is_removable(forward: Record, second: Record | None) -> bool:
    """Nobody needs the rows of this branch once they are older than the horizon.

    A try that succeeded waits for its confirm or cancel, however long that takes; an
    intent waits for its answer, a row of a split transaction for a person. An action's
    row waits for nothing: most actions are never compensated.
    """
    if second is not None:
        return second.outcome not in _OPEN and forward.outcome is not Outcome.RUNNING
    if forward.outcome in _OPEN:
        return False
    return forward.phase is not Phase.TRY or forward.outcome is Outcome.REFUSED


IDENTIFIER_LENGTH_MAX = 128
_IDENTIFIER = re.compile(rf"[A-Za-z0-9._:-]{{1,{IDENTIFIER_LENGTH_MAX}}}", re.ASCII)


def is_identifier(text: str) -> bool:
    """A name that every database compares byte by byte and stores in full (B7)."""
    return _IDENTIFIER.fullmatch(text) is not None
