"""Takes calls from nodes that call this participant at its address.

Each RPC is one call. It goes to the same executor as those of a session, and ends with
its reply. A handler goes on when its caller stops waiting, as those do that a session
started: its work is recorded, and the next attempt gets the answer.

Any number of nodes may call, and none of them knows what the others have called, or
what still runs after its time. So the number of calls that run here has a bound of its
own. An RPC beyond it fails; for the coordinator that is an unknown outcome, and it asks
again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from participant_sdk.errors import PreconditionFailed
from participant_sdk.log import log
from participant_sdk.push.listener import Listener
from participant_sdk.session import OnCalls
from protos import call_token
from protos.call_token import BadToken, Claims
from protos.v1.participant_pb2 import (
    BranchCall,
    BranchReply,
    DescribeReply,
    DescribeRequest,
)

CALLS_MAX = 4_096
"""Calls that run, of all nodes: eight nodes with the credits of a session each."""

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""As of a session's frames: larger than any call of a node with its limits as they come
by themselves or a little higher."""

TOLD_EVERY_SECONDS = 10.0
"""Who tries tokens does not fill the log."""

SERVICE = "tercet.v1.Participant"

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_Act: TypeAlias = Callable[[bytes, _Context], Awaitable[bytes]]


class _Refused(Exception):
    """An RPC that is not carried out."""

    def __init__(self, code: grpc.StatusCode, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    # Two processes on one port would share its calls without knowing it.
    ("grpc.so_reuseport", 0),
    # Nodes ask every 15 s whether anybody is there.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class PushServer:
    """Serves calls at one address, from ``start`` to ``stop``.

    Args:
        listener: where; ``None`` = nowhere, then ``start`` does nothing.
        describe: what nodes are told of this participant.
        on_calls: gets each call, alone, and where to put its reply.
    """

    def __init__(
        self,
        listener: Listener | None,
        describe: Callable[[], DescribeReply],
        *,
        on_calls: OnCalls,
    ) -> None:
        self._listener = listener
        self._describe = describe
        self._on_calls = on_calls
        self._secrets = listener.secrets() if listener else ()
        self._credentials = listener.credentials() if listener else None
        self._name = describe().participant
        self._calls_open = 0
        self._told_at: float | None = None
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Serve; the address that was taken, where the port may have been 0.

        Raises:
            PreconditionFailed: it cannot be taken.
        """
        if self._listener is None:
            return ""
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((self._handlers(),))
        address = self._listener.address
        try:
            if self._credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, self._credentials)
        except RuntimeError:
            raise PreconditionFailed(
                f"cannot listen on {address}: it is in use or not of this machine, or "
                "certificate and key do not belong together",
                field="listen",
            ) from None
        await server.start()
        self._server = server
        taken = f"{address.rpartition(':')[0]}:{port}"
        log().info("push_listening", name=self._name, address=taken)
        return taken

    async def stop(self, grace_seconds: float) -> None:
        """Take no further call; return when those that run have their replies, or after
        so many seconds. Harmless without ``start``.
        """
        if self._server is not None:
            await self._server.stop(grace_seconds)

    def _handlers(self) -> grpc.GenericRpcHandler:
        # Requests and replies stay bytes here: tokens are made of the bytes.
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(partial(_answered, act))
                for name, act in (
                    ("Describe", self._on_describe),
                    ("Execute", self._on_execute),
                )
            },
        )

    async def _on_describe(self, body: bytes, context: _Context) -> bytes:
        _parsed(DescribeRequest, body)
        if self._secrets:
            self._check(call_token.to_describe(self._name), body, context)
        return self._describe().SerializeToString()

    async def _on_execute(self, body: bytes, context: _Context) -> bytes:
        call = _parsed(BranchCall, body)
        if self._secrets:
            self._check(call_token.to_execute(self._name, call), body, context)
        if self._calls_open >= CALLS_MAX:
            raise _Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{CALLS_MAX} calls run here, as many as may",
            )
        self._calls_open += 1
        replied: asyncio.Future[BranchReply]
        replied = asyncio.get_running_loop().create_future()
        self._on_calls((call,), partial(self._give, replied))
        reply = await replied
        return reply.SerializeToString()

    def _give(
        self, replied: "asyncio.Future[BranchReply]", replies: list[BranchReply]
    ) -> None:
        self._calls_open -= 1
        if not replied.done():  # its caller may have stopped waiting
            replied.set_result(replies[0])

    def _check(self, claims: Claims, body: bytes, context: _Context) -> None:
        """Refuse it unless its token allows it."""
        now_ms = time.time_ns() // 1_000_000
        try:
            call_token.check(
                self._secrets, _token_of(context), claims, body, now_ms=now_ms
            )
        except BadToken as problem:
            now = time.monotonic()
            why = str(problem)
            if self._told_at is None or now - self._told_at >= TOLD_EVERY_SECONDS:
                self._told_at = now
                log().warning("push_call_refused", peer=context.peer(), why=why)
            raise _Refused(grpc.StatusCode.UNAUTHENTICATED, why) from None


async def _answered(act: _Act, body: bytes, context: _Context) -> bytes:
    """What ``act`` answers; the RPC is ended where it refuses."""
    try:
        return await act(body, context)
    except _Refused as refused:
        code, why = refused.code, refused.why
    # gRPC keeps the frames that an RPC's end passes until the collector of garbage
    # comes, so nothing large may stand in them.
    del body
    return await context.abort(code, why)


def _token_of(context: _Context) -> bytes | None:
    for key, value in context.invocation_metadata() or ():
        if key == call_token.METADATA_KEY and isinstance(value, bytes):
            return value
    return None


def _parsed(kind: Any, body: bytes) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError:
        raise _Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"the message is no {kind.DESCRIPTOR.full_name}",
        ) from None
