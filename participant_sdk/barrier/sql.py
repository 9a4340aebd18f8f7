"""The barrier in a SQL database: claims, reads and settles rows; decides nothing.

Statements are compiled once per dialect and run on the driver's own cursor: they are
on the way of every call, and SQLAlchemy's execution would cost more than the
database does.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import (
    Delete,
    Dialect,
    Insert,
    Select,
    Update,
    bindparam,
    delete,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from participant_sdk.barrier import rules
from participant_sdk.barrier.rules import Outcome, Phase, Record, Slot, Verdict
from participant_sdk.barrier.table import IS_HORIZON, TABLE

_T = TABLE.c
_MYSQL = ("mysql", "mariadb")


class BranchKey(NamedTuple):
    """A branch, and the call that asks for it."""

    gid: str
    branch_id: str
    operation: str
    phase: Phase


class Admission(NamedTuple):
    """What the call may do, and the slot that it took for it."""

    verdict: Verdict
    slot: Slot | None


class _Statement:
    """One statement, compiled; runs on a driver's cursor."""

    __slots__ = ("_arrange", "_text")

    def __init__(
        self, statement: Insert | Update | Delete | Select[Any], dialect: Dialect
    ) -> None:
        compiled = statement.compile(dialect=dialect)
        self._text = str(compiled)
        order = getattr(compiled, "positiontup", None)
        self._arrange = _by_position(order) if order is not None else _by_name

    def run(self, cursor: Any, values: dict[str, Any]) -> None:
        cursor.execute(self._text, self._arrange(values))


def _by_position(order: list[str]) -> Callable[[dict[str, Any]], Any]:
    return lambda values: [values[name] for name in order]


def _by_name(values: dict[str, Any]) -> Any:
    return values


_KEY_IS = (
    (_T.gid == bindparam("b_gid"))
    & (_T.branch_id == bindparam("b_branch_id"))
    & (_T.slot == bindparam("b_slot"))
)


