"""The barrier's statements, where a database or a race is not like SQLite."""

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import mysql, postgresql

from participant_sdk import create_barrier_table
from participant_sdk.barrier import rules
from participant_sdk.barrier.rules import Outcome, Phase, Record, Slot
from participant_sdk.barrier.sql import (
    BranchKey,
    RowLost,
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


def test_a_claim_is_of_a_call_that_shares_its_transaction(engine, cursor):
    """B1: unless it is said otherwise, as business outside the database has to."""
    barrier = SqlBarrier(engine.dialect)
    admit(barrier, cursor, Phase.TRY)
    (forward, _) = barrier.rows(cursor, key(Phase.TRY))
    assert forward.outcome is Outcome.RUNNING


def test_a_row_that_is_gone_is_loud(engine, cursor):
    """B1: somebody ended the transaction that the claim was part of."""
    barrier = SqlBarrier(engine.dialect)
    done = Record(Phase.TRY, Outcome.SUCCEEDED)
    with pytest.raises(RowLost):
        barrier.settle(cursor, key(Phase.TRY), Slot.FORWARD, done)
    with pytest.raises(RowLost):
        barrier.drop(cursor, key(Phase.TRY), Slot.FORWARD)


REFUSED = Record(Phase.ACTION, Outcome.REFUSED, code="NO_ROOM")


def refused_action(barrier, cursor):
    """An action that has been refused."""
    admit(barrier, cursor, Phase.ACTION)
    barrier.settle(cursor, key(Phase.ACTION), Slot.FORWARD, REFUSED)


def test_a_refusal_is_taken_over_where_that_is_asked_for(engine, cursor):
    """B4: by an action that runs anew, and by nothing that only repeats it."""
    barrier = SqlBarrier(engine.dialect)
    refused_action(barrier, cursor)
    assert admit(barrier, cursor, Phase.ACTION).verdict == rules.Answer(REFUSED)
    assert barrier.rows(cursor, key(Phase.ACTION))[0] == REFUSED
    anew = admit(barrier, cursor, Phase.ACTION, reconsider=True)
    assert (anew.verdict.replaces, anew.slot) == (REFUSED, Slot.FORWARD)
    running, _ = barrier.rows(cursor, key(Phase.ACTION))
    assert (running.outcome, running.code) == (Outcome.RUNNING, "")


def test_a_refusal_that_is_undone_becomes_a_tombstone(engine, cursor):
    """B2, B3: no later action is let in, not even one that would run anew."""
    barrier = SqlBarrier(engine.dialect)
    refused_action(barrier, cursor)
    undone = admit(barrier, cursor, Phase.COMPENSATION)
    assert (undone.verdict.replaces, undone.slot) == (REFUSED, Slot.FORWARD)
    assert barrier.rows(cursor, key(Phase.ACTION))[0].outcome is Outcome.EMPTY
    late = admit(barrier, cursor, Phase.ACTION, reconsider=True)
    assert isinstance(late.verdict, rules.Reject)
    assert late.slot is None


def test_who_comes_second_to_a_refusal_gets_the_first_ones_answer(engine, cursor):
    """B4, B6: the row no longer says what was read, so it is read again."""

    class Second(SqlBarrier):
        """Another call has taken the row over and answered, just before."""

        def _take_over(self, cursor, key, *rest):
            done = Record(Phase.ACTION, Outcome.SUCCEEDED)
            self.settle(cursor, key, Slot.FORWARD, done)
            return super()._take_over(cursor, key, *rest)

    barrier = Second(engine.dialect)
    refused_action(barrier, cursor)
    anew = admit(barrier, cursor, Phase.ACTION, reconsider=True)
    assert isinstance(anew.verdict, rules.Answer)
    assert (anew.verdict.record.outcome, anew.slot) == (Outcome.SUCCEEDED, None)
    assert barrier.rows(cursor, key(Phase.ACTION))[0].outcome is Outcome.SUCCEEDED


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
