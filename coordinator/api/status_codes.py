"""The only place where errors become gRPC status codes and wire errors."""

from typing import Any, NoReturn

import grpc

from coordinator import telemetry
from coordinator.core.errors import (
    AlreadyExists,
    CoordinatorError,
    IllegalTransition,
    InvalidRequest,
    InvariantViolated,
    NotFound,
    Overloaded,
    PreconditionFailed,
    Refusal,
    StoreUnavailable,
)
from protos.v1.types_pb2 import Error

log = telemetry.get_logger()

ERROR_METADATA_KEY = "tercet-error-bin"
"""Trailing metadata of a failed RPC: a serialised ``tercet.v1.Error``."""

STATUS_CODES: dict[type[CoordinatorError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    PreconditionFailed: grpc.StatusCode.FAILED_PRECONDITION,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    IllegalTransition: grpc.StatusCode.INTERNAL,
    InvariantViolated: grpc.StatusCode.INTERNAL,
}

_RETRY_AFTER_MS: dict[type[CoordinatorError], int] = {
    # What passes within less is a stall, and refuses nobody (core/admission.py).
    Overloaded: 1_000,
    StoreUnavailable: 1_000,
}

_CODE_BY_NUMBER: dict[int, grpc.StatusCode] = {
    code.value[0]: code for code in grpc.StatusCode
}

# HTTP/2 peers refuse header blocks above 8 to 16 KiB, and the message travels in it
# twice: percent-encoded as the status' text and inside the binary error.
_MESSAGE_BYTES_MAX = 3_000
_DETAILS_BYTES_MAX = 600

INTERNAL_MESSAGE = (
    "The coordinator met an error of its own; its log has the details. "
    "Ask again; if it stays, report it."
)


def error_of(problem: Exception) -> Error:
    """The wire's form of an error.

    Whatever is no :class:`CoordinatorError` is a bug: it is logged here, once, and
    the caller learns nothing of its insides.
    """
    for kind in type(problem).__mro__:
        code = STATUS_CODES.get(kind)
        if code is not None:
            break
    else:
        log.error(telemetry.REQUEST_FAILED, exc_info=problem)
        return _internal("INTERNAL")
    assert isinstance(problem, CoordinatorError)  # noqa: S101 - the table's keys say so
    if code is grpc.StatusCode.INTERNAL:
        return _internal(problem.reason)
    refused = problem if isinstance(problem, Refusal) else None
    return Error(
        status=code.value[0],
        reason=refused.detail_reason if refused else problem.reason,
        message=_cut(str(problem), _MESSAGE_BYTES_MAX),
        field=refused.field if refused else "",
        retry_after_ms=_RETRY_AFTER_MS.get(kind, 0),
    )


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Error) -> NoReturn:
    """End an RPC with this error, also in its trailing metadata.

    gRPC keeps the exception that it ends the RPC with, and that keeps the frames which
    it passed, in a circle with the RPC itself. Whoever calls this drops what is large
    first, or it stays until the collector of garbage comes, which is rarely: refused
    requests of 200 KiB held 200 MiB more than was asked for.
    """
    await context.abort(
        _CODE_BY_NUMBER.get(error.status, grpc.StatusCode.INTERNAL),
        _cut(error.message, _DETAILS_BYTES_MAX),
        ((ERROR_METADATA_KEY, error.SerializeToString()),),
    )


def _internal(reason: str) -> Error:
    return Error(
        status=grpc.StatusCode.INTERNAL.value[0],
        reason=reason,
        message=INTERNAL_MESSAGE,
    )


def _cut(text: str, bytes_max: int) -> str:
    data = text.encode(errors="replace")
    if len(data) <= bytes_max:
        return text
    return data[:bytes_max].decode(errors="ignore") + "…"
