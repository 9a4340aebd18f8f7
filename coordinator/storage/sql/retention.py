"""How finished transactions leave the database; plain functions over a connection.

The walk goes along the index of the newest, from its old end. Its pages are bounded by
rows looked at and not by rows that may go, so no page is long, whatever has piled up at
that end. An index over the times of finishing would cost every transaction a write, to
save a walk past the few that are old and unfinished.

A removal is guarded like every write: it deletes the headers by key *and* revision, and
if it meets fewer than were asked, all of it is rolled back and only those go that are
still as they were. What is read by another session meanwhile is whole or gone.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Select, func, or_, select

from coordinator.core import retention
from coordinator.core.model import Instant, Key
from coordinator.core.retention import OldRow
from coordinator.ports import History
from coordinator.storage.sql import read, tables
from coordinator.storage.sql.batch import delete_batch
from coordinator.storage.sql.flavour import Flavour
from coordinator.storage.sql.write import settle

_HEADERS = tables.global_transactions.c
_BRANCHES = tables.branches.c

_BRANCH_COUNT = (
    select(func.count())
    .select_from(tables.branches)
    .where(_BRANCHES.namespace == _HEADERS.namespace, _BRANCHES.gid == _HEADERS.gid)
    .scalar_subquery()
)


class Removals:
    """The statements that remove, compiled once for a dialect."""

    def __init__(self, dialect: Dialect, flavour: Flavour) -> None:
        key = ("namespace", "gid")
        self.headers = delete_batch(
            dialect, flavour, tables.global_transactions, (*key, "revision")
        )
        self.belongings = [
            delete_batch(dialect, flavour, table, key)
            for table in (tables.branches, tables.journal)
        ]


def old(
    connection: Connection, created_before: Instant, after: OldRow | None, limit: int
) -> list[OldRow]:
    """Transactions that began before an instant, by namespace, the oldest first."""
    found: list[OldRow] = []
    namespace = after.key.namespace if after else _next_namespace(connection, "")
    while namespace is not None and len(found) < limit:
        page = _page(namespace, created_before, after, limit - len(found))
        found += [
            OldRow(Key(namespace, gid), *others)
            for gid, *others in connection.execute(page)
        ]
        namespace, after = _next_namespace(connection, namespace), None
    return found


def _page(
    namespace: str, created_before: Instant, after: OldRow | None, limit: int
) -> Select[Any]:
    statement = (
        select(
            _HEADERS.gid,
            _HEADERS.revision,
            _HEADERS.created_at,
            _HEADERS.finished_at,
            _HEADERS.attention_since,
            _HEADERS.depth,
            _HEADERS.journal_seq + _BRANCH_COUNT + 1,
        )
        .where(
            _HEADERS.namespace == namespace,
            tables.BEGAN_AT_ANY_TIME,
            _HEADERS.created_at < created_before,
        )
        .order_by(_HEADERS.created_at, _HEADERS.gid)
        .limit(limit)
        .with_hint(
            tables.global_transactions,
            "FORCE INDEX (ix_global_transactions_newest)",
            dialect_name="mysql",
        )
    )
    if after is not None:
        statement = statement.where(
            _HEADERS.created_at >= after.created_at,
            or_(_HEADERS.created_at > after.created_at, _HEADERS.gid > after.key.gid),
        )
    return statement


def _next_namespace(connection: Connection, namespace: str) -> str | None:
    statement = (
        select(_HEADERS.namespace)
        .where(_HEADERS.namespace > namespace)
        .order_by(_HEADERS.namespace)
        .limit(1)
    )
    found: str | None = connection.scalar(statement)
    return found


def histories(connection: Connection, keys: Sequence[Key]) -> list[History]:
    """All that is stored of those that exist; in one transaction's view."""
    journals = read.journals(connection, keys)
    return [History(tx, tuple(journals[tx.key])) for tx in read.load(connection, keys)]


def remove(
    connection: Connection, removals: Removals, rows: Sequence[OldRow]
) -> list[Key]:
    """Remove what is as it was read; return the keys of the others."""
    guards = retention.guards(rows)

    def take(keys: Sequence[Key]) -> bool:
        guarded = [(*key, guards[key]) for key in keys]
        if removals.headers.run(connection, guarded) != len(keys):
            return False
        for statement in removals.belongings:
            statement.run(connection, [tuple(key) for key in keys])
        return True

    return settle(connection, guards, take)