class SqlBarrier:
    """The barrier's statements for one database."""

    def __init__(self, dialect: Dialect) -> None:
        self._insert = _Statement(insert_if_free(dialect.name), dialect)
        self._is_mysql = dialect.name in _MYSQL
        self._read = _Statement(
            select(
                _T.slot,
                _T.phase,
                _T.outcome,
                _T.output,
                _T.content_type,
                _T.code,
                _T.message,
            ).where(
                _T.gid == bindparam("b_gid"),
                _T.branch_id == bindparam("b_branch_id"),
            ),
            dialect,
        )
        self._settle = _Statement(
            update(TABLE)
            .where(_KEY_IS)
            .values(
                outcome=bindparam("n_outcome"),
                output=bindparam("n_output"),
                content_type=bindparam("n_content_type"),
                code=bindparam("n_code"),
                message=bindparam("n_message"),
            ),
            dialect,
        )
        self._replace = _Statement(
            update(TABLE)
            .where(_KEY_IS, _T.outcome == bindparam("b_outcome"))
            .values(
                operation=bindparam("n_operation"),
                phase=bindparam("n_phase"),
                outcome=bindparam("n_outcome"),
                code=bindparam("n_code"),
                message=bindparam("n_message"),
                created_at_ms=bindparam("n_created_at_ms"),
            ),
            dialect,
        )
        self._drop = _Statement(delete(TABLE).where(_KEY_IS), dialect)
        self._read_horizon = _Statement(
            select(_T.created_at_ms).where(IS_HORIZON), dialect
        )

    def admit(
        self,
        cursor: Any,
        key: BranchKey,
        *,
        known_done: bool,
        now_ms: int,
        began_at_ms: int = 0,
        transactional: bool = True,
        reconsider: bool = False,
    ) -> Admission:
        """Claim the slot and ask the rules.

        The claim stands only for ``Run`` (to be settled or dropped by the caller)
        and ``Bury``; for every other verdict it is gone on return.
        """
        slot, outcome = rules.first_claim(key.phase, transactional=transactional)
        at_ms = rules.recorded_at(began_at_ms, now_ms)
        claimed = self._claim(cursor, key, slot, outcome, at_ms)
        own = slot if claimed else None
        expired = False
        if own is Slot.FORWARD:
            forward = second = None
            if not rules.is_surely_young(began_at_ms, now_ms):
                # Read after the claim: whoever removes rows writes the horizon first.
                expired = rules.is_expired(began_at_ms, self._horizon_ms(cursor))
        else:
            forward, second = self._rows(cursor, key, without=own)
        judge = partial(
            rules.admit, key.phase, known_done=known_done, reconsider=reconsider
        )
        verdict = judge(forward, second, expired=expired)
        if isinstance(verdict, rules.Run | rules.Bury) and own is None:
            outcome = rules.claim_of(transactional=transactional)
            own = self._claim_further(cursor, key, verdict, outcome, at_ms)
            if own is None:
                verdict = judge(*self.rows(cursor, key))
                if isinstance(verdict, rules.Run | rules.Bury):
                    # A snapshot that does not show the row that took the slot.
                    verdict = _BUSY
        if not isinstance(verdict, rules.Run | rules.Bury) and own is not None:
            self.drop(cursor, key, own)
            own = None
        if isinstance(verdict, rules.Answer):
            self.outlive_crash(cursor, key)
        return Admission(verdict, own)

    def outlive_crash(self, cursor: Any, key: BranchKey) -> None:
        """Let the COMMIT wait until the answer that was read is durable (T7).

        InnoDB shows others a transaction whose COMMIT still waits for the log. Whoever
        reads an answer then, and tells it, tells what a crash takes back. The log is
        one sequence, so a COMMIT that wrote anything waits for all before it. No other
        database needs this: they show what is durable.
        """
        if self._is_mysql:
            self._insert.run(cursor, _row(key, _TRACE_SLOT, Outcome.RUNNING, 0))
            self._drop.run(cursor, _key_values(key, _TRACE_SLOT))

    def _claim_further(
        self,
        cursor: Any,
        key: BranchKey,
        verdict: rules.Run | rules.Bury,
        outcome: Outcome,
        at_ms: int,
    ) -> Slot | None:
        """The slot that ``verdict`` needs, where the first claim met a row."""
        if verdict.replaces is not None:
            if isinstance(verdict, rules.Bury):
                outcome = Outcome.EMPTY
            taken = self._take_over(cursor, key, verdict.replaces, outcome, at_ms)
            return Slot.FORWARD if taken else None
        if isinstance(verdict, rules.Bury) or (
            key.phase.is_forward and not verdict.resumes
        ):
            # The first slot is what it needs, and that is taken.
            return None
        if verdict.resumes:
            return slot_of(key.phase)
        claimed = self._claim(cursor, key, Slot.SECOND, outcome, at_ms)
        return Slot.SECOND if claimed else None

    def settle(self, cursor: Any, key: BranchKey, slot: Slot, record: Record) -> None:
        """Record the answer in the claimed row.

        Raises:
            RowLost: it is not there any more.
        """
        self._settle.run(
            cursor,
            {
                **_key_values(key, slot),
                "n_outcome": record.outcome.value,
                "n_output": record.output,
                "n_content_type": record.content_type,
                "n_code": record.code,
                "n_message": record.message,
            },
        )
        _check_one_row(cursor)

    def drop(self, cursor: Any, key: BranchKey, slot: Slot) -> None:
        """Give the claimed slot back.

        Raises:
            RowLost: it is not there any more.
        """
        self._drop.run(cursor, _key_values(key, slot))
        _check_one_row(cursor)

    def rows(self, cursor: Any, key: BranchKey) -> tuple[Record | None, Record | None]:
        """All that is recorded of the branch: first side, second side."""
        return self._rows(cursor, key, without=None)

    def _claim(
        self, cursor: Any, key: BranchKey, slot: Slot, outcome: Outcome, at_ms: int
    ) -> bool:
        self._insert.run(cursor, _row(key, slot, outcome, at_ms))
        is_taken = self._is_mysql and cursor.lastrowid
        return bool(cursor.rowcount == 1 and not is_taken)

    def _take_over(
        self,
        cursor: Any,
        key: BranchKey,
        replaced: Record,
        outcome: Outcome,
        at_ms: int,
    ) -> bool:
        """Make the first slot's row this call's, if it still says what was read."""
        self._replace.run(
            cursor,
            {
                **_key_values(key, Slot.FORWARD),
                "b_outcome": replaced.outcome.value,
                "n_operation": key.operation,
                "n_phase": key.phase.value,
                "n_outcome": outcome.value,
                "n_code": "",
                "n_message": "",
                "n_created_at_ms": at_ms,
            },
        )
        return bool(cursor.rowcount == 1)

    def _rows(
        self, cursor: Any, key: BranchKey, *, without: Slot | None
    ) -> tuple[Record | None, Record | None]:
        self._read.run(cursor, {"b_gid": key.gid, "b_branch_id": key.branch_id})
        rows: dict[int, Record] = {}
        for slot, phase, outcome, output, content_type, code, message in cursor:
            rows[slot] = Record(
                Phase(phase),
                Outcome(outcome),
                bytes(output),
                content_type,
                code,
                message,
            )
        if without is not None:
            rows.pop(without, None)
        return rows.get(Slot.FORWARD), rows.get(Slot.SECOND)

    def _horizon_ms(self, cursor: Any) -> int:
        self._read_horizon.run(cursor, {})
        row = cursor.fetchone()
        return 0 if row is None else int(row[0])


