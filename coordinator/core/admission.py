"""Whether a node takes on what it is asked for, or says at once that it cannot (V5).

Theory. A node that takes on whatever comes works off a queue that only grows: each
transaction in it comes to its end too late for whoever asked, so the node does nothing
that is still wanted, and goes on like that long after the load has gone. So what a node
has not stored yet is bounded, by little more than it needs in order to be busy. Beyond
that new transactions are refused, which costs a small part of what it costs to begin
them, and what was begun is finished: only its *first* request is ever refused for this.
"""

from typing import Protocol


class Bounds(Protocol):
    """What a node takes on at most."""

    @property
    def inbox_max(self) -> int:
        """Inputs that wait to be decided, of all kinds."""

    @property
    def changes_max(self) -> int:
        """Transactions that wait for what is to be stored of them."""


def why_refused(
    bounds: Bounds, *, is_new: bool, is_full: bool, inputs: int, changes: int
) -> str:
    """Why a request is not taken on; empty if it is.

    Args:
        is_new: it would begin a transaction.
        is_full: as many transactions as may be are unfinished in memory.
        inputs: that wait to be decided.
        changes: that wait to be stored, or are about to be asked for by new ones.
    """
    if is_new and is_full:
        return "too many unfinished transactions on this node"
    if is_new and changes >= bounds.changes_max:
        return "this node stores less than it is asked for"
    if inputs >= bounds.inbox_max:
        return "too many requests wait on this node"
    return ""
