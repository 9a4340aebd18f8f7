"""Who is alive: a node's heartbeat, and what it tells of its peers.

A node raises a counter in the database. A peer is judged dead when its next heartbeat
is late by one TTL *of the judge's own monotonic clock*; clocks are never compared
between machines. Being wrong is harmless: ownership is an economy, the revision guard
is the safety (L1, L4).

The heart beats on the event loop, in a task of its own that waits for nothing but its
own statement on its own connection. So it stops when the loop does, and no thread keeps
the lease of a node that answers nobody. A loop that stands still for less than one TTL
keeps its lease: its last beat came at most one interval before it stood still and the
next one comes at once when it goes on, so between the two there is less than an
interval and a TTL. That is what a judge waits for, from a look that saw the counter
move to one that did not: time in which it did not look, because its own loop stood
still or the database did not answer, is held against nobody. Who stands still for
longer than both loses its lease.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from coordinator import telemetry
from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import Milliseconds
from coordinator.ports import Clock, NodeRow, Store

_log = structlog.get_logger(__name__)

BEAT_EVERY_MS: Milliseconds = 1_000

TTL_MS: Milliseconds = 2_000
"""How late a heartbeat may be: longer than any ordinary stall, short enough that work
left behind goes on within seconds. Who has been silent for this and an interval, 3 s,
is taken for dead."""

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
        on_beat: called after each heartbeat that fell due, with whether the database
            took it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        node_id: str,
        address: str,
        on_seen: Callable[[Sequence[SeenNode]], None] = lambda _: None,
        on_beat: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._node_id = node_id
        self._address = address
        self._heartbeat = 0
        self._beating = asyncio.Lock()
        self._seen: dict[str, tuple[int, Milliseconds]] = {}
        self._rows: Sequence[NodeRow] = ()
        self._looked_at: Milliseconds = 0
        self._on_seen = on_seen
        self._on_beat = on_beat

    async def run(self) -> None:
        """Beat until cancelled. A database that does not answer is asked again."""
        while True:
            try:
                await self.beat()
                self._on_beat(True)
            except StoreUnavailable:
                _log.warning(telemetry.STORE_FAILED, doing="heartbeat")
                self._on_beat(False)
            except Exception:  # noqa: BLE001 - the task's edge: the heart must go on
                _log.exception(telemetry.HEARTBEAT_FAILED)
            await pause(self._clock, BEAT_EVERY_MS)

    async def beat(self) -> None:
        """Say that this node is alive, and look at the others.

        Of several at once one goes after the other, so that none judges by what is
        older than what another one saw. Raises ``StoreUnavailable``; then nothing is
        judged anew.
        """
        async with self._beating:
            await self._beat()

    async def _beat(self) -> None:
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
        """The nodes that the last look did not find dead, this one included."""
        at, silent_max = self._looked_at, TTL_MS + BEAT_EVERY_MS
        return frozenset(
            {self._node_id}
            | {n for n, (_, since) in self._seen.items() if at - since < silent_max}
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
        self._seen, self._rows, self._looked_at = seen, rows, now


async def pause(clock: Clock, milliseconds: Milliseconds) -> None:
    """Return after a while, or at once when cancelled."""
    over = asyncio.Event()
    timer = clock.call_at(clock.now() + milliseconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()
