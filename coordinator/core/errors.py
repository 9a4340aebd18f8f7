"""Every error of the coordinator, by who must act.

::

    CoordinatorError               never raised itself
    +-- Refusal                    the caller must act; nothing was changed
    |   +-- InvalidRequest         the request is malformed: correct it
    |   +-- NotFound               no such transaction, saga or operation
    |   +-- AlreadyExists          the name is taken by something else
    |   +-- PreconditionFailed     well-formed, but not in this state
    |   `-- Overloaded             too much is waiting: come back later
    +-- StoreUnavailable           the database does not answer: ask again
    +-- IllegalTransition          a bug: an event that the state does not allow
    `-- InvariantViolated          a bug: this transaction is stopped

``reason`` is stable and goes over the wire; the docstring is the default message.
gRPC codes are chosen in ``api/status_codes.py`` and nowhere else.
"""

from typing import ClassVar


class CoordinatorError(Exception):
    """Root of the tree; only its children are raised."""

    reason: ClassVar[str] = "COORDINATOR_ERROR"

    def __init__(self, message: str = "") -> None:
        if type(self) is CoordinatorError:
            raise TypeError("raise one of its children")
        super().__init__(message or (type(self).__doc__ or "").strip())


class Refusal(CoordinatorError):
    """The request is told no, and nothing was changed.

    Args:
        message: what is wrong, what was expected and what to do.
        field: the name of the field at fault, empty when it is none alone.
        reason: a stable code more exact than the class's own.
    """

    reason = "REFUSED"

    def __init__(self, message: str = "", *, field: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.detail_reason = reason or type(self).reason


class InvalidRequest(Refusal):
    """The request is malformed."""

    reason = "INVALID_REQUEST"


class NotFound(Refusal):
    """There is no such thing here."""

    reason = "NOT_FOUND"


class AlreadyExists(Refusal):
    """The name is taken by something else."""

    reason = "ALREADY_EXISTS"


class PreconditionFailed(Refusal):
    """The request does not fit the transaction's present state."""

    reason = "PRECONDITION_FAILED"


class Overloaded(Refusal):
    """Too much work is waiting; come back later."""

    reason = "OVERLOADED"


class StoreUnavailable(CoordinatorError):
    """The database does not answer; what was asked may be asked again."""

    reason = "STORE_UNAVAILABLE"


class IllegalTransition(CoordinatorError):
    """An event was applied to a state that does not allow it."""

    reason = "ILLEGAL_TRANSITION"


class InvariantViolated(CoordinatorError):
    """A rule that must always hold does not; the transaction is stopped."""

    reason = "INVARIANT_VIOLATED"
