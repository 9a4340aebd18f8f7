"""The session stream: requests, calls and their answers in batches, both ways.

One task reads, one writes, and no item has a task or a future of its own. What the
engine and the dispatcher hand over waits as ready-made bytes in an outbox; the writer
takes all that has gathered while its last frame was on its way, so frames grow with
the load by themselves.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from coordinator import telemetry
from coordinator.api import checks
from coordinator.api.announcement import announce
from coordinator.api.catalogue import Catalogue
from coordinator.api.convert.participants import outcome_of
from coordinator.api.engine_port import Dispatcher, Ticket
from coordinator.api.handlers import ANSWERED, Answer, Handlers, TurnedAway
from coordinator.api.items import Responses, SameError, call_items
from coordinator.api.limits import Limits
from coordinator.api.peers import Peers
from coordinator.api.status_codes import error_of
from coordinator.core.actions import CallBranch
from coordinator.core.errors import (
    InvalidRequest,
    Overloaded,
    PreconditionFailed,
    Refusal,
)
from coordinator.ports import Clock
from protos.v1.coordinator_pb2 import ClientFrame, Hello, Request, ServerFrame

log = telemetry.get_logger()

HELLO_EXPECTED = "HELLO_EXPECTED"
REQUEST_CREDITS_EXCEEDED = "REQUEST_CREDITS_EXCEEDED"
BEGINNINGS = frozenset({"begin", "submit_saga"})
"""Requests that would begin a transaction."""

Write = Callable[[bytes], Awaitable[None]]


class Outbox:
    """Serialised items that wait to be written, and the frames they become."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes_max = limits.outbox_bytes_max
        self._items: deque[bytes] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_last = False

    def put(self, item: bytes) -> None:
        """Add an item; never blocks."""
        if not self._items:  # or the writer takes it with those before
            self._filled.set()
        self._items.append(item)
        self._size += len(item)
        if self._size > self._bytes_max:
            self._has_room.clear()

    def put_all(self, items: Sequence[bytes]) -> None:
        """Add many items; never blocks."""
        self._items.extend(items)
        self._size += sum(map(len, items))
        if self._size > self._bytes_max:
            self._has_room.clear()
        self._filled.set()

    def finish(self) -> None:
        """Nothing will be added any more."""
        self._is_last = True
        self._filled.set()

    async def room(self) -> None:
        """Wait until the other side has read most of what waits for it."""
        await self._has_room.wait()

    async def write_all(self, write: Write) -> None:
        """Write frames until :meth:`finish` was called and all is written."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._items:
                await write(self._take())
            if self._is_last:
                return

    def _take(self) -> bytes:
        items, limits = self._items, self._limits
        is_one_frame = len(items) <= limits.frame_items_max
        if is_one_frame and self._size <= limits.frame_bytes_max:
            frame = b"".join(items)
            items.clear()
            self._size = 0
            self._has_room.set()
            return frame
        return self._take_some()

    def _take_some(self) -> bytes:
        """As many as one frame carries."""
        items, limits = self._items, self._limits
        frame = [items.popleft()]
        size = len(frame[0])
        while (
            items
            and len(frame) < limits.frame_items_max
            and size + len(items[0]) <= limits.frame_bytes_max
        ):
            frame.append(items.popleft())
            size += len(frame[-1])
        self._size -= size
        if self._size <= limits.outbox_bytes_max:
            self._has_room.set()
        return b"".join(frame)


class Session:
    """One client's stream. For a participant it is also its link."""

    def __init__(
        self,
        *,
        handlers: Handlers,
        dispatcher: Dispatcher,
        catalogue: Catalogue,
        clock: Clock,
        limits: Limits,
        peers: Peers,
        node_id: str,
        version: str,
    ) -> None:
        self._handlers = handlers
        self._dispatcher = dispatcher
        self._catalogue = catalogue
        self._clock = clock
        self._limits = limits
        self._request_max = limits.request_credits
        self._peers = peers
        self._node_id = node_id
        self._version = version
        self._responses = Responses(limits)
        self._outbox = Outbox(limits)
        self._no_room: SameError | None = None
        """What the frame that is being read has been told of new transactions."""
        self._open: dict[int, Ticket] = {}
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self._participant = ""
        self._is_greeted = False
        self._is_draining = False

    async def run(self, frames: AsyncIterator[bytes], write: Write) -> None:
        """Serve the stream until the client has ended it and has all its answers.

        Raises a ``Refusal`` or ``StoreUnavailable`` when the stream as a whole is
        refused. Returns also when the connection broke.
        """
        writer = asyncio.ensure_future(self._outbox.write_all(write))
        reader = asyncio.ensure_future(self._read(frames))
        try:
            await _first_of(reader, writer)
            if reader.done():
                await reader
                self._leave()
                await self._rest_is_written(writer)
            elif not writer.cancelled():
                # Writing ends before reading only because the client is gone.
                log.info(
                    telemetry.SESSION_BROKEN, error=type(writer.exception()).__name__
                )
        finally:
            self._leave()
            for ticket in self._open.values():
                ticket.cancel()
            self._open.clear()
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    def send(self, calls: Sequence[tuple[int, CallBranch]]) -> None:
        """Hand calls to the participant (:class:`coordinator.ports.Link`)."""
        self._outbox.put_all(call_items(calls))

    def drain(self) -> None:
        """Tell the client that this node is about to leave."""
        self._is_draining = True
        if self._is_greeted:
            if self._participant:
                self._dispatcher.drain(self)
            self._outbox.put(ServerFrame(draining=True).SerializeToString())

    # ---- Reading -------------------------------------------------------------------

    async def _read(self, frames: AsyncIterator[bytes]) -> None:
        frame = await self._first(frames)
        if frame is None:
            return
        await self._greet(frame.hello)
        self._take(frame)
        async for data in frames:
            frame = _parsed(data)
            if frame.HasField("hello"):
                raise PreconditionFailed(
                    "hello: expected in the first frame only. Open another session "
                    "to introduce yourself again.",
                    field="hello",
                    reason="HELLO_REPEATED",
                )
            self._take(frame)
            await self._outbox.room()

    async def _first(self, frames: AsyncIterator[bytes]) -> ClientFrame | None:
        loop = asyncio.get_running_loop()
        first = asyncio.ensure_future(anext(frames, None))
        is_late: asyncio.Future[None] = loop.create_future()
        due_at = self._clock.now() + self._limits.hello_timeout_ms
        timer = self._clock.call_at(due_at, partial(_wake, is_late))
        try:
            await _first_of(first, is_late)
            if not first.done():
                raise PreconditionFailed(
                    "hello: expected within "
                    f"{self._limits.hello_timeout_ms} ms. Send it first.",
                    field="hello",
                    reason=HELLO_EXPECTED,
                )
            data = first.result()
        finally:
            timer.cancel()
            first.cancel()
        if data is None:
            return None
        frame = _parsed(data)
        if not frame.HasField("hello"):
            raise PreconditionFailed(
                "hello: expected in the first frame. Send it before anything else.",
                field="hello",
                reason=HELLO_EXPECTED,
            )
        return frame

    async def _greet(self, hello: Hello) -> None:
        limits = self._limits
        checks.text(hello.client, "hello.client", chars_max=128)
        checks.text(hello.sdk_version, "hello.sdk_version", chars_max=128)
        credits_ = checks.between(
            hello.call_credits,
            1,
            limits.call_credits_max,
            "hello.call_credits",
            unset=limits.call_credits_default,
        )
        participant = hello.participant
        if participant:
            await announce(
                participant,
                hello.operations,
                catalogue=self._catalogue,
                limits=limits,
                field="hello",
            )
        elif hello.operations:
            raise InvalidRequest(
                "hello.participant: expected a name with hello.operations. "
                "Name the participant that carries them out.",
                field="hello.participant",
            )
        welcome = {
            "node_id": self._node_id,
            "server_version": self._version,
            "request_credits": limits.request_credits,
            "message_bytes_max": limits.message_bytes_max,
            "payload_bytes_max": limits.payload_bytes_max,
            "address": self._peers.address,
            "peers": self._peers.addresses,
        }
        self._outbox.put(ServerFrame(welcome=welcome).SerializeToString())
        self._peers.listen(self._tell_peers)
        if participant:
            self._dispatcher.attach(participant, self, credits=credits_)
            self._participant = participant
        self._is_greeted = True
        if self._is_draining:
            self.drain()

    def _take(self, frame: ClientFrame) -> None:
        if self._participant:
            if frame.replies:
                limits = self._limits
                outcomes = [(r.call_id, outcome_of(r, limits)) for r in frame.replies]
                self._dispatcher.answered(self, outcomes)
            if frame.draining:
                self._dispatcher.drain(self)
        self._no_room = None
        for request in frame.requests:
            self._take_request(request)

    def _take_request(self, request: Request) -> None:
        request_id = request.id
        kind = request.WhichOneof("request")
        waiting = self._open
        if request_id in waiting or kind is None or len(waiting) >= self._request_max:
            self._refuse(request_id, self._problem_with(request_id, kind))
            return
        if self._no_room is not None and kind in BEGINNINGS:
            self._outbox.put(self._no_room.item(request_id))
            return
        if not waiting:
            self._all_answered.clear()
        waiting[request_id] = ANSWERED
        ticket = self._handlers.handle(
            getattr(request, kind), partial(self._answer, request_id)
        )
        if request_id in waiting:
            waiting[request_id] = ticket
        elif isinstance(ticket, TurnedAway):
            self._no_room = SameError(ticket.error)

    def _problem_with(self, request_id: int, kind: str | None) -> Refusal:
        """Why a request is not even looked at."""
        if request_id in self._open:
            return InvalidRequest(
                "id: expected one that is not waiting for its answer. "
                "Count up within a session.",
                field="id",
            )
        if kind is None:
            return InvalidRequest(
                "request: expected one of the requests in it. Set it, or connect "
                "to a node that knows the kind that was sent.",
                field="request",
            )
        return Overloaded(
            f"This session has {len(self._open)} unanswered requests, as many "
            "as Welcome.request_credits allows. Wait for answers first.",
            reason=REQUEST_CREDITS_EXCEEDED,
        )

    # ---- Answering -----------------------------------------------------------------

    def _answer(self, request_id: int, answer: Answer) -> None:
        if self._open.pop(request_id, None) is None:
            return
        try:
            item = self._responses.item(request_id, answer)
        except Exception as problem:  # noqa: BLE001 - the request's edge
            item = self._responses.item(request_id, error_of(problem))
        self._outbox.put(item)
        if not self._open:
            self._all_answered.set()

    def _refuse(self, request_id: int, problem: Refusal) -> None:
        self._outbox.put(self._responses.item(request_id, error_of(problem)))

    # ---- The end -------------------------------------------------------------------

    async def _rest_is_written(self, writer: asyncio.Future[None]) -> None:
        answered = asyncio.ensure_future(self._all_answered.wait())
        try:
            await _first_of(answered, writer)
        finally:
            answered.cancel()
        self._outbox.finish()
        await asyncio.wait({writer})

    def _tell_peers(self) -> None:
        peers = {"addresses": self._peers.addresses}
        self._outbox.put(ServerFrame(peers=(peers,)).SerializeToString())

    def _leave(self) -> None:
        self._peers.forget(self._tell_peers)
        if self._participant:
            self._dispatcher.detach(self)
            self._participant = ""


def _parsed(data: bytes) -> ClientFrame:
    try:
        return ClientFrame.FromString(data)
    except DecodeError:
        raise InvalidRequest(
            "The message is no tercet.v1.ClientFrame. "
            "Use the protocol of this release.",
            reason="MALFORMED_MESSAGE",
        ) from None


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
