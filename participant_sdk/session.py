"""One session with a coordinator: a stream in both directions, for as long as wanted.

Everything that waits goes out in one frame; everything that comes in is handed on
per frame. There is no task per item. The stream may break at any time: requests
without an answer are sent again on the next one (every request is idempotent),
replies to calls are dropped with the stream that the calls came on, because the
coordinator asks again and gets the recorded answer.

A node that leaves says so. Then the next connection is made while the old one still
brings answers; what it has not answered by the time that the next one stands goes out
there.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from time import monotonic
from typing import TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message

from participant_sdk.errors import Overloaded, Unavailable
from participant_sdk.log import log
from participant_sdk.pace import Pace
from participant_sdk.targets import Targets, targets_of
from participant_sdk.throttle import Throttle
from participant_sdk.waiting import RETRY_SECONDS, Sized, Waiting, begins
from protos.v1.coordinator_pb2 import (
    ClientFrame,
    Hello,
    Request,
    Response,
    ServerFrame,
    Welcome,
)
from protos.v1.participant_pb2 import BranchCall, BranchReply
from protos.v1.types_pb2 import Error

SDK_VERSION = version("tercet")

FRAME_BYTES_MAX = 512 * 1024
"""Of a frame's items; with the largest single item still below 1 MiB."""
FRAME_ITEMS_MAX = 4_096
BACKOFF_SECONDS_FIRST = 0.05
BACKOFF_SECONDS_MAX = 2.0
CREDITS_DEFAULT = 256
"""Where the welcome does not say how many requests may be unanswered."""
FINISH_SECONDS_MAX = 1.0
DRAIN_SECONDS_MAX = 10.0
"""After a node said that it leaves, until we leave it."""

