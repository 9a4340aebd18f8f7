"""A coordinator that does what a test tells it, over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc.aio

from examples.ports import find_free_port
from protos.v1 import types_pb2
from protos.v1.admin_pb2 import PublishSagaRequest, SagaDefinition
from protos.v1.admin_pb2_grpc import (
    DefinitionsServicer,
    add_DefinitionsServicer_to_server,
)
from protos.v1.coordinator_pb2 import (
    ClientFrame,
    Hello,
    Peers,
    Request,
    Response,
    ServerFrame,
    Welcome,
)
from protos.v1.coordinator_pb2_grpc import (
    CoordinatorServicer,
    add_CoordinatorServicer_to_server,
)
from protos.v1.participant_pb2 import BranchCall, BranchReply
from protos.v1.types_pb2 import Error, Transaction

Answer = Callable[[Request], Iterable[Transaction | Error]]


class Attachment:
    """One stream, from the coordinator's side."""

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.replies: asyncio.Queue[BranchReply] = asyncio.Queue()
        self.out: asyncio.Queue[ServerFrame | None] = asyncio.Queue()
        self.told_draining = asyncio.Event()
        self.gone = asyncio.Event()
        self.frames: list[ClientFrame] = []

    def send(self, *calls: BranchCall) -> None:
        """Send calls, in one frame."""
        self.out.put_nowait(ServerFrame(calls=calls))

    async def ask(self, *calls: BranchCall) -> dict[int, BranchReply]:
        """Send calls in one frame and await the reply of each."""
        self.send(*calls)
        replies = [await self.replies.get() for _ in calls]
        return {reply.call_id: reply for reply in replies}

    def tell_peers(self, *addresses: str) -> None:
        """Say which other nodes live now."""
        self.out.put_nowait(ServerFrame(peers=[Peers(addresses=addresses)]))

    def leave(self) -> None:
        """Say that this node is about to leave."""
        self.out.put_nowait(ServerFrame(draining=True))

    def hang_up(self) -> None:
        """End the stream."""
        self.out.put_nowait(None)


class FakeCoordinator(CoordinatorServicer, DefinitionsServicer):
    """Answers requests by ``answer``; what it yields nothing for stays unanswered."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: ()
        self.request_credits = 100
        self.peers: list[str] = []
        self.requests: list[Request] = []
        self.attached: asyncio.Queue[Attachment] = asyncio.Queue()
        self.asked: asyncio.Queue[Request] = asyncio.Queue()
        self.published: list[PublishSagaRequest] = []
        self.publish_error: Error | None = None
        self.hello_error: Error | None = None
        self.refused: asyncio.Queue[Hello] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None
        self.port = find_free_port()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port after a stop."""
        server = grpc.aio.server()
        add_CoordinatorServicer_to_server(self, server)
        add_DefinitionsServicer_to_server(self, server)
        server.add_insecure_port(self.target)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Vanish: streams break at once."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def Session(  # noqa: N802  # the name in the proto
        self, request_iterator: AsyncIterator[ClientFrame], context: Any
    ) -> AsyncIterator[ServerFrame]:
        first = await anext(request_iterator)
        if self.hello_error is not None:
            self.refused.put_nowait(first.hello)
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "details",
                (("tercet-error-bin", self.hello_error.SerializeToString()),),
            )
        attachment = Attachment(first.hello)
        reader = asyncio.create_task(self._read(request_iterator, attachment))
        attachment.out.put_nowait(
            ServerFrame(
                welcome=Welcome(
                    node_id="fake",
                    request_credits=self.request_credits,
                    address=self.target,
                    peers=self.peers,
                )
            )
        )
        self.attached.put_nowait(attachment)
        try:
            while (frame := await attachment.out.get()) is not None:
                yield frame
        finally:
            attachment.gone.set()
            reader.cancel()

    async def _read(
        self, frames: AsyncIterator[ClientFrame], attachment: Attachment
    ) -> None:
        async for frame in frames:
            attachment.frames.append(frame)
            if frame.draining:
                attachment.told_draining.set()
            for reply in frame.replies:
                attachment.replies.put_nowait(reply)
            answers = ServerFrame()
            for request in frame.requests:
                self.requests.append(request)
                self.asked.put_nowait(request)
                for result in self.answer(request):
                    if isinstance(result, Error):
                        answers.responses.append(Response(id=request.id, error=result))
                    else:
                        answers.responses.append(
                            Response(id=request.id, transaction=result)
                        )
            if answers.responses:
                attachment.out.put_nowait(answers)
        attachment.hang_up()

    async def PublishSaga(  # noqa: N802  # the name in the proto
        self, request: PublishSagaRequest, context: Any
    ) -> SagaDefinition:
        self.published.append(request)
        if self.publish_error is not None:
            context.set_trailing_metadata(
                (("tercet-error-bin", self.publish_error.SerializeToString()),)
            )
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, self.publish_error.message
            )
        return SagaDefinition(name="s", version="1", digest="d", text=request.text)


def kind_of(request: Request) -> str:
    """Which request it is, such as ``begin``."""
    kind = request.WhichOneof("request")
    assert kind is not None
    return kind


def transaction(
    gid: str, status: types_pb2.TransactionStatus = types_pb2.TRYING, **fields: Any
) -> Transaction:
    """A transaction as the coordinator shows it."""
    return Transaction(gid=gid, status=status, **fields)
