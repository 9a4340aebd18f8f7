"""V6: who is blamed for dead nodes, how long that holds, and how it ends.

The judge counts deaths, holds and trials by itself, from what the database took and who
was alive; the reason that a person reads is not among that.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from coordinator.core import quarantine
from coordinator.core.events import AttentionRaised, RetryRequested, TrialSurvived
from coordinator.core.inputs import BranchReplied
from coordinator.core.model import Key
from coordinator.core.sweep import OWNERS_LOST_MAX
from coordinator.engine import resident
from coordinator.ports import Change, SweepRow
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

SLOW = 0.95
"""A node's clock may run that much faster than time does, and timers are rounded."""


class Quarantines:
    """What each transaction is blamed for.

    Attributes:
        lost: owners that may be judged dead with a transaction, since anything was
            committed of it.
        died: those of them that did.
        counted: what the last claim of it stored.
        times: how often in a row it was quarantined.
        until: when what is held is to be tried.
        tried_us: when what is on trial was claimed.
        heard: by whom an answer to a call was heard, since the trial began.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.lost: dict[Key, int] = defaultdict(int)
        self.died: dict[Key, int] = defaultdict(int)
        self.counted: dict[Key, int] = defaultdict(int)
        self.times: dict[Key, int] = defaultdict(int)
        self.until: dict[Key, int] = {}
        self.tried_us: dict[Key, int] = {}
        self.heard: set[Key] = set()

    # ---- Claims --------------------------------------------------------------------

    def claimed(
        self, node: "Node", row: SweepRow, claimed: Collection[Key], owner: str
    ) -> None:
        """A row has just left its owner, beside others that were claimed."""
        key = row.key
        # Who left in good order took its row along.
        is_listed = owner in self._world.data._data.nodes
        self.lost[key] += is_listed
        self.died[key] += is_listed and not self._world.checks.is_alive(owner)
        if self.died[key] >= OWNERS_LOST_MAX:
            raise Violation("V6", key.gid, "taken over, and three died with it")
        if self.died[key] > 1 and len(claimed) > 1:
            raise Violation("V6", key.gid, "a suspect was claimed beside others")
        if key in self.until:
            self._tried(node, key)

    def _tried(self, node: "Node", key: Key) -> None:
        is_early = node.clock.now() < self.until.pop(key)
        if is_early and "clock_jump" not in self._world.faults:
            raise Violation("V6", key.gid, "tried before its hold was over")
        self.tried_us[key] = self._world.loop.time_us
        self.heard.discard(key)

    # ---- Facts ---------------------------------------------------------------------

    def heard_of(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        """A node has heard answers to what it asked."""
        self.heard.update(key for key, _ in replies)

    def committed(self, node: "Node", change: Change) -> str:
        """Whose the transaction is after this commit."""
        key = change.key
        lost = self.lost.pop(key, 0)
        self.died.pop(key, None)
        self.counted.pop(key, None)
        for event in change.events:
            match event:
                case TrialSurvived():
                    self._survived(node, key)
                case RetryRequested():
                    self._ended(key)
                case AttentionRaised(reason) if reason.startswith("QUARANTINED: "):
                    self._quarantined(change, event, lost)
                case _:
                    pass
        if change.after.status.is_final:
            self._ended(key)
        if key not in self.times:
            return node.name
        # Another death is one too many, whatever is written of it meanwhile.
        self.lost[key] = self.died[key] = self.counted[key] = OWNERS_LOST_MAX - 1
        if key not in self.until:
            return change.before.owner if change.before else node.name
        is_paused = change.after.paused_at is not None
        if change.due_at != (None if is_paused else self.until[key]):
            raise Violation("V6", key.gid, f"held, and due at {change.due_at}")
        return quarantine.NOBODY

    def _quarantined(self, change: Change, event: AttentionRaised, lost: int) -> None:
        key = change.key
        if key in self.until:
            raise Violation("V6", key.gid, "quarantined while nobody drives it")
        if lost + 1 < OWNERS_LOST_MAX:
            raise Violation("V6", key.gid, f"quarantined after {lost} claims")
        self.times[key] += 1
        self.tried_us.pop(key, None)
        hold_ms = quarantine.QUARANTINE_MS * 2 ** (self.times[key] - 1)
        self.until[key] = event.at + min(hold_ms, quarantine.QUARANTINE_MS_MAX)
        self._world.rare.hit("quarantined")
        if key.gid == self._world.poison:
            self._world.rare.hit("poison_quarantined")
        if self.times[key] > 1:
            self._world.rare.hit("quarantined_again")

    def _survived(self, node: "Node", key: Key) -> None:
        if key not in self.tried_us:
            raise Violation("V6", key.gid, f"{node.name} survived what was no trial")
        lived_us = self._world.loop.time_us - self.tried_us[key]
        for_long = lived_us >= resident.SURVIVED_MS * 1_000 * SLOW
        if not (key in self.heard or for_long or "clock_jump" in self._world.faults):
            raise Violation("V6", key.gid, f"{node.name} called survived what it began")
        self._world.rare.hit("quarantine_trial_survived")
        self._ended(key)

    def _ended(self, key: Key) -> None:
        """By survival, an operator, or an end."""
        self.times.pop(key, None)
        self.until.pop(key, None)
        self.tried_us.pop(key, None)
