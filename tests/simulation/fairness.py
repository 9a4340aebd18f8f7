"""V3, F5: nobody is overlooked by a sweep, and no heart waits for one."""

from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING

from coordinator.core.model import Key
from coordinator.engine import leases
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

SWEEPS_MAX = 3
"""Within so many sweeps what waits longest in its namespace is attempted."""

LATE_US = 20_000
"""How much later than asked an alarm may ring, clocks that run slow included."""

Waiting = frozenset[tuple[Key, int]]


class Fairness:
    """Who waited how many sweeps, and how regularly each node's heart beat."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._sweeps: dict[tuple[str, Key, int], int] = defaultdict(int)
        self._tried: dict[str, int] = {}
        self._beat: dict[str, int] = {}
        self._longest_us: dict[str, int] = defaultdict(int)

    # ---- Sweeps --------------------------------------------------------------------

    def waiting(self, node: "Node") -> Waiting:
        """By namespace, what is due longest of what nobody drives, to this node's eyes;
        and at which revision it is.
        """
        if not node.has_room:
            return frozenset()
        data, now = self._world.data._data, node.clock.now()
        oldest: dict[str, tuple[int, str, Key, int]] = {}
        for key, tx in data.transactions.items():
            due_at = data.due_at[key]
            if tx.finished_at is None and due_at is not None and due_at <= now:
                place = (due_at, key.gid, key, tx.revision)
                if self._is_free(node, key, tx.owner):
                    other = oldest.setdefault(key.namespace, place)
                    oldest[key.namespace] = min(other, place)
        return frozenset(place[2:] for place in oldest.values())

    def attempted(self, node: "Node", keys: Collection[Key]) -> None:
        """The node's engine was given these."""
        if not keys or not self._sweeps:
            return
        for counted in [c for c in self._sweeps if c[0] == node.name and c[1] in keys]:
            del self._sweeps[counted]

    def swept(self, node: "Node", waiting: Waiting) -> None:
        """A sweep has ended in good order; these waited when it began."""
        data, now = self._world.data._data, node.clock.now()
        for key, revision in waiting:
            tx = data.transactions[key]
            if (
                tx.revision != revision
                or not self._is_free(node, key, tx.owner)
                or not node.has_room
                or data.due_at[key] > now
            ):
                continue
            self._sweeps[node.name, key, revision] += 1
            if self._sweeps[node.name, key, revision] >= SWEEPS_MAX:
                text = f"{node.name} overlooked it {SWEEPS_MAX} times"
                raise Violation("V3", key.gid, text)
        if len({key.namespace for key, _ in waiting}) > 1:
            self._world.rare.hit("namespaces_wait_side_by_side")

    def _is_free(self, node: "Node", key: Key, owner: str) -> bool:
        if owner == node.name:
            asked = any(key == to for to, _ in node.engine._inbox)
            return not asked and not node.engine.drives(key)
        return owner not in node.leases.living()

    # ---- Hearts --------------------------------------------------------------------

    def tried(self, node: "Node") -> None:
        """Its heart tries to beat: not later than it has to, whatever else it does."""
        now = self._world.loop.time_us
        late_us = now - self._tried.get(node.name, now)
        self._tried[node.name] = now
        bound_us = leases.BEAT_EVERY_MS * 1_030 + LATE_US
        if late_us > bound_us and node.name not in self._world.was_paused:
            raise Violation("F5", node.name, "the heart waited for something")

    def beaten(self, node: "Node") -> None:
        """And it did."""
        now = self._world.loop.time_us
        since_us = now - self._beat.get(node.name, now)
        self._longest_us[node.name] = max(self._longest_us[node.name], since_us)
        self._beat[node.name] = now

    def taken_over(self, owner: str, gid: str) -> None:
        """From a node that is alive: it must have missed a whole TTL."""
        if owner not in self._beat:
            return
        since_us = self._world.loop.time_us - self._beat[owner]
        silent_us = max(since_us, self._longest_us[owner])
        if silent_us < leases.TTL_MS * 950:
            raise Violation("F5", gid, f"{owner} was never silent for a TTL")
