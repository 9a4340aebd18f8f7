"""The limit program's participant where it is called at an address: an RPC each call.

As bare as gRPC for asyncio allows: a generated stub, and all ends that have
gathered are handed on together.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import grpc.aio

from protos.v1.participant_pb2 import BranchCall, BranchReply
from protos.v1.participant_pb2_grpc import ParticipantStub

_SECONDS_MAX = 30.0


class Pushed:
    """Stands where the stream of a participant that attaches does."""

    def __init__(
        self, address: str, answered: Callable[[Iterable[BranchReply]], None]
    ) -> None:
        self._execute = ParticipantStub(grpc.aio.insecure_channel(address)).Execute
        self._answered = answered
        self._ended: list[Any] = []
        self._collecting: asyncio.Task[None] | None = None

    def put(self, call: BranchCall) -> None:
        """Call the participant; it is waited for if it is not there yet."""
        rpc = self._execute(call, timeout=_SECONDS_MAX, wait_for_ready=True)
        rpc.add_done_callback(self._note_end)

    def _note_end(self, rpc: object) -> None:
        self._ended.append(rpc)
        if self._collecting is None:
            self._collecting = asyncio.ensure_future(self._collect())

    async def _collect(self) -> None:
        while self._ended:
            ended, self._ended = self._ended, []
            self._answered([await rpc for rpc in ended])
        self._collecting = None
