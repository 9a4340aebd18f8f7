"""All proxies, and the links that they make of connections."""

from types import TracebackType
from typing import Self

from examples.ports import find_free_port
from tests.chaos.cast import BANKS, CLIENTS, NODES, STORE
from tests.chaos.proxy import Link, Proxy, Route


class Network:
    """A proxy for each client and bank, which leads to all nodes, and one for each
    node, which leads to the store.

    Attributes:
        links: by caller and callee.
        node_ports: where nodes listen.
    """

    def __init__(self) -> None:
        self.node_ports = {node: find_free_port() for node in NODES}
        self.links: dict[tuple[str, str], Link] = {}
        self._proxies: dict[str, Proxy] = {}

    async def __aenter__(self) -> Self:
        for caller in (*CLIENTS, *BANKS):
            routes: dict[int, Route] = {}
            for node, port in self.node_ports.items():
                link = self.links[caller, node] = Link(caller, node)
                routes[port] = (port, link)
            await self._open(caller, Proxy(routes))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for proxy in self._proxies.values():
            await proxy.stop()

    async def add_store(self, port: int) -> None:
        """The store is a server that listens on ``port``: nodes reach it by proxies."""
        for node in NODES:
            link = self.links[node, STORE] = Link(node, STORE)
            await self._open(node, Proxy((port, link)))

    @property
    def targets(self) -> list[str]:
        """Of all nodes."""
        return [f"127.0.0.1:{port}" for port in self.node_ports.values()]

    def store_port(self, node: str) -> int:
        """Where ``node`` finds the store; 0 when it is no server."""
        return self._proxies[node].port if node in self._proxies else 0

    def env_of(self, caller: str) -> dict[str, str]:
        """What makes the gRPC of a process use its own proxy, and only that."""
        return {
            "grpc_proxy": f"http://127.0.0.1:{self._proxies[caller].port}",
            "no_grpc_proxy": "nowhere.invalid",
            "CHAOS_NODES": ",".join(self.targets),
        }

    def heal(self) -> None:
        """Everything passes again."""
        for link in self.links.values():
            link.heal()

    async def _open(self, caller: str, proxy: Proxy) -> None:
        await proxy.start(find_free_port())
        self._proxies[caller] = proxy
