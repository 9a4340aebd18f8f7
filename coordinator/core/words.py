"""The words of a transaction's state, and nothing that costs a command its start."""

from enum import StrEnum


class Word(StrEnum):
    """An enumeration that hashes as fast as its text.

    ``Enum.__hash__`` is a Python function; these words are looked up in tables many
    times for every input. To read a word from its class costs as much as a call on
    Python 3.11, whose enumerations have a ``__getattr__``; so the rules that are asked
    for every input have names of their own for the words that they compare with.
    """

    __hash__ = str.__hash__


class Mode(Word):
    """How a global transaction works."""

    TCC = "TCC"
    SAGA = "SAGA"


class Status(Word):
    """Where a global transaction is. A participle is under way, a past is final.

    Attributes:
        is_final: nothing will ever happen to the transaction again. Asked for many
            times for every input, so it is worked out once and not a property.
    """

    is_final: bool

    TRYING = "TRYING"
    CONFIRMING = "CONFIRMING"
    CONFIRMED = "CONFIRMED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    RESOLVED = "RESOLVED"


_FINAL = frozenset(
    {
        Status.CONFIRMED,
        Status.CANCELLED,
        Status.COMPLETED,
        Status.COMPENSATED,
        Status.RESOLVED,
    }
)

for _status in Status:
    _status.is_final = _status in _FINAL


class Decision(Word):
    """The durable turn of a transaction; written once (T1)."""

    NONE = "NONE"
    COMMIT = "COMMIT"
    ABORT = "ABORT"


class OperationKind(Word):
    """What an atomic service of the catalogue can do."""

    TCC = "TCC"
    ACTION = "ACTION"


class Phase(Word):
    """Which of an operation's sides is called."""

    TRY = "TRY"
    CONFIRM = "CONFIRM"
    CANCEL = "CANCEL"
    ACTION = "ACTION"
    COMPENSATION = "COMPENSATION"


class BranchStatus(Word):
    """Where one participant's share is."""

    REGISTERED = "REGISTERED"
    """The initiator itself sends this Try."""
    TRYING = "TRYING"
    TRIED = "TRIED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    REFUSED = "REFUSED"
    CONFIRMING = "CONFIRMING"
    CONFIRMED = "CONFIRMED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    WAITING = "WAITING"
    """For its time, its signal or its members; no participant is asked."""
    SKIPPED = "SKIPPED"
    """Its condition was false."""
    ABANDONED = "ABANDONED"
    """In flight when it was given up or its transaction decided; nothing to undo."""
    RESOLVED = "RESOLVED"
    """An operator settled it by hand, outside of Tercet."""
