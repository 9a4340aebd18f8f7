"""What is quarantined: held, and tried again when its time has come (V6).

What too many owners in a row died with belongs to ``NOBODY``, which holds its calls and
deadlines, and a person is called. But three dead nodes are no proof: they may have been
killed. So a quarantine ends by itself, as a *trial*. When the hold is over the row is
due, and is taken up as whatever nobody owns (see :mod:`coordinator.core.sweep`): by one
node, for the claim is a compare-and-set, and by itself, for it is a suspect. The claim
makes it somebody's, and that lets it go on. When that node dies with it as well, it is
quarantined again, for twice as long. When the node has heard from a participant, or has
lived with it for a while, it is a transaction like any other. A commit alone proves
nothing here: what time has decided meanwhile is written before anybody is called. Nor
does what others write of it: they do not take it from the node that tries it, which
learns of that when it writes next, at the latest when it has survived.

How many died and when the next trial is stand in the reason that a person reads, and
nowhere else. So they survive whatever is written of the transaction while it is held,
and no write of any other transaction carries a column for them.
"""

import re
from datetime import UTC, datetime, timedelta

from coordinator.core.changed import changed
from coordinator.core.events import AttentionRaised
from coordinator.core.inputs import BranchReplied, Input, Survived
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Milliseconds,
)
from coordinator.core.sweep import OWNERS_LOST_MAX

QUARANTINE_MS: Milliseconds = 600_000
"""Between the third death and the trial: longer than nodes are killed in a row by a
deployment, a failing machine or a lack of memory, which are no fault of what they
drove. It doubles with each death."""

QUARANTINE_MS_MAX: Milliseconds = 3_600_000
"""What kills for sure costs one node an hour, which its successor makes up for in
seconds; what does not any more has waited for so long at most."""

NOBODY = ""
"""Owns what is quarantined; no node is called so."""

_TOLD = re.compile(r"QUARANTINED: ([0-9]+) nodes .*? at ([0-9T:.-]+Z)\.")
"""What :func:`hold` says: how many died, and when the trial is."""

_BESIDES = ". Besides: "
"""Comes before what else calls a person, which outlives the quarantine."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def hold(tx: GlobalTransaction, now: Instant) -> AttentionRaised:
    """The fact that one more owner died with it, where that is one too many; with what
    a person should know and may do.
    """
    told = _told(tx)
    lost = int(told[1]) + 1 if told else OWNERS_LOST_MAX
    hold_ms = min(QUARANTINE_MS * 2 ** (lost - OWNERS_LOST_MAX), QUARANTINE_MS_MAX)
    besides = _besides(tx)
    return AttentionRaised(
        f"QUARANTINED: {lost} nodes in a row died while they drove this transaction;"
        f" one tries it again by itself at {_in_words(now + hold_ms)}. Look for its gid"
        " in their logs and remove the cause. To let it go on sooner: tercet tx retry"
        f" GID --reason WHY{_BESIDES * bool(besides)}{besides}",
        now,
    )


def is_quarantined(tx: GlobalTransaction) -> bool:
    """Whether it is held: until its trial, or until an operator asks for a retry."""
    return tx.owner == NOBODY and _told(tx) is not None


def is_on_trial(tx: GlobalTransaction) -> bool:
    """Whether a node drives it that may die of it."""
    return tx.owner != NOBODY and _told(tx) is not None


def _told(tx: GlobalTransaction) -> re.Match[str] | None:
    """How many died and when the trial is, where it is held or on trial."""
    if tx.attention_since is None:
        return None
    return _TOLD.match(tx.attention_reason)


def reason_after(tx: GlobalTransaction, raised: AttentionRaised) -> str:
    """What a person reads when one more thing calls for one."""
    if not _told(tx) or _TOLD.match(raised.reason):
        return raised.reason
    return tx.attention_reason.partition(_BESIDES)[0] + _BESIDES + raised.reason


def without_quarantine(tx: GlobalTransaction) -> GlobalTransaction:
    """It is over; what else calls for a person still does."""
    if not _told(tx):
        return tx
    besides = _besides(tx)
    since = tx.attention_since if besides else None
    return changed(tx, attention_since=since, attention_reason=besides)


def _besides(tx: GlobalTransaction) -> str:
    if tx.attention_since is None:
        return ""
    if _told(tx):
        return tx.attention_reason.partition(_BESIDES)[2]
    return tx.attention_reason


def trial_at(tx: GlobalTransaction) -> Instant | None:
    """When what is quarantined is to be tried; not while an operator holds it, too."""
    told = _told(tx)
    if told is None or tx.paused_at is not None:
        return None
    return (datetime.fromisoformat(told[2]) - _EPOCH) // timedelta(milliseconds=1)


def _in_words(at: Instant) -> str:
    moment = (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def proves_survival(what: Input, tx: GlobalTransaction) -> bool:
    """Whether this says that a node has lived through the trial: an answer to what it
    asked, or that its owner has driven it for long.
    """
    match what:
        case BranchReplied(attempt=attempt):
            return bool(attempt) and is_on_trial(tx)
        case Survived(node_id):
            return node_id == tx.owner and is_on_trial(tx)
        case _:
            return False


def owner_after(tx: GlobalTransaction, writer: str) -> str:
    """Whose it is after a commit: who writes drives it. But what is held is nobody's
    whoever writes, and a trial is one node's, so that it costs no other one.
    """
    if tx.attention_since is None:
        return writer
    return tx.owner if _told(tx) else writer


def takeovers_after(tx: GlobalTransaction) -> int:
    """What a commit stores: who commits has survived it, so none, where that is no
    matter of a trial; else one death more makes it quarantined.
    """
    if tx.attention_since is None:
        return 0
    return OWNERS_LOST_MAX - 1 if _told(tx) else 0