_TRACE_SLOT = 0
"""No call takes it; a row in it is removed by the transaction that wrote it."""


def _row(key: BranchKey, slot: int, outcome: Outcome, at_ms: int) -> dict[str, Any]:
    return {
        "gid": key.gid,
        "branch_id": key.branch_id,
        "slot": int(slot),
        "operation": key.operation,
        "phase": key.phase.value,
        "outcome": outcome.value,
        "output": b"",
        "content_type": "",
        "code": "",
        "message": "",
        "created_at_ms": at_ms,
    }


def _key_values(key: BranchKey, slot: int) -> dict[str, Any]:
    return {"b_gid": key.gid, "b_branch_id": key.branch_id, "b_slot": int(slot)}


_BUSY = rules.Reject("BARRIER_BUSY", "the same branch is being worked on; ask again")


def slot_of(phase: Phase) -> Slot:
    """Where a call of ``phase`` records its answer."""
    return Slot.FORWARD if phase.is_forward else Slot.SECOND


def insert_if_free(dialect_name: str) -> Insert:
    """An insert that a taken key, and nothing else, turns into no row.

    MariaDB and MySQL have two words for it, and neither will do: INSERT IGNORE hides
    other errors too, and a plain INSERT that fails keeps a shared lock on the row, so
    that two of them deadlock. So the taken row is updated to what it is, which locks it
    for this transaction alone. Drivers count that as one row, like an insert; by
    ``LAST_INSERT_ID(1)`` the same answer tells them apart, in ``cursor.lastrowid``.
    """
    key = [_T.gid, _T.branch_id, _T.slot]
    if dialect_name == "sqlite":
        return sqlite.insert(TABLE).on_conflict_do_nothing(index_elements=key)
    if dialect_name == "postgresql":
        return postgresql.insert(TABLE).on_conflict_do_nothing(index_elements=key)
    return mysql.insert(TABLE).on_duplicate_key_update(
        created_at_ms=literal_column("created_at_ms + 0 * LAST_INSERT_ID(1)")
    )


class RowLost(Exception):
    """A claimed row is gone: somebody ended the transaction that it was part of."""


def _check_one_row(cursor: Any) -> None:
    if cursor.rowcount != 1:
        raise RowLost
