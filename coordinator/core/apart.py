"""Whether a transaction's branches are stored with it, or in rows of their own.

Theory. Most transactions have two or three branches with small payloads. Written as a
part of their transaction's row they cost little, where rows of their own are more than
a third of what a commit costs the database. But whatever is a part of the row is
written again by every commit: with many branches, or large payloads, that would be
more than it saves. So a transaction begins with its branches in its row, and when they
have become too many or too large they move out, for good.
"""

from typing import Final

from coordinator.core.model import GlobalTransaction

TOGETHER_MAX: Final = 8
"""Branches in their transaction's row."""

TOGETHER_BYTES_MAX: Final = 1024
"""Of all payloads, the transaction's own input among them. PostgreSQL compresses a row
of more than 2 KiB, each time that it is written."""


def are_apart(tx: GlobalTransaction, payload_bytes: int) -> bool:
    """Whether the branches shall have rows of their own from now on.

    Args:
        payload_bytes: of all that was asked and answered, about.
    """
    return (
        payload_bytes > TOGETHER_BYTES_MAX
        or len(tx.branches) > TOGETHER_MAX
        or tx.branches_apart
    )
