"""Commits and claims of one statement each, on PostgreSQL; see :mod:`.at_once`."""

from collections.abc import Sequence

from coordinator.ports import Change, SweepRow
from coordinator.storage.sql import rows, tables
from coordinator.storage.sql.at_once import AtOnce
from coordinator.storage.sql.batch import UnnestInsert, UnnestUpdate
from coordinator.storage.sql.database import Lane
from coordinator.storage.sql.server import ServerDatabase
from coordinator.storage.sql.write import (
    CLAIMED,
    HEADER_KEY,
    by_order_of_locks,
    claimed_row,
    grouped,
    plan,
)


class CommitsAtOnce:
    """What :mod:`.write` does, where every guard holds."""

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        guard = (*HEADER_KEY, "revision")
        headers, branches = tables.global_transactions, tables.branches
        branch_key = (*HEADER_KEY, "branch_id")
        moved = UnnestUpdate(headers, rows.HEADER_MOVING, guard)
        begun = UnnestInsert(headers)
        entries = UnnestInsert(tables.journal)
        self._commit = AtOnce(moved, begun, entries)
        # What is not there costs as well: 80 parameters, and nodes of a plan.
        self._commit_with_branches = AtOnce(
            moved,
            begun,
            UnnestInsert(branches),
            UnnestUpdate(branches, rows.BRANCH_MOVING, branch_key),
            entries,
        )
        self._claim = AtOnce(UnnestUpdate(headers, CLAIMED, guard))

    async def write(self, changes: Sequence[Change]) -> bool:
        """Whether all changes have become durable, and otherwise none has."""
        plans = plan(changes).values()
        if any(plan.audit for plan in plans):
            return False  # its number follows from what is read first
        moved, begun, new, changed, entries = batches = grouped(plans)
        if new or changed:
            statement = self._commit_with_branches
        else:
            statement, batches = self._commit, (moved, begun, entries)
        return await statement.run(self._database, Lane.FOREGROUND, *batches)

    async def claim(self, listed: Sequence[SweepRow], owner: str) -> bool:
        """Whether ``owner`` owns all of these now, and otherwise none."""
        claimed = [
            claimed_row(row, owner) for row in by_order_of_locks(listed).values()
        ]
        return await self._claim.run(self._database, Lane.SWEEPER, claimed)
