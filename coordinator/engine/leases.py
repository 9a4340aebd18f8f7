"""Who is alive: a node's heartbeat, and what it tells of its peers.

A node raises a counter in the database. A peer is judged dead when its counter has
not moved for one TTL *of the judge's own monotonic clock*; clocks are never compared
between machines. Being wrong is harmless: ownership is an economy, the revision guard
is the safety (L1, L4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.core.model import Milliseconds
from coordinator.ports import Clock, NodeRow, Store

TTL_MS: Milliseconds = 3_000
"""Three missed heartbeats: longer than any ordinary stall, short enough that work
left behind goes on within seconds."""

BEAT_EVERY_MS: Milliseconds = 1_000

FORGET_AFTER_MS: Milliseconds = 60_000
"""A dead node's row is removed when all its peers have had time to notice."""


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node as this one sees it.

    Attributes:
        silent_ms: since its heartbeat was last seen to move.
    """

    row: NodeRow
    silent_ms: Milliseconds
    is_alive: bool


class Leases:
    """This node's heartbeat and its judgement of the others.

    Args:
        node_id: new at every process start, never configured (L2).
        address: where clients reach this node.
        on_seen: called after each look at the others.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        node_id: str,
        address: str,
        on_seen: Callable[[Sequence[SeenNode]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._node_id = node_id
        self._address = address
        self._heartbeat = 0
        self._seen: dict[str, tuple[int, Milliseconds]] = {}
        self._rows: Sequence[NodeRow] = ()
        self._on_seen = on_seen

    async def beat(self) -> None:
        """Say that this node is alive, and look at the others.

        Raises ``StoreUnavailable``; then nothing is judged anew.
        """
        self._heartbeat += 1
        row = NodeRow(self._node_id, self._address, self._heartbeat)
        peers = await self._store.beat(row)
        self._observe(peers)
        for node_id, (_, since) in list(self._seen.items()):
            if self._clock.monotonic_ms() - since > FORGET_AFTER_MS:
                await self._store.forget_node(node_id)
                del self._seen[node_id]
        self._on_seen(self.nodes())

    def nodes(self) -> list[SeenNode]:
        """All whose rows are there, as of the last look; none before the first."""
        now, living = self._clock.monotonic_ms(), self.living()
        return [
            SeenNode(row, now - self._seen[row.node_id][1], row.node_id in living)
            for row in self._rows
            if row.node_id in self._seen
        ]

    def living(self) -> frozenset[str]:
        """The nodes that are not known to be dead, this one included."""
        now = self._clock.monotonic_ms()
        return frozenset(
            {self._node_id}
            | {n for n, (_, since) in self._seen.items() if now - since < TTL_MS}
        )

    def known(self) -> frozenset[str]:
        """The nodes whose rows are there, alive or not: those that left have none."""
        return frozenset({self._node_id, *self._seen})

    async def leave(self) -> None:
        """Tell the others not to wait for this node."""
        await self._store.forget_node(self._node_id)

    def _observe(self, rows: Sequence[NodeRow]) -> None:
        now = self._clock.monotonic_ms()
        seen = {}
        for row in rows:
            beat, since = self._seen.get(row.node_id, (None, now))
            seen[row.node_id] = (row.heartbeat, since if beat == row.heartbeat else now)
        self._seen, self._rows = seen, rows
