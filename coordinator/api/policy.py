"""Who may call what: one entry for every RPC, and none is served without one."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import grpc

Rpc: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Role(StrEnum):
    """What a caller has to be."""

    ANYONE = "ANYONE"
    INITIATOR = "INITIATOR"
    VIEWER = "VIEWER"
    PUBLISHER = "PUBLISHER"
    OPERATOR = "OPERATOR"
    ADMINISTRATOR = "ADMINISTRATOR"


POLICY: Mapping[str, Role] = {
    "/tercet.v1.Coordinator/Begin": Role.INITIATOR,
    "/tercet.v1.Coordinator/Try": Role.INITIATOR,
    "/tercet.v1.Coordinator/Register": Role.INITIATOR,
    "/tercet.v1.Coordinator/Confirm": Role.INITIATOR,
    "/tercet.v1.Coordinator/Cancel": Role.INITIATOR,
    "/tercet.v1.Coordinator/SubmitSaga": Role.INITIATOR,
    "/tercet.v1.Coordinator/SignalSaga": Role.INITIATOR,
    "/tercet.v1.Coordinator/Get": Role.INITIATOR,
    "/tercet.v1.Coordinator/Watch": Role.INITIATOR,
    "/tercet.v1.Coordinator/List": Role.VIEWER,
    "/tercet.v1.Coordinator/CompleteBranch": Role.INITIATOR,
    "/tercet.v1.Coordinator/Session": Role.INITIATOR,
    "/tercet.v1.Definitions/PublishSaga": Role.PUBLISHER,
    "/tercet.v1.Definitions/GetSaga": Role.VIEWER,
    "/tercet.v1.Definitions/ListSagas": Role.VIEWER,
    "/tercet.v1.Catalogue/ListOperations": Role.VIEWER,
    "/tercet.v1.Catalogue/GetOperation": Role.VIEWER,
    "/tercet.v1.Catalogue/RegisterOperation": Role.ADMINISTRATOR,
    "/tercet.v1.Catalogue/RemoveOperation": Role.ADMINISTRATOR,
    "/tercet.v1.Admin/RetryTransaction": Role.OPERATOR,
    "/tercet.v1.Admin/PauseTransaction": Role.OPERATOR,
    "/tercet.v1.Admin/ResumeTransaction": Role.OPERATOR,
    "/tercet.v1.Admin/CancelTransaction": Role.OPERATOR,
    "/tercet.v1.Admin/ResolveBranch": Role.OPERATOR,
    "/tercet.v1.Admin/OperateMany": Role.OPERATOR,
    "/tercet.v1.Admin/GetJournal": Role.VIEWER,
    "/tercet.v1.Admin/ListNodes": Role.VIEWER,
    "/grpc.health.v1.Health/Check": Role.ANYONE,
    "/grpc.health.v1.Health/List": Role.ANYONE,
    "/grpc.health.v1.Health/Watch": Role.ANYONE,
}
"""RPC to the role it needs. Callers are not told apart yet: a listener is bound to
loopback, and whoever reaches it holds every role."""


class PolicyInterceptor(grpc.aio.ServerInterceptor):
    """Refuses every RPC that the policy does not name."""

    def __init__(self, policy: Mapping[str, Role] = POLICY) -> None:
        self._policy = policy

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Rpc | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Rpc | None":
        """Pass on what has an entry."""
        if handler_call_details.method in self._policy:
            return await continuation(handler_call_details)
        return _REFUSE


async def _refuse(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    await context.abort(
        grpc.StatusCode.PERMISSION_DENIED,
        "No policy names this RPC, so nobody may call it.",
    )


_REFUSE: Rpc = grpc.unary_unary_rpc_method_handler(_refuse)