CHANNEL_OPTIONS = (
    # A pool of its own per channel: a new channel means a new connection attempt.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A half-open connection is noticed within 20 s.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)

ERROR_METADATA_KEY = "tercet-error-bin"

_Call: TypeAlias = "grpc.aio.StreamStreamCall[Message, ServerFrame]"
OnCalls = Callable[[Iterable[BranchCall], Callable[[list[BranchReply]], None]], None]


@dataclass(frozen=True, slots=True)
class NodeView:
    """The node that a session is connected with, and what it tells of the others.

    Attributes:
        address: as others are told it; where it does not say, how it was reached.
        peers: the addresses of the other live nodes.
    """

    address: str
    peers: tuple[str, ...]


class _Stream:
    """One connection: its outbound side, and what it owes us."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.wake = asyncio.Event()
        self.wake.set()
        self.in_flight: dict[int, Sized] = {}
        self.replies: deque[BranchReply] = deque()
        self.calls_open = 0
        self.welcomed = False
        self.credits = 0
        self.server_drains = False
        self.drain_told = False
        self.is_handed_over = False
        """What it has not answered is asked on the next one."""
        self.is_ending = asyncio.Event()
        """It has ended, or its node is about to leave: time for the next one."""

    @property
    def owed(self) -> int:
        """Answers and replies that are still to come, whatever waits here."""
        return len(self.in_flight) + self.calls_open

    def reply(self, replies: list[BranchReply]) -> None:
        """Queue answers; on a stream that is gone they go nowhere."""
        self.calls_open -= len(replies)
        self.replies.extend(replies)
        self.wake.set()


class Session:
    """Requests out and responses in, calls in and replies out; reconnects by itself.

    Args:
        target: ``host:port``, or several of them: tried in turn, and so are the nodes
            that the connected one tells of.
        hello: made anew for every connection.
        on_calls: gets each frame's calls and where to put their replies.
        on_welcome: called after every connection.
        on_view: called whenever ``view`` has changed.
        roams: whether it goes to other nodes than the configured ones.

    Attributes:
        view: of the node that it is connected with; ``None`` while there is none.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        hello: Callable[[], Hello],
        *,
        on_calls: OnCalls | None = None,
        on_welcome: Callable[[], None] | None = None,
        on_view: Callable[[], None] | None = None,
        roams: bool = True,
    ) -> None:
        self._targets = Targets(targets_of(target))
        self._roams = roams
        self._on_view = on_view
        self.view: NodeView | None = None
        self._hello = hello
        self._on_calls = on_calls
        self._on_welcome = on_welcome
        self._next_id = 0
        self._waiting = Waiting()
        self._throttle = Throttle()
        self._futures: dict[int, asyncio.Future[Response]] = {}
        self._stream: _Stream | None = None
        self._serving: dict[_Stream, asyncio.Task[None]] = {}
        self._draining = False
        self._finishing = False
        self._closed = False
        self._refusal = ""
        self._runner: asyncio.Task[None] | None = None

    def request(self, request: Request) -> "asyncio.Future[Response]":
        """Send ``request``; its answer, through as many connections as it takes.

        Cancel the future to stop waiting; the request may have been sent by then.

        Raises:
            Unavailable: the session is closed.
            Overloaded: too many wait already, or the node refuses so many that it is
                spared this one; it would begin a transaction, and was not sent.
        """
        if self._closed:
            raise Unavailable("the session is closed: open a new one with connect()")
        self._next_id += 1
        request.id = self._next_id
        if self._throttle.is_on:
            self._spare_the_node(request)
        self._waiting.add(request)
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._futures[request.id] = future
        self._wake()
        return future

    def _spare_the_node(self, request: Request) -> None:
        """Refuse what it would most likely refuse (``participant_sdk.throttle``)."""
        if begins(request) and not self._throttle.admits(monotonic()):
            raise Overloaded(
                "the coordinator refuses new transactions for overload, and this one"
                " was not sent: begin fewer at a time, or ask again later",
                retry_after_seconds=RETRY_SECONDS,
            )

    def start(self) -> None:
        """Connect, and keep a connection open until ``finish`` or ``close``."""
        self._runner = asyncio.create_task(self._run())

    def drain(self) -> None:
        """Tell the coordinator to send no further calls."""
        self._draining = True
        self._wake()

    async def finish(self, seconds: float = FINISH_SECONDS_MAX) -> None:
        """Send what is queued, part in peace as far as that works, and close."""
        self._finishing = True
        self._wake()
        if self._runner is not None and self._serving:
            await asyncio.wait({self._runner}, timeout=seconds)
        await self.close()

    async def close(self) -> None:
        """End the connection; requests without an answer fail as unavailable."""
        self._finishing = self._closed = True
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})
        for future in self._futures.values():
            if not future.done():
                future.set_exception(Unavailable("the session was closed meanwhile"))
                # Nobody may be waiting any more; that is no error.
                future.exception()
        self._futures.clear()
        self._waiting.clear()

    async def _run(self) -> None:
        failures = 0
        try:
            while True:
                stream = _Stream(self._targets.next())
                serving = asyncio.create_task(self._serve(stream))
                self._serving[stream] = serving
                await stream.is_ending.wait()
                if self._finishing:
                    break
                failures = 1 if stream.welcomed else failures + 1
                await asyncio.sleep(pause_seconds(failures))
            if self._serving:
                await asyncio.wait({*self._serving.values()})
        finally:
            for serving in self._serving.values():
                serving.cancel()
            if self._serving:
                await asyncio.wait({*self._serving.values()})

    # ---- one connection ----------------------------------------------------------

    async def _serve(self, stream: _Stream) -> None:
        """Serve one connection until it ends."""
        try:
            async with grpc.aio.insecure_channel(
                stream.target, options=CHANNEL_OPTIONS
            ) as channel:
                call = channel.stream_stream(
                    "/tercet.v1.Coordinator/Session",
                    request_serializer=ClientFrame.SerializeToString,
                    response_deserializer=ServerFrame.FromString,
                )()
                await self._exchange(call, stream)
        finally:
            del self._serving[stream]
            self._take_back(stream)
            self._turn_from(stream)

    async def _exchange(self, call: _Call, stream: _Stream) -> None:
        writer = asyncio.create_task(self._write(call, stream))
        try:
            await self._read(call, stream)
        except grpc.aio.AioRpcError as error:
            self._tell(stream.target, error)
        finally:
            writer.cancel()
            await asyncio.wait({writer})
            call.cancel()

    def _tell(self, target: str, error: grpc.aio.AioRpcError) -> None:
        """Log why a connection ended; a refusal, as a warning, until it is another."""
        told = told_error(error)
        if told is None:
            log().info("session_ended", target=target, status=error.code().name)
        elif told.message != self._refusal:
            self._refusal = told.message
            log().warning(
                "session_refused",
                target=target,
                reason=told.reason,
                field=told.field,
                text=told.message,
            )

    def _wake(self) -> None:
        for stream in self._serving:
            stream.wake.set()

    def _take_back(self, stream: _Stream) -> None:
        """What was not answered goes out again on the next connection, in order."""
        if stream.in_flight:
            self._waiting.put_back(stream.in_flight.values())
            stream.in_flight.clear()
            self._wake()

    def _turn_to(self, stream: _Stream, view: NodeView) -> None:
        """This is the node that we are connected with, and what it tells."""
        self._stream, self.view = stream, view
        if self._roams:
            self._targets.told(view.peers)
        if self._on_view is not None:
            self._on_view()

    def _turn_from(self, stream: _Stream) -> None:
        """Its node is gone, or about to go."""
        stream.is_ending.set()
        if self._stream is stream:
            self._stream = self.view = None
            if self._on_view is not None:
                self._on_view()

    async def _read(self, call: _Call, stream: _Stream) -> None:
        while True:
            frame = await call.read()
            if not isinstance(frame, ServerFrame):
                return  # the server has ended the stream
            if frame.HasField("welcome"):
                self._welcomed(stream, frame.welcome)
            if frame.peers and self.view is not None and self._stream is stream:
                peers = tuple(frame.peers[-1].addresses)
                self._turn_to(stream, NodeView(self.view.address, peers))
            for response in frame.responses:
                self._answered(stream, response)
            if frame.calls and self._on_calls is not None:
                stream.calls_open += len(frame.calls)
                self._on_calls(frame.calls, stream.reply)
            if frame.draining and not stream.server_drains:
                stream.server_drains = True
                asyncio.get_running_loop().call_later(DRAIN_SECONDS_MAX, call.cancel)
                self._turn_from(stream)
            stream.wake.set()

    def _welcomed(self, stream: _Stream, welcome: Welcome) -> None:
        stream.welcomed = True
        self._throttle = Throttle()  # another node, or the same one with a new life
        stream.credits = welcome.request_credits or CREDITS_DEFAULT
        for former in self._serving:
            if former is not stream:
                self._take_back(former)
                former.is_handed_over = True
                former.wake.set()
        address = welcome.address or stream.target
        self._turn_to(stream, NodeView(address, tuple(welcome.peers)))
        if self._on_welcome is not None:
            self._on_welcome()

    def _answered(self, stream: _Stream, response: Response) -> None:
        sized = stream.in_flight.pop(response.id, None)
        if sized is not None and response.HasField("error"):
            self._heed(response, sized.request)
        future = self._futures.pop(response.id, None)
        if future is not None and not future.done():
            future.set_result(response)

    def _heed(self, response: Response, request: Request) -> None:
        """A node that has no room for this one is spared some of the next ones."""
        if response.error.reason == Overloaded.default_reason and begins(request):
            self._throttle.refused(response.id, monotonic())

    async def _write(self, call: _Call, stream: _Stream) -> None:
        pace, time = Pace(), asyncio.get_running_loop().time
        try:
            await call.write(ClientFrame(hello=self._hello()))
            while True:
                await stream.wake.wait()
                # Let everybody who is about to say something say it first.
                await asyncio.sleep(0)
                if pause := pace.pause(self._sendable(stream), stream.owed, time()):
                    await asyncio.sleep(pause)
                stream.wake.clear()
                while (frame := self._next_frame(stream)) is not None:
                    pace.sent(time())
                    await call.write(frame)
                if self._is_over(stream):
                    if stream.is_handed_over:
                        call.cancel()  # or the node would wait for its answers
                    else:
                        await call.done_writing()
                    return
        except grpc.aio.AioRpcError:
            return  # the reader sees the same, and says so

    def _is_over(self, stream: _Stream) -> bool:
        if stream.in_flight or stream.calls_open or stream.replies:
            return False
        return stream.server_drains or (self._finishing and not self._waiting)

    def _sendable(self, stream: _Stream) -> int:
        """How many replies and requests may go out now."""
        credits_ = stream.credits - len(stream.in_flight)
        return len(stream.replies) + min(len(self._waiting), credits_)

    def _next_frame(self, stream: _Stream) -> ClientFrame | None:
        """As much of what waits as one frame carries; ``None`` without anything."""
        frame, throttle = ClientFrame(), self._throttle
        size = items = 0
        while stream.replies and size < FRAME_BYTES_MAX and items < FRAME_ITEMS_MAX:
            reply = stream.replies.popleft()
            frame.replies.append(reply)
            size += reply.ByteSize()
            items += 1
        while (
            self._waiting
            and not stream.server_drains
            and len(stream.in_flight) < stream.credits
            and size < FRAME_BYTES_MAX
            and items < FRAME_ITEMS_MAX
        ):
            sized = self._waiting.take()
            request = sized.request
            future = self._futures.get(request.id)
            if future is None or future.cancelled():
                self._futures.pop(request.id, None)
                continue
            stream.in_flight[request.id] = sized
            if throttle.is_on and begins(request):
                throttle.sent(request.id, monotonic())
            frame.requests.append(request)
            size += sized.size
            items += 1
        if self._draining and not stream.drain_told:
            frame.draining = stream.drain_told = True
            items += 1
        return frame if items else None


def pause_seconds(failures: int) -> float:
    """Full jitter: clients of a node that died do not come back at once."""
    limit = BACKOFF_SECONDS_FIRST * 2 ** min(failures, 10)
    return random.uniform(0, min(limit, BACKOFF_SECONDS_MAX))  # noqa: S311


def told_error(error: grpc.aio.AioRpcError) -> Error | None:
    """What the coordinator itself says about a failure, if it says anything."""
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_METADATA_KEY and isinstance(value, bytes):
            return Error.FromString(value)
    return None
