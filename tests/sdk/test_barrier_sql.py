"""The barrier's statements, where a database or a race is not like SQLite."""

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import mysql, postgresql

from participant_sdk import create_barrier_table
from participant_sdk.barrier import rules
from participant_sdk.barrier.rules import Outcome, Phase, Record, Slot
from participant_sdk.barrier.sql import (
    BranchKey,
    SqlBarrier,
    insert_if_free,
)

NOW_MS = 2_000_000_000_000


@pytest.fixture
def engine(tmp_path):
    """A database with the table."""
    made = create_engine(f"sqlite:///{tmp_path / 'barrier.db'}")
    create_barrier_table(made)
    yield made
    made.dispose()


@pytest.fixture
def cursor(engine):
    """Of a connection of its own; nothing is committed."""
    connection = engine.raw_connection()
    yield connection.cursor()
    connection.rollback()
    connection.close()


def key(phase):
    return BranchKey("g1", "b1", "bank.debit", phase)


def admit(barrier, cursor, phase, **fields):
    return barrier.admit(cursor, key(phase), known_done=False, now_ms=NOW_MS, **fields)


def test_a_row_that_cannot_be_seen_yet_means_ask_again(engine, cursor):
    """B6: the slot is taken, and the snapshot does not show by whom."""

    class Blind(SqlBarrier):
        """Another transaction took the second slot after ours began to read."""

        def _claim(self, cursor, key, slot, outcome, at_ms):
            free = slot is Slot.FORWARD
            return free and super()._claim(cursor, key, slot, outcome, at_ms)

    barrier = Blind(engine.dialect)
    admit(barrier, cursor, Phase.TRY)
    done = Record(Phase.TRY, Outcome.SUCCEEDED)
    barrier.settle(cursor, key(Phase.TRY), Slot.FORWARD, done)
    cancel = admit(barrier, cursor, Phase.CANCEL)
    assert isinstance(cancel.verdict, rules.Reject)
    assert (cancel.verdict.code, cancel.verdict.final) == ("BARRIER_BUSY", False)
    assert cancel.slot is None


@pytest.mark.parametrize("phase", [Phase.TRY, Phase.CANCEL])
def test_a_first_row_that_cannot_be_seen_yet_means_ask_again(engine, cursor, phase):
    """B2, B3, B6: neither a second try nor an empty cancel that leaves no tombstone."""

    class Blind(SqlBarrier):
        """The first slot is taken, and this snapshot shows no row of it."""

        def _claim(self, cursor, key, slot, outcome, at_ms):
            return slot is not Slot.FORWARD and super()._claim(
                cursor, key, slot, outcome, at_ms
            )

    barrier = Blind(engine.dialect)
    admission = admit(barrier, cursor, phase)
    assert isinstance(admission.verdict, rules.Reject)
    assert (admission.verdict.code, admission.slot) == ("BARRIER_BUSY", None)
    assert barrier.rows(cursor, key(phase)) == (None, None)


@pytest.mark.parametrize("phase", [Phase.CONFIRM, Phase.TRY])
def test_a_call_that_is_not_let_in_leaves_no_claim(engine, cursor, phase):
    """B5, B3: neither the wrong order nor an expired try keeps a row."""
    barrier = SqlBarrier(engine.dialect)
    cursor.execute(
        "INSERT INTO tercet_barrier VALUES ('*','*',0,'*','*','HORIZON','','','','',9)"
    )
    admission = admit(barrier, cursor, phase, began_at_ms=8)
    assert isinstance(admission.verdict, rules.Reject)
    assert admission.slot is None
    assert barrier.rows(cursor, key(phase)) == (None, None)
    assert admit(barrier, cursor, Phase.TRY, began_at_ms=9).slot is Slot.FORWARD


def test_a_row_remembers_the_later_of_begin_and_now(engine, cursor):
    """F-13, B3: so that it never outlives what its transaction's age says."""
    barrier = SqlBarrier(engine.dialect)
    admit(barrier, cursor, Phase.TRY, began_at_ms=NOW_MS + 5)
    cursor.execute("SELECT created_at_ms FROM tercet_barrier")
    assert cursor.fetchall() == [(NOW_MS + 5,)]


@pytest.mark.parametrize(
    ("dialect", "ending"),
    [
        (postgresql.dialect(), "ON CONFLICT (gid, branch_id, slot) DO NOTHING"),
        (
            mysql.dialect(),
            "UPDATE created_at_ms = created_at_ms + 0 * LAST_INSERT_ID(1)",
        ),
    ],
)
def test_no_insert_hides_any_other_error(dialect, ending):
    """B6, B7, P8: INSERT IGNORE would turn "too long" into a cut name."""
    text = str(insert_if_free(dialect.name).compile(dialect=dialect))
    assert text.endswith(ending)
    assert "IGNORE" not in text
