"""Who begins the transactions: it outlives every coordinator, and asks again."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from participant_sdk import Client, Unavailable
from participant_sdk.session import CHANNEL_OPTIONS
from protos.v1 import admin_pb2, types_pb2
from protos.v1.coordinator_pb2 import (
    GetRequest,
    SignalSagaRequest,
    TransactionReply,
)

T = TypeVar("T")

WHO_AND_WHY = {"actor": "walk", "reason": "because"}


@dataclass(frozen=True, slots=True)
class Initiator:
    """A client's session, and an operator beside it.

    Attributes:
        target: where the coordinator listens.
    """

    client: Client
    target: str

    async def operate(
        self, action: Literal["Retry", "Pause", "Resume"], gid: str
    ) -> None:
        """Act on a transaction as an operator, asking until it is answered."""
        request = admin_pb2.OperatorRequest(gid=gid, **WHO_AND_WHY)
        await self._order(f"Admin/{action}Transaction", request)

    async def resolve(self, gid: str, branch_id: str) -> None:
        """Settle a branch by hand, asking until it is answered.

        Who was not told that it was settled learns that the transaction has ended.
        """
        request = admin_pb2.ResolveBranchRequest(
            gid=gid, branch_id=branch_id, **WHO_AND_WHY
        )
        await self._order("Admin/ResolveBranch", request, may_have_ended=True)

    async def publish(self, text: str) -> None:
        """Publish a saga, asking until it is answered."""
        while True:
            try:
                await self.client.publish_saga(text)
            except Unavailable:
                continue
            return

    async def register(self, name: str) -> None:
        """Register an action as an administrator, asking until it is answered."""
        operation = types_pb2.Operation(name=name, kind=types_pb2.OPERATION_ACTION)
        request = admin_pb2.RegisterOperationRequest(operation=operation, **WHO_AND_WHY)
        await self._catalogue("RegisterOperation", request)

    async def remove(self, name: str) -> None:
        """Take it out of the catalogue, asking until it is answered.

        Who was not told that it was removed learns that it is not there.
        """
        request = admin_pb2.RemoveOperationRequest(name=name, **WHO_AND_WHY)
        await self._catalogue("RemoveOperation", request)

    async def turned(self, gid: str) -> None:
        """Return when the saga is being compensated."""
        await self._until(gid, lambda tx: tx.status == types_pb2.COMPENSATING)

    async def noticed(self, gid: str) -> None:
        """Return when the transaction needs a person."""
        await self._until(gid, lambda tx: bool(tx.attention_since_ms))

    async def signal(self, gid: str, name: str) -> None:
        """Send a signal, asking until it is answered.

        Who was not told that it came learns that nothing waits for it any more.
        """
        request = SignalSagaRequest(gid=gid, name=name)
        await self._order("Coordinator/SignalSaga", request, may_have_ended=True)

    async def _until(
        self, gid: str, is_so: Callable[[types_pb2.Transaction], bool]
    ) -> None:
        async def watch(channel: grpc.aio.Channel) -> None:
            states = channel.unary_stream(
                "/tercet.v1.Coordinator/Watch",
                request_serializer=GetRequest.SerializeToString,
                response_deserializer=TransactionReply.FromString,
            )(GetRequest(gid=gid), wait_for_ready=True)
            async for state in states:
                if is_so(state.transaction):
                    return

        await self._until_answered(watch)

    async def _order(
        self, method: str, request: Message, *, may_have_ended: bool = False
    ) -> None:
        async def ask(channel: grpc.aio.Channel) -> None:
            order = channel.unary_unary(
                f"/tercet.v1.{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=TransactionReply.FromString,
            )
            try:
                await order(request, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                has_ended = error.code() is grpc.StatusCode.FAILED_PRECONDITION
                if not (may_have_ended and has_ended):
                    raise

        await self._until_answered(ask)

    async def _catalogue(self, method: str, request: Message) -> None:
        async def ask(channel: grpc.aio.Channel) -> None:
            call = channel.unary_unary(
                f"/tercet.v1.Catalogue/{method}",
                request_serializer=type(request).SerializeToString,
            )
            try:
                await call(request, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise

        await self._until_answered(ask)

    async def _until_answered(
        self, ask: Callable[[grpc.aio.Channel], Awaitable[None]]
    ) -> None:
        while True:
            async with grpc.aio.insecure_channel(
                self.target, options=CHANNEL_OPTIONS
            ) as channel:
                try:
                    await ask(channel)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                else:
                    return
