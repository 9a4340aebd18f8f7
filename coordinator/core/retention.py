"""Which finished transactions may be forgotten, and how many at a time.

A transaction may go when it finished before an instant that somebody chose and needs
nobody's attention. What is unfinished never goes, however old.

One begun inside another's call (``depth`` > 0) is found again, by its gid, when that
call is repeated; were it gone, the repetition would begin it anew. A call can be
repeated as long as its transaction is unfinished, and no row says which transaction
that is; but it began earlier. So what is nested goes only when everything that began
before it has finished.

A gid is an idempotency key, and the stored row is all that remembers it. A request that
begins a transaction under an old gid could be the late repetition of one that is gone,
and would do the business twice. So nothing begins under a gid that was made so long ago
that its transaction may have been removed, unless it is there and will stay for as long
as a request takes.

Rows are walked in the order in which transactions began. A first walk removes what is
not nested and learns what the oldest unfinished one is; a second walk, where it is
needed, meets only what the first one left.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from coordinator.core.errors import InvariantViolated
from coordinator.core.model import (
    Instant,
    Key,
    Milliseconds,
)

CLOCK_SKEW_MS: Milliseconds = 10 * 60_000
"""By how much clocks may differ: of nodes, and of who made a gid. "Began earlier" and
"made longer ago" are told by clocks. Far less than the shortest time for which anything
is kept."""

BATCH_TRANSACTIONS_MAX = 200
"""Removed in one database transaction: some 10 ms of work, in which a commit waits."""

BATCH_ROWS_MAX = 2_000
"""The same in rows, for transactions of many branches; one alone may have more."""


class OldRow(Struct, frozen=True):
    """What is known of a transaction that is looked at.

    Attributes:
        rows: how many it has in all tables, about.
    """

    key: Key
    revision: int
    created_at: Instant
    finished_at: Instant | None
    attention_since: Instant | None
    depth: int
    rows: int


def is_over(row: OldRow, finished_before: Instant) -> bool:
    """Whether it finished early enough, and nobody is needed."""
    return (
        row.finished_at is not None
        and row.finished_at < finished_before
        and row.attention_since is None
    )


def may_go(
    row: OldRow, *, finished_before: Instant, unfinished_since: Instant | None
) -> bool:
    """Whether a transaction may be forgotten.

    Args:
        unfinished_since: nothing that began earlier is unfinished; ``None`` when that
            is not known, and then nothing nested may go.
    """
    if not is_over(row, finished_before):
        return False
    if row.depth == 0:
        return True
    return (
        unfinished_since is not None
        and row.created_at + CLOCK_SKEW_MS < unfinished_since
    )


def may_be_gone(made_at: Instant, *, kept_ms: Milliseconds, now: Instant) -> bool:
    """Whether a transaction whose gid was made then may have been here, and be removed.

    Args:
        kept_ms: for how long finished transactions are kept.
    """
    return made_at < now - kept_ms + CLOCK_SKEW_MS


def stays(finished_at: Instant | None, *, kept_ms: Milliseconds, now: Instant) -> bool:
    """Whether a transaction will be there for as long as a request takes."""
    return finished_at is None or finished_at >= now - kept_ms + CLOCK_SKEW_MS


def unfinished_since(rows: Iterable[OldRow], so_far: Instant) -> Instant:
    """When the oldest unfinished of these began, if that was before ``so_far``."""
    began = (row.created_at for row in rows if row.finished_at is None)
    return min([so_far, *began])


def guards(rows: Iterable[OldRow]) -> dict[Key, int]:
    """The revision that each row must still have when it is removed, by key.

    Raises:
        InvariantViolated: one of them has not finished.
    """
    found = {}
    for row in sorted(rows, key=_key):
        if row.finished_at is None:
            raise InvariantViolated(
                f"{row.key.gid} is unfinished and cannot be removed"
            )
        found[row.key] = row.revision
    return found


def _key(row: OldRow) -> Key:
    return row.key


def batches(
    rows: Iterable[OldRow],
    *,
    transactions_max: int = BATCH_TRANSACTIONS_MAX,
    rows_max: int = BATCH_ROWS_MAX,
) -> Iterator[list[OldRow]]:
    """The same rows in portions that are not too much at once."""
    batch: list[OldRow] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == transactions_max or size + row.rows > rows_max):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row.rows
    if batch:
        yield batch
