"""Requests to the coordinator: sent, asked again, and their answers understood."""

import asyncio
import random
from typing import Final

import grpc

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
            RequestError: one of its children; ``Unavailable`` leaves the outcome open.
        """
        try:
            async with asyncio.timeout(None if wait else self._seconds):
                return await self._ask(request)
        except TimeoutError:
            raise Unavailable(
                f"no answer within {self._seconds:g} s; the outcome is unknown: ask "
                "again with the same gid, or get() it"
            ) from None

    async def _ask(self, request: Request) -> Transaction:
        attempt = 0
        while True:
            response = await self._session.request(request)
            if response.HasField("transaction"):
                return response.transaction
            error = error_of(response.error)
            if not isinstance(error, Overloaded | Unavailable):
                raise error
            attempt += 1
            limit = RETRY_SECONDS_FIRST * 2 ** min(attempt, 10)
            jitter = random.uniform(0, min(limit, RETRY_SECONDS_MAX))  # noqa: S311
            await asyncio.sleep((error.retry_after_seconds or 0.0) + jitter)


def _ignore(future: "asyncio.Future[Response]") -> None:
    if not future.cancelled():
        future.exception()
