"""Asks a coordinator over gRPC and turns its "no" into a failure of the command."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

# Must stand before gRPC is loaded: its own log lines would mix with ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf.message import DecodeError

from coordinator.cli.failure import CommandFailed, ExitCode, with_field
from coordinator.config import ClientConfig
from protos.v1 import admin_pb2_grpc, coordinator_pb2, coordinator_pb2_grpc, types_pb2

ERROR_KEY = "tercet-error-bin"
_REPLY_BYTES_MAX = 64 * 1024 * 1024
"""A listing of 1,000 transactions or a long journal is larger than one request."""

RECONNECT_SECONDS = 0.2
"""Between two looks for a node that went away: soon for a person, rare for a node."""

_EXIT_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.INVALID,
    grpc.StatusCode.OUT_OF_RANGE: ExitCode.INVALID,
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: ExitCode.REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: ExitCode.REFUSED,
    grpc.StatusCode.ABORTED: ExitCode.REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.REFUSED,
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.REFUSED,
    grpc.StatusCode.UNAVAILABLE: ExitCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: ExitCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ExitCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: ExitCode.UNAVAILABLE,
}


class Client:
    """One channel to one node, and the stubs of its services."""

    def __init__(self, channel: grpc.Channel, config: ClientConfig) -> None:
        self._config = config
        self.coordinator = _stub(coordinator_pb2_grpc.CoordinatorStub, channel)
        self.definitions = _stub(admin_pb2_grpc.DefinitionsStub, channel)
        self.catalogue = _stub(admin_pb2_grpc.CatalogueStub, channel)
        self.admin = _stub(admin_pb2_grpc.AdminStub, channel)

    def ask(self, method: Callable[..., Any], request: object) -> Any:
        """The answer to one unary request; raises ``CommandFailed``."""
        try:
            return method(request, timeout=self._config.timeout_seconds)
        except grpc.RpcError as error:
            raise self._failure(error) from None

    def watch(
        self, request: coordinator_pb2.GetRequest
    ) -> Iterator[types_pb2.Transaction]:
        """The transaction now and after each change, until it has ended.

        A connection that breaks is made again: a node that is restarted goes on with
        the transaction, and so does this. Raises ``CommandFailed`` when no node
        answers for as long as one answer may take.
        """
        heard_at = time.monotonic()
        while True:
            try:
                for reply in self.coordinator.Watch(request):
                    heard_at = time.monotonic()
                    yield reply.transaction
            except grpc.RpcError as error:
                silence = time.monotonic() - heard_at
                if (
                    error.code() != grpc.StatusCode.UNAVAILABLE
                    or silence > self._config.timeout_seconds
                ):
                    raise self._failure(error) from None
                time.sleep(RECONNECT_SECONDS)
            else:
                return

    def _failure(self, error: grpc.RpcError) -> CommandFailed:
        code = error.code()
        exit_code = _EXIT_CODES.get(code, ExitCode.INTERNAL)
        if (told := _told(error)) is not None:
            reason = f" ({told.reason})" if told.reason else ""
            text = with_field(told.field, told.message)
            return CommandFailed(exit_code, f"{text}{reason}")
        server = self._config.server
        match code:
            case grpc.StatusCode.UNAVAILABLE:
                text = (
                    f"no coordinator answers on {server}; start one with `tercet dev`, "
                    "or name another with --server or TERCET_SERVER"
                )
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                text = (
                    f"no answer from {server} within "
                    f"{self._config.timeout_seconds:g} s; ask again, or give it "
                    "longer with --timeout"
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                text = (
                    f"what answers on {server} does not know this request; expected a "
                    "coordinator of this version"
                )
            case _:
                text = f"{server} answered {code.name}: {error.details()}"
        return CommandFailed(exit_code, text)


@contextmanager
def connected(config: ClientConfig) -> Iterator[Client]:
    """A client of ``config.server``; connects when it is first asked something."""
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", _REPLY_BYTES_MAX),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    with grpc.insecure_channel(config.server, options=options) as channel:
        yield Client(channel, config)


def _stub(make: Callable[..., Any], channel: grpc.Channel) -> Any:
    # The generated classes have no types; this is where that stops.
    return make(channel)


def _told(error: grpc.RpcError) -> types_pb2.Error | None:
    """What the coordinator itself says about the error, if it says anything."""
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata())
    for key, value in metadata or ():
        if key == ERROR_KEY and isinstance(value, bytes):
            try:
                told = types_pb2.Error.FromString(value)
            except DecodeError:
                return None
            return told if told.message else None
    return None
