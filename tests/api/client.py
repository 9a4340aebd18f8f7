"""What talks to the server in tests."""

import asyncio

import grpc
import pytest

from coordinator.api import status_codes
from protos.v1 import coordinator_pb2, coordinator_pb2_grpc, participant_pb2, types_pb2


class Client:
    """One open session; gathers server frames as they come."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = coordinator_pb2_grpc.CoordinatorStub(channel).Session()
        self.welcome: coordinator_pb2.Welcome | None = None
        self.calls: list[participant_pb2.BranchCall] = []
        self.responses: dict[int, coordinator_pb2.Response] = {}
        self.is_told_to_leave = False
        self.told_peers: list[list[str]] = []
        self.frames = 0

    async def hello(self, **fields) -> coordinator_pb2.Welcome:
        await self.send(hello=coordinator_pb2.Hello(client="test", **fields))
        await self.until(lambda: self.welcome)
        return self.welcome

    async def send(self, **fields) -> None:
        await self.call.write(coordinator_pb2.ClientFrame(**fields))

    async def ask(self, request_id: int, **request) -> coordinator_pb2.Response:
        await self.send(requests=[coordinator_pb2.Request(id=request_id, **request)])
        await self.until(lambda: request_id in self.responses)
        return self.responses.pop(request_id)

    async def until(self, is_there) -> None:
        while not is_there():
            frame = await self.call.read()
            assert frame is not grpc.aio.EOF, "the server ended the session"
            self.frames += 1
            if frame.HasField("welcome"):
                self.welcome = frame.welcome
            self.calls.extend(frame.calls)
            self.responses.update((r.id, r) for r in frame.responses)
            self.is_told_to_leave |= frame.draining
            self.told_peers.extend(list(peers.addresses) for peers in frame.peers)

    async def ended(self) -> None:
        """The server has ended the session, too."""
        while await self.call.read() is not grpc.aio.EOF:
            self.frames += 1

    async def refusal(self) -> tuple[grpc.StatusCode, types_pb2.Error]:
        """How the server ended the session."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.until(lambda: False)
        metadata = dict(caught.value.trailing_metadata())
        error = types_pb2.Error.FromString(metadata[status_codes.ERROR_METADATA_KEY])
        return caught.value.code(), error


class Signal:
    """Waits until a condition holds, looked at whenever a fake was used."""

    def __init__(self) -> None:
        self._used = asyncio.Event()

    def __call__(self) -> None:
        self._used.set()

    async def until(self, holds) -> None:
        while not holds():
            self._used.clear()
            await self._used.wait()
