"""Commits and claims of one statement each, on PostgreSQL; see :mod:`.at_once`."""

from collections.abc import Sequence
from itertools import compress

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
        self._moved = UnnestUpdate(
            headers, rows.HEADER_MOVING + rows.HEADER_GROWING, guard
        )
        self._others = (
            UnnestInsert(headers),
            UnnestInsert(branches),
            UnnestUpdate(branches, rows.BRANCH_MOVING, branch_key),
            UnnestInsert(tables.journal),
        )
        self._commits: dict[tuple[bool, ...], AtOnce] = {}
        self._claim = AtOnce(UnnestUpdate(headers, CLAIMED, guard))

    async def write(self, changes: Sequence[Change]) -> bool:
        """Whether all changes have become durable, and otherwise none has."""
        if any(change.audit for change in changes):
            return False  # its number follows from what is read first
        batches = grouped(plan(changes).values())
        statement = self._statement(tuple(map(bool, batches)))
        some = filter(None, batches)
        return await statement.run(self._database, Lane.FOREGROUND, *some)

    def _statement(self, are_there: tuple[bool, ...]) -> AtOnce:
        """One that has no clause for what is not there: each costs both sides its
        parameters, and the server nodes of a plan.
        """
        commit = self._commits.get(are_there)
        if commit is None:
            moved, *others = are_there
            commit = self._commits[are_there] = AtOnce(
                self._moved if moved else None, *compress(self._others, others)
            )
        return commit

    async def claim(self, listed: Sequence[SweepRow], owner: str) -> bool:
        """Whether ``owner`` owns all of these now, and otherwise none."""
        claimed = [
            claimed_row(row, owner) for row in by_order_of_locks(listed).values()
        ]
        return await self._claim.run(self._database, Lane.SWEEPER, claimed)
