"""The database that all nodes share, and one node's connection to it.

The data and every compare-and-set are those of the reference store. What is added is
distance: a statement takes time on its way there and back, it may fail, and a commit
may have happened or not when its connection is lost.
"""

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Key,
)
from coordinator.core.sweep import Ask, Gap, Line
from coordinator.ports import Change, NodeRow, Store, SweepRow
from coordinator.storage.memory import MemoryStore

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World


def now(statement: Coroutine[Any, Any, Any]) -> Any:
    """The result of a statement of the reference store, which never waits."""
    try:
        statement.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the reference store waited")


class SimStore(Store):
    """One node's connection."""

    def __init__(self, world: "World", node: "Node") -> None:
        self._world = world
        self._node = node
        self._data: MemoryStore = world.data

    async def _travel(self, *, read_first: bool) -> bool:
        """Half of a round trip; whether the statement runs at its end."""
        world = self._world
        arrived = world.loop.create_future()
        delay = world.store_latency()
        world.loop.later(delay, self._node, arrived.set_result, None)
        await arrived
        if world.happens("read_fail"):
            raise StoreUnavailable
        return not read_first

    async def load(self, keys: Sequence[Key]) -> list[GlobalTransaction]:
        early = self._world.coin()
        found = await self._data.load(keys) if early else []
        if await self._travel(read_first=early):
            found = await self._data.load(keys)
        for tx in found:
            self._world.checks.recoveries.loaded(self._node, tx.key)
            self._node.learns(tx)
        return found

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        world = self._world
        returned = world.loop.create_future()
        fate = world.commit_fate()
        world.loop.later(
            world.store_latency(), None, self._arrive, changes, fate, returned
        )
        conflicts = await returned
        for change in changes:
            if not conflicts or change.key not in conflicts:
                self._node.learns(change.after)
        return conflicts

    def _arrive(self, changes: Sequence[Change], fate: str, returned: Any) -> None:
        """The commit reaches the database, if its node or the network let it."""
        world, node = self._world, self._node
        conflicts: list[Key] = []
        if not node.alive:
            world.rare.hit("crash_with_commit_in_flight")
            fate = "lost" if world.coin() else "ok"
            world.rare.hit(f"commit_of_dead_node_{fate}")
        if fate == "lost":
            world.trace("commit lost", node.name)
        else:
            conflicts = now(self._data.commit(changes))
            world.checks.committed(node, changes, conflicts)
            for change in changes:
                world.trace("commit", node.name, change.key.gid, change.after.revision)
        if fate == "ok":
            world.loop.later(world.store_latency(), node, _answer, returned, conflicts)
        else:
            world.loop.later(world.store_latency(), node, _fail, returned)

    async def lines(self, gaps: Sequence[Gap], *, limit: int) -> list[Line]:
        if self._world.happens("read_fail"):
            raise StoreUnavailable
        return await self._data.lines(gaps, limit=limit)

    async def unfinished(
        self, asks: Sequence[Ask], *, due_before: Instant
    ) -> list[SweepRow]:
        rows = await self._data.unfinished(asks, due_before=due_before)
        self._node.listed = frozenset(self._world.data._data.nodes)
        if rows and "store_slow" in self._world.faults:
            await self._travel(read_first=True)  # the list is old when it arrives
        return rows

    async def claim(self, rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        await self._travel(read_first=False)
        claimed = await self._data.claim(rows, owner=owner)
        self._world.checks.claimed(self._node, rows, claimed)
        self._node.claimed.update(claimed)
        if self._world.happens("read_fail"):
            raise StoreUnavailable
        return claimed

    async def beat(self, node: NodeRow) -> list[NodeRow]:
        self._world.checks.beaten(self._node, node)
        if self._world.happens("read_fail"):
            raise StoreUnavailable
        self._world.checks.fairness.beaten(self._node)
        return await self._data.beat(node)

    async def forget_node(self, node_id: str) -> None:
        self._world.checks.forgotten.add(node_id)
        await self._data.forget_node(node_id)

    async def close(self) -> None:
        """Nothing to release."""


def _answer(returned: Any, conflicts: list[Key]) -> None:
    if not returned.done():
        returned.set_result(conflicts)


def _fail(returned: Any) -> None:
    if not returned.done():
        returned.set_exception(StoreUnavailable())
