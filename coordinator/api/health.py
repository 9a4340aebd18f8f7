"""The standard health service: whether it makes sense to send this node requests.

SERVING as long as the database takes this node's heartbeat, for without it nothing can
be accepted; NOT_SERVING from the first that fails until the next that succeeds. The
node goes on all the same, and whoever asks it in between is told UNAVAILABLE with a
time to come back: health is for load balancers and supervisors, and no gate.
"""

import asyncio
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from coordinator import telemetry

_log = telemetry.get_logger()

SERVICES: Final = (
    "",
    "tercet.v1.Coordinator",
    "tercet.v1.Definitions",
    "tercet.v1.Catalogue",
    "tercet.v1.Admin",
)
"""The names that it answers for; the empty one is the whole node."""


class Health:
    """What is told of one node, to who asks and to who watches."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._serves = True
        self._telling: asyncio.Task[None] | None = None

    def add_to(self, server: grpc.aio.Server) -> None:
        """Answer on this server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Requests are served from now on."""
        await self._tell()

    def database_answers(self, answers: bool) -> None:
        """Take note of a heartbeat, and tell who watches if that changes anything."""
        if answers == self._serves:
            return
        self._serves = answers
        _log.info(telemetry.HEALTH_CHANGED, serving=answers)
        self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def leave(self) -> None:
        """NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()

    async def _tell(self) -> None:
        told = health_pb2.HealthCheckResponse
        status = told.SERVING if self._serves else told.NOT_SERVING
        for name in SERVICES:
            await self._servicer.set(name, status)
