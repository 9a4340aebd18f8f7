"""The gRPC server of a node, wired from its parts."""

from functools import partial

import grpc

from coordinator.api.catalogue import Catalogue
from coordinator.api.convert.operator_requests import OperatorReader
from coordinator.api.convert.requests import RequestReader
from coordinator.api.definitions import PublishedSagas
from coordinator.api.engine_port import Dispatcher, Engine
from coordinator.api.gid import GidSource
from coordinator.api.handlers import Handlers
from coordinator.api.health import Health
from coordinator.api.limits import KIB, Limits
from coordinator.api.operations import Operations
from coordinator.api.operators import Operators
from coordinator.api.peers import Peers
from coordinator.api.policy import PolicyInterceptor
from coordinator.api.services import Services
from coordinator.api.session import Session
from coordinator.api.usage import Usage
from coordinator.ports import Clock, Queries

# A frame's head beside its largest item.
_OVERHEAD_BYTES = 64 * KIB
_UNREAD_BYTES_MAX = 4 * KIB


class ApiServer:
    """Serves the wire on one address.

    Attributes:
        health: what is told of the node; it has to hear of each heartbeat.
    """

    def __init__(self, services: Services, limits: Limits) -> None:
        self._services = services
        self._limits = limits
        self.health = Health()
        self._server: grpc.aio.Server | None = None

    def bind(self, address: str) -> str:
        """Take ``HOST:PORT``, port 0 = any free one; the address that was taken.

        Who connects now waits for ``start``. Raises ``OSError`` when the address cannot
        be bound.
        """
        server = grpc.aio.server(
            interceptors=(PolicyInterceptor(),), options=self._options()
        )
        server.add_generic_rpc_handlers(tuple(self._services.generic_handlers()))
        self.health.add_to(server)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as problem:
            raise OSError(
                f"cannot listen on {address}: the address is in use, not of this "
                "machine, or not HOST:PORT. Free it or choose another."
            ) from problem
        self._server = server
        return f"{address.rpartition(':')[0]}:{port}"

    async def start(self) -> None:
        """Serve at the address that was bound."""
        if self._server is None:
            raise RuntimeError("bind an address before you start")
        await self._server.start()
        await self.health.start()

    async def drain(self, grace_seconds: float) -> None:
        """Leave: announce it, accept no new RPC, end what is open within the grace.

        Tolerates being called twice, or without :meth:`start`.
        """
        server, self._server = self._server, None
        if server is None:
            return
        await self.health.leave()
        self._services.drain()
        await server.stop(grace_seconds)

    def _options(self) -> list[tuple[str, int]]:
        return [
            (
                "grpc.max_receive_message_length",
                self._limits.message_bytes_max + _OVERHEAD_BYTES,
            ),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", 1_000),
            # What was sent and is not read yet is a queue from which nobody is refused.
            # While it is small, a client that is faster than this node soon gathers its
            # requests, and many in one frame are refused at little cost (F36). A
            # message that is being read may be larger.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", _UNREAD_BYTES_MAX),
            # Two nodes on one port would share its clients without knowing it.
            ("grpc.so_reuseport", 0),
            # Notice a peer that vanished without a word within half a minute.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ]


def build_server(
    *,
    engine: Engine,
    dispatcher: Dispatcher,
    queries: Queries,
    catalogue: Catalogue,
    sagas: PublishedSagas,
    clock: Clock,
    limits: Limits,
    peers: Peers,
    node_id: str,
    version: str,
) -> ApiServer:
    """Wire the entrances to the engine. ``catalogue`` has been loaded."""
    reader = RequestReader(limits=limits, clock=clock, gids=GidSource(clock.now))
    handlers = Handlers(
        engine=engine,
        queries=queries,
        catalogue=catalogue,
        sagas=sagas,
        reader=reader,
        limits=limits,
    )
    operator_reader = OperatorReader(reader)
    operators = Operators(
        engine=engine,
        queries=queries,
        reader=operator_reader,
        limits=limits,
        clock=clock,
    )
    operations = Operations(
        catalogue=catalogue,
        dispatcher=dispatcher,
        usage=Usage(queries, sagas),
        reader=operator_reader,
        limits=limits,
        clock=clock,
        node_id=node_id,
    )
    services = Services(
        engine=engine,
        queries=queries,
        catalogue=catalogue,
        sagas=sagas,
        handlers=handlers,
        operations=operations,
        operators=operators,
        peers=peers,
        reader=reader,
        new_session=partial(
            Session,
            handlers=handlers,
            dispatcher=dispatcher,
            catalogue=catalogue,
            clock=clock,
            limits=limits,
            peers=peers,
            node_id=node_id,
            version=version,
        ),
    )
    return ApiServer(services, limits)
