"""Requests to the coordinator: sent, asked again, and their answers understood."""

import asyncio
from typing import Final

import grpc
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from participant_sdk.errors import (
    AlreadyExists,
    CoordinatorFault,
    InvalidRequest,
    NotFound,
    Overloaded,
    PreconditionFailed,
    RequestError,
    Unavailable,
)
from participant_sdk.session import Session
from protos.v1.coordinator_pb2 import Request, Response
from protos.v1.types_pb2 import Error, Transaction

RETRY_SECONDS_FIRST = 0.05
RETRY_SECONDS_MAX = 2.0

_BY_STATUS: Final[dict[int, type[RequestError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT.value[0]: InvalidRequest,
    grpc.StatusCode.NOT_FOUND.value[0]: NotFound,
    grpc.StatusCode.ALREADY_EXISTS.value[0]: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION.value[0]: PreconditionFailed,
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: Overloaded,
    grpc.StatusCode.UNAVAILABLE.value[0]: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: Unavailable,
}


def error_of(error: Error) -> RequestError:
    """The SDK's error for one that came over the wire."""
    kind = _BY_STATUS.get(error.status, CoordinatorFault)
    after = error.retry_after_ms / 1000 if error.retry_after_ms else None
    return kind(
        error.message,
        reason=error.reason,
        field=error.field,
        retry_after_seconds=after,
    )


class Requests:
    """Requests over a session.

    Args:
        session: started.
        seconds: how long an answer may take, reconnecting and asking again included.
    """

    def __init__(self, session: Session, seconds: float) -> None:
        self._session = session
        self._seconds = seconds

    def post(self, request: Request) -> None:
        """Send without waiting for the answer."""
        self._session.request(request).add_done_callback(_ignore)

    async def ask(self, request: Request, *, wait: bool = False) -> Transaction:
        """The transaction that answers ``request``.

        Args:
            request: with a gid, so that it may be sent again.
            wait: the answer comes at the transaction's end: no limit but the caller's.

        Raises:
            RequestError: one of its children; ``Unavailable`` leaves the outcome open,
                ``Overloaded`` says that nothing was sent.
        """
        question = _Question(self._session, request)
        try:
            async with asyncio.timeout(None if wait else self._seconds):
                try:
                    return await question.ask()
                except _Busy as refusal:
                    # Rare, so that no request pays for what only these need.
                    return await _ask_again(question, refusal)
        except TimeoutError:
            raise question.too_late(self._seconds) from None


class _Question:
    """A request that is asked once or more often, and whether any of it went out."""

    __slots__ = ("_is_admitted", "_no_room", "_request", "_session")

    def __init__(self, session: Session, request: Request) -> None:
        self._session = session
        self._request = request
        self._is_admitted = False
        self._no_room: Overloaded | None = None

    async def ask(self) -> Transaction:
        """The answer to one attempt.

        Raises:
            _Busy: there may be one later.
        """
        try:
            answer = self._session.request(self._request)
        except Overloaded as full:
            self._no_room = full
            raise _Busy(full) from None
        self._is_admitted = True
        response = await answer
        if response.HasField("transaction"):
            return response.transaction
        error = error_of(response.error)
        raise _Busy(error) if isinstance(error, Overloaded | Unavailable) else error

    def too_late(self, seconds: float) -> RequestError:
        """What is known when no answer came in time."""
        if self._no_room is not None and not self._is_admitted:
            return Overloaded(
                f"nothing was sent within {seconds:g} s, so it is safe to begin again:"
                f" {self._no_room.message}",
                retry_after_seconds=self._no_room.retry_after_seconds,
            )
        return Unavailable(
            f"no answer within {seconds:g} s; the outcome is unknown: ask "
            "again with the same gid, or get() it"
        )


async def _ask_again(question: _Question, refusal: "_Busy") -> Transaction:
    answers = [refusal]

    async def next_answer() -> Transaction:
        if answers:
            raise answers.pop()  # the first attempt was made already
        return await question.ask()

    return await _asking_again(next_answer)


class _Busy(Exception):
    """The coordinator answered that it cannot answer now, or too many wait for it."""

    def __init__(self, error: RequestError) -> None:
        self.error = error
        super().__init__()


_back_off = wait_random_exponential(
    multiplier=RETRY_SECONDS_FIRST, max=RETRY_SECONDS_MAX
)


def _wait(state: RetryCallState) -> float:
    """As long as the coordinator advises, and a random while on top."""
    error = state.outcome.exception() if state.outcome is not None else None
    advised = error.error.retry_after_seconds if isinstance(error, _Busy) else None
    return (advised or 0.0) + _back_off(state)


_asking_again = AsyncRetrying(
    retry=retry_if_exception_type(_Busy), wait=_wait, reraise=True
)


def _ignore(future: "asyncio.Future[Response]") -> None:
    if not future.cancelled():
        future.exception()
