"""The other live nodes: told to every session, and to operators who ask.

A participant holds a session to each of them, so that any node that drives a
transaction reaches any participant; an initiator goes to one of them when its own
node does not answer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from google.protobuf.message import Message

from coordinator.api.operators import Act
from coordinator.config import is_wildcard
from coordinator.engine.leases import SeenNode
from protos.v1 import admin_pb2

PEERS_MAX = 64
"""Addresses that a session is told; a participant opens a session to each."""


class Peers:
    """What this node knows of the others, and who wants to hear of changes.

    Args:
        warnings: with what this node serves although it is unsafe; told as text.

    Attributes:
        address: of this node, once it is known; empty where there is no single one
            under which others reach it.
        addresses: of the other live nodes.
    """

    def __init__(
        self, *, node_id: str, version: str, warnings: Iterable[object] = ()
    ) -> None:
        self._node_id = node_id
        self._version = version
        self._warnings = tuple(map(str, warnings))
        self._nodes: Sequence[SeenNode] = ()
        self._listeners: set[Callable[[], None]] = set()
        self.address = ""
        self.addresses: tuple[str, ...] = ()

    @property
    def acts(self) -> Mapping[str, Act]:
        """What serves each RPC."""
        return {"Admin.ListNodes": self._list}

    def told_as(self, address: str) -> str:
        """This node is reached under ``address``, which is returned."""
        self.address = "" if is_wildcard(address) else address
        return address

    def seen(self, nodes: Sequence[SeenNode]) -> None:
        """Take note of a look at all nodes, and tell who listens if some came or went.

        A node with the address of this one is what ran here before.
        """
        self._nodes = nodes
        reachable = {
            node.row.address
            for node in nodes
            if node.is_alive and node.row.node_id != self._node_id
        }
        addresses = tuple(
            sorted(a for a in reachable if a != self.address and not is_wildcard(a))
        )[:PEERS_MAX]
        if addresses != self.addresses:
            self.addresses = addresses
            for listener in tuple(self._listeners):
                listener()

    def listen(self, changed: Callable[[], None]) -> None:
        """Call back at every change."""
        self._listeners.add(changed)

    def forget(self, changed: Callable[[], None]) -> None:
        """Call back no more. Harmless for who never listened."""
        self._listeners.discard(changed)

    async def _list(self, _: admin_pb2.ListNodesRequest) -> Message:
        return admin_pb2.ListNodesReply(
            nodes=[
                self._fields(node)
                for node in sorted(self._nodes, key=lambda n: n.row.address)
            ]
        )

    def _fields(self, node: SeenNode) -> admin_pb2.Node:
        answers = node.row.node_id == self._node_id
        return admin_pb2.Node(
            node_id=node.row.node_id,
            address=node.row.address,
            heartbeat=node.row.heartbeat,
            silent_ms=0 if answers else node.silent_ms,
            alive=node.is_alive,
            answers=answers,
            version=self._version if answers else "",
            warnings=self._warnings if answers else (),
        )
