"""Whether a node takes on what it is asked for, or says at once that it cannot (V5).

Theory. A node that takes on whatever comes works off a queue that only grows: each
transaction in it comes to its end too late for whoever asked, so the node does nothing
that is still wanted, and goes on like that long after the load has gone. So what a node
has not stored yet is bounded, by little more than it needs in order to be busy. Beyond
that new transactions are refused, which costs a small part of what it costs to begin
them, and what was begun is finished: only its *first* request is ever refused for this.

A database, a disk or the node itself also stands still for a moment now and then, and
what gathers meanwhile is worked off in the next one. That is no overload, and refusing
would make an error of what is a delay. So more than a node needs may wait for a while,
up to a second bound. Where that does not pass, the first one holds until the node has
once come to an end with half of it.
"""

from typing import Protocol

from coordinator.core.model import Milliseconds

STALL_MS: Milliseconds = 2_000
"""What has gathered during a stall has to be worked off within this: at seven tenths
of what a node can do, after a stall of half a second."""


class Bounds(Protocol):
    """What a node takes on at most."""

    @property
    def inbox_max(self) -> int:
        """Inputs that wait to be decided, of all kinds."""

    @property
    def changes_max(self) -> int:
        """Transactions that wait for what is to be stored of them, for long."""

    @property
    def changes_stalled_max(self) -> int:
        """The same, for a moment."""


class Backlog:
    """What waits to be stored, as long as it is more than a node needs."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._since: Milliseconds | None = None

    def is_full(self, changes: int, now: Milliseconds) -> bool:
        """Whether nothing new may be added.

        Args:
            changes: that wait now.
            now: by a clock that only goes forward.
        """
        bounds = self._bounds
        if changes < bounds.changes_max:
            if changes <= bounds.changes_max // 2:
                self._since = None
            return False
        if self._since is None:
            self._since = now
        return changes >= bounds.changes_stalled_max or now - self._since >= STALL_MS


def why_refused(
    bounds: Bounds, *, is_new: bool, is_full: bool, is_behind: bool, inputs: int
) -> str:
    """Why a request is not taken on; empty if it is.

    Args:
        is_new: it would begin a transaction.
        is_full: as many transactions as may be are unfinished in memory.
        is_behind: the backlog of what is to be stored is full.
        inputs: that wait to be decided.
    """
    if is_new and is_full:
        return "too many unfinished transactions on this node"
    if is_new and is_behind:
        return "this node stores less than it is asked for"
    if inputs >= bounds.inbox_max:
        return "too many requests wait on this node"
    return ""
