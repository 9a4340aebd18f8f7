"""What is stored with a transaction, in its row, and what in rows of its own.

Theory. Most transactions have two or three branches with small payloads, and as many
entries in their journal. Written as a part of their transaction's row they cost little,
where rows of their own are nearly half of what a commit costs the database. But
whatever is a part of the row is written again by every commit: with many branches or
entries, or large payloads, that would be more than it saves. So a transaction begins
with its branches in its row, and when they have become too many or too large they move
out, for good.

Entries of the journal never change and never move. Each stands where it was written,
with its number, so whoever reads takes those of both places and needs no limit from
here. The first small ones stand in the row, as long as the branches do.
"""

from typing import Final

from coordinator.core.model import GlobalTransaction

TOGETHER_MAX: Final = 8
"""Branches in their transaction's row."""

TOGETHER_BYTES_MAX: Final = 1024
"""Of all payloads, the transaction's own input among them: about as much as the rest of
a row with two branches."""

ENTRIES_MAX: Final = 8
"""Of the journal in its transaction's row: a saga of two steps has three, one of six
steps seven."""

ENTRY_BYTES_MAX: Final = 2048
"""Of one entry there: 150 to 400 of two branches, and of eight that begin 1,500."""


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


def is_entry_apart(tx: GlobalTransaction, entry_bytes: int) -> bool:
    """Whether the latest entry of the journal shall have a row of its own.

    Args:
        entry_bytes: of its text.
    """
    return (
        entry_bytes > ENTRY_BYTES_MAX
        or tx.journal_seq > ENTRIES_MAX
        or tx.branches_apart
    )
