"""Every error of the SDK, by who must act.

::

    TercetError                    root; catch this to catch them all
    +-- InvalidRequest             your request is malformed: correct it
    +-- NotFound                   no such transaction, saga or operation
    +-- AlreadyExists              the gid or name is taken by something else
    +-- PreconditionFailed         well-formed, but not in this state
    +-- Overloaded                 too much is waiting: come back later
    +-- Unavailable                no answer: ask again with the same gid
    +-- CoordinatorFault           the coordinator failed: report it
    +-- TransactionCancelled       decided against: nothing has to be undone
    +-- Refused                    a business "no", raised by and to applications
    +-- Pending                    raised in a handler: it will finish later
    +-- Retry                      raised in a handler: ask me again
    `-- HandlerMisuse              a handler did what only the barrier may do

``reason`` is stable; the docstring is the default message.
"""

from typing import ClassVar


class TercetError(Exception):
    """Something about a distributed transaction went wrong."""

    reason: str = "TERCET_ERROR"

    def __init__(self, message: str = "") -> None:
        self.message = message or " ".join((type(self).__doc__ or "").split())
        super().__init__(self.message)


class RequestError(TercetError):
    """The coordinator told a request no.

    Attributes:
        reason: a stable code, such as UNKNOWN_OPERATION.
        field: the field at fault, empty when it is none alone.
        retry_after_seconds: when asking again makes sense; ``None`` without advice.
    """

    default_reason: ClassVar[str] = "REQUEST_REFUSED"

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        field: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason
        self.field = field
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        at = f" (field {self.field})" if self.field else ""
        return f"{self.reason}{at}: {self.message}"


class InvalidRequest(RequestError):
    """The request is malformed: correct the named field and ask again."""

    default_reason = "INVALID_REQUEST"


class NotFound(RequestError):
    """There is no such thing: check the gid, the saga's name or the operation."""

    default_reason = "NOT_FOUND"


class AlreadyExists(RequestError):
    """The gid or name is taken by something else: choose another one."""

    default_reason = "ALREADY_EXISTS"


class PreconditionFailed(RequestError):
    """The transaction's state does not allow this: get it and look."""

    default_reason = "PRECONDITION_FAILED"


class Overloaded(RequestError):
    """Too much work is waiting: ask again later, with the same gid."""

    default_reason = "OVERLOADED"


class Unavailable(RequestError):
    """No answer from the coordinator, so the outcome is unknown: ask for the same
    gid again; that is always safe.
    """

    default_reason = "UNAVAILABLE"


class CoordinatorFault(RequestError):
    """The coordinator failed to answer properly: its log says why."""

    default_reason = "INTERNAL"


class TransactionCancelled(TercetError):
    """The transaction was decided against; its branches are being cancelled.

    Attributes:
        gid: of the transaction.
        reason: why, such as DEADLINE or the code of a refusal.
    """

    reason = "TRANSACTION_CANCELLED"

    def __init__(self, gid: str, reason: str = "", text: str = "") -> None:
        self.gid = gid
        self.reason = reason or type(self).reason
        tail = f": {text}" if text else ""
        super().__init__(f"transaction {gid} was cancelled ({self.reason}){tail}")


class Refused(TercetError):
    """A business "no".

    Raised in a try or an action it undoes what the handler changed and decides the
    transaction against itself. An initiator gets it where it asked.

    Args:
        code: stable, upper-case, such as INSUFFICIENT_FUNDS.
        message: for people; no payload values, it is stored and shown.
    """

    reason = "REFUSED"

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.text = message
        super().__init__(f"{code}: {message}" if message else code)


class Pending(TercetError):
    """The participant will finish later.

    ``Pending(retry_after=5)``: what the handler changed is undone, and it is asked
    again after that many seconds. ``Pending()``: what it changed is kept, it is not
    asked again, and its outcome is reported by ``Client.complete``.
    """

    reason = "PENDING"

    def __init__(self, retry_after: float | None = None) -> None:
        if retry_after is not None and retry_after <= 0:
            raise InvalidRequest(
                "retry_after is a number of seconds above 0; leave it out to report "
                "the outcome by Client.complete",
                field="retry_after",
            )
        self.retry_after = retry_after
        super().__init__()


class Retry(TercetError):
    """Not now: what the handler changed is undone, and it is asked again.

    Args:
        after: in so many seconds; ``None`` leaves it to the coordinator's back-off.
    """

    reason = "RETRY"

    def __init__(self, after: float | None = None) -> None:
        self.after = after
        super().__init__()


class HandlerMisuse(TercetError):
    """A handler ended the transaction that the barrier holds: remove its commit(),
    rollback() or close(). Returning commits; raising rolls back.
    """

    reason = "HANDLER_MISUSE"
