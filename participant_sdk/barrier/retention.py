"""Removing rows of the barrier that nobody can need any more (B3).

The whole table is walked by key, one page a transaction. Each of them first raises
the horizon, then removes; so a crash leaves a horizon without removals, never the
other way round, and the next run simply begins again.
"""

import time
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from participant_sdk.barrier import rules
from participant_sdk.barrier.rules import Outcome, Phase, Record, Slot
from participant_sdk.barrier.sql import insert_if_free
from participant_sdk.barrier.table import HORIZON_KEY, IS_HORIZON, TABLE
from participant_sdk.errors import InvalidRequest
from participant_sdk.sqlite import IMMEDIATE

KEEP_DEFAULT = timedelta(days=35)
BATCH_DEFAULT = 1_000


def purge_barrier(
    engine: Engine, *, older_than: timedelta = KEEP_DEFAULT, batch: int = BATCH_DEFAULT
) -> int:
    """Remove rows of branches that ended longer ago; how many branches that were.

    Run it from time to time, by whom you like, beside everything else: two at once do
    no harm, and one that was interrupted goes on with the next run. Never removed,
    however old, is a try that still waits for its confirm or cancel.

    From then on a try or action of a transaction that began before ``older_than`` is
    refused as BRANCH_EXPIRED, for it may be a late one; and a compensation whose row
    is gone fails as BARRIER_ROW_EXPIRED instead of counting as empty.

    Args:
        engine: of the participant's database.
        older_than: at least 31 days, which is longer than any transaction may wait
            for its decision. Choose more if compensations wait for people for weeks.
        batch: branches looked at in one transaction.

    Raises:
        InvalidRequest: an argument is out of its bounds.
    """
    purge = Purge(older_than, batch)
    while not purge.is_over:
        with (
            engine.connect().execution_options(**{IMMEDIATE: True}) as connection,
            connection.begin(),
        ):
            purge.step(connection)
    return purge.removed


class Purge:
    """One walk over the table; each ``step`` is called in a transaction of its own.

    Attributes:
        removed: branches so far.
        is_over: there is nothing further to look at.
    """

    def __init__(self, older_than: timedelta, batch: int) -> None:
        keep_ms = older_than // timedelta(milliseconds=1)
        if keep_ms < rules.KEEP_MS_MIN:
            raise InvalidRequest(
                f"expected at least {rules.KEEP_MS_MIN // rules.DAY_MS} days, got "
                f"{older_than}: transactions may wait for 30 days",
                field="older_than",
            )
        if batch < 1:
            raise InvalidRequest("expected at least 1", field="batch")
        self.removed = 0
        self.is_over = False
        self._batch = batch
        self._horizon_ms = rules.horizon_of(time.time_ns() // 1_000_000, keep_ms)
        self._after = ("", "")

    def step(self, connection: Connection) -> None:
        """Look at the next page of branches, and remove what nobody needs."""
        _raise_horizon(connection, self._horizon_ms)
        gid, branch_id = self._after
        page = connection.execute(
            _PAGE.limit(self._batch), {"a_gid": gid, "a_branch_id": branch_id}
        ).all()
        old = [
            {"b_gid": row.gid, "b_branch_id": row.branch_id, "b_at": self._horizon_ms}
            for row in page
            if _newest_ms(row) < self._horizon_ms
            and rules.is_removable(
                Record(Phase(row.phase), Outcome(row.outcome)),
                None
                if row.second_phase is None
                else Record(Phase(row.second_phase), Outcome(row.second_outcome)),
            )
        ]
        if old:
            connection.execute(_REMOVE, old)
        self.removed += len(old)
        if len(page) < self._batch:
            self.is_over = True
        else:
            self._after = (page[-1].gid, page[-1].branch_id)


def _newest_ms(row: Any) -> int:
    second_ms = row.second_created_at_ms
    newest = (
        row.created_at_ms if second_ms is None else max(row.created_at_ms, second_ms)
    )
    return int(newest)


def _raise_horizon(connection: Connection, horizon_ms: int) -> None:
    """Write it, unless it is later already: it only grows."""
    row = {
        **HORIZON_KEY,
        "operation": "*",
        "phase": "*",
        "outcome": "HORIZON",
        "output": b"",
        "content_type": "",
        "code": "",
        "message": "",
        "created_at_ms": horizon_ms,
    }
    connection.execute(insert_if_free(connection.dialect.name), row)
    connection.execute(
        update(TABLE)
        .where(IS_HORIZON, TABLE.c.created_at_ms < horizon_ms)
        .values(created_at_ms=horizon_ms)
    )


_FIRST = TABLE.alias("first_side")
_SECOND = TABLE.alias("second_side")

_PAGE = (
    select(
        _FIRST.c.gid,
        _FIRST.c.branch_id,
        _FIRST.c.phase,
        _FIRST.c.outcome,
        _FIRST.c.created_at_ms,
        _SECOND.c.phase.label("second_phase"),
        _SECOND.c.outcome.label("second_outcome"),
        _SECOND.c.created_at_ms.label("second_created_at_ms"),
    )
    .outerjoin_from(
        _FIRST,
        _SECOND,
        (_SECOND.c.gid == _FIRST.c.gid)
        & (_SECOND.c.branch_id == _FIRST.c.branch_id)
        & (_SECOND.c.slot == int(Slot.SECOND)),
    )
    .where(
        _FIRST.c.slot == int(Slot.FORWARD),
        # The first half alone lets every store begin at the right place of the key.
        _FIRST.c.gid >= bindparam("a_gid"),
        (_FIRST.c.gid > bindparam("a_gid"))
        | (_FIRST.c.branch_id > bindparam("a_branch_id")),
    )
    .order_by(_FIRST.c.gid, _FIRST.c.branch_id)
)

# The age is asked again: a row that came in since the page was read stays.
_REMOVE = delete(TABLE).where(
    TABLE.c.gid == bindparam("b_gid"),
    TABLE.c.branch_id == bindparam("b_branch_id"),
    TABLE.c.created_at_ms < bindparam("b_at"),
)
