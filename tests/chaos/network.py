"""All proxies, and the links that they make of connections."""

from types import TracebackType
from typing import Self

from examples.ports import find_free_port
from tests.chaos.cast import ATTACHED, CALLED, CLIENTS, NODES, STORE
from tests.chaos.proxy import Link, Proxy, Route


class Network:
    """A proxy for each client and bank, which leads to all nodes, and some for each
    node: one leads to the store, and one to each bank that is called at an address.

    Attributes:
        links: by caller and callee.
        node_ports: where nodes listen.
        bank_ports: where banks listen that are called.
    """

    def __init__(self) -> None:
        self.node_ports = {node: find_free_port() for node in NODES}
        self.bank_ports = {bank: find_free_port() for bank in CALLED}
        self.links: dict[tuple[str, str], Link] = {}
        self._proxies: dict[str, Proxy] = {}

    async def __aenter__(self) -> Self:
        for caller in (*CLIENTS, *ATTACHED):
            routes: dict[int, Route] = {}
            for node, port in self.node_ports.items():
                link = self.links[caller, node] = Link(caller, node)
                routes[port] = (port, link)
            await self._open(caller, Proxy(routes))
        for node in NODES:
            for bank, port in self.bank_ports.items():
                link = self.links[node, bank] = Link(node, bank)
                await self._open(f"{node}>{bank}", Proxy((port, link)))
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

    def push_address(self, node: str, bank: str) -> str:
        """At which ``node`` calls ``bank``."""
        return f"127.0.0.1:{self._proxies[f'{node}>{bank}'].port}"

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
