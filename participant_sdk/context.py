"""What a handler knows about the call it answers."""

import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any, Generic, Protocol, TypeAlias

import structlog
from sqlalchemy import Connection
from sqlalchemy.orm import Session
from structlog.contextvars import bind_contextvars, reset_contextvars
from typing_extensions import TypeVar

from participant_sdk.barrier.rules import Phase
from participant_sdk.errors import HandlerMisuse

S_co = TypeVar("S_co", covariant=True, default=Session)
C_co = TypeVar("C_co", covariant=True, default=Connection)


class LocalWork(Protocol[S_co, C_co]):
    """The local transaction that the barrier holds for one call."""

    @property
    def connection(self) -> C_co:
        """Joined to the barrier's transaction."""

    @property
    def session(self) -> S_co:
        """Made at first use, on the same connection."""


class Context(Generic[S_co, C_co]):
    """One call, as its handler sees it.

    ``Context`` where the participant's database is an ``Engine``; where it is an
    ``AsyncEngine``, ``participant_sdk.aio.AsyncContext`` is the same with an
    ``AsyncSession`` and an ``AsyncConnection``.

    Attributes:
        gid: of the global transaction.
        branch_id: of this participant's share of it.
        operation: such as ``accounts.debit``.
        phase: which of its sides is called.
        attempt: from 1; counts within the phase.
        deadline: in ``time.monotonic()`` seconds; later the coordinator counts the
            outcome as unknown and asks again.
        depth: inside how many tries and transactions it runs.
        nested_count: transactions that this call has begun inside itself so far.
    """

    __slots__ = (
        "_work",
        "attempt",
        "branch_id",
        "deadline",
        "depth",
        "gid",
        "nested_count",
        "operation",
        "phase",
    )

    def __init__(
        self,
        *,
        gid: str,
        branch_id: str,
        operation: str,
        phase: Phase,
        attempt: int = 1,
        deadline: float = float("inf"),
        depth: int = 0,
        work: LocalWork[S_co, C_co] | None = None,
    ) -> None:
        self.gid = gid
        self.branch_id = branch_id
        self.operation = operation
        self.phase = phase
        self.attempt = attempt
        self.deadline = deadline
        self.depth = depth
        self.nested_count = 0
        self._work = work

    @property
    def has_transaction(self) -> bool:
        """Its handler works in a transaction of the barrier's."""
        return self._work is not None

    @property
    def session(self) -> S_co:
        """An ORM session in the barrier's transaction. Returning commits it."""
        return self._local().session

    @property
    def connection(self) -> C_co:
        """A Core connection in the barrier's transaction; cheaper than a session."""
        return self._local().connection

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this call, and no other: hand it on to
        services that take one.
        """
        return f"{self.gid}/{self.branch_id}/{self.phase}"

    @property
    def remaining_seconds(self) -> float:
        """Until the deadline; never below 0."""
        return max(0.0, self.deadline - time.monotonic())

    def _local(self) -> LocalWork[S_co, C_co]:
        if self._work is None:
            raise HandlerMisuse(
                "this call has no database transaction: make the participant with "
                "database=engine, and the operation without transactional=False"
            )
        return self._work


_current: ContextVar[Context[Any, Any] | None] = ContextVar(
    "tercet_context", default=None
)


Entered: TypeAlias = "tuple[Token[Any], Mapping[str, Token[Any]] | None]"


def enter(context: Context[Any, Any]) -> Entered:
    """Make ``context`` the current one, also for what structlog writes."""
    bound = None
    if structlog.is_configured():
        bound = bind_contextvars(
            gid=context.gid,
            branch_id=context.branch_id,
            operation=context.operation,
            phase=context.phase.value,
            attempt=context.attempt,
        )
    return _current.set(context), bound


def leave(entered: Entered) -> None:
    """Undo ``enter``."""
    token, bound = entered
    _current.reset(token)
    if bound is not None:
        reset_contextvars(**bound)


def current() -> Context[Any, Any] | None:
    """The call that this code runs in; ``None`` outside of a handler."""
    return _current.get()
