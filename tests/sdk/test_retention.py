"""Removing rows of the barrier, on a real SQLite database (F-13, B3)."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product

import pytest
from sqlalchemy import event, insert, text

from participant_sdk import InvalidRequest
from participant_sdk.barrier import purge_barrier
from participant_sdk.barrier.retention import (
    _REMOVE,
    BATCH_DEFAULT,
    KEEP_DEFAULT,
    Purge,
)
from participant_sdk.barrier.rules import Outcome, Phase, Record, Slot, is_removable
from participant_sdk.barrier.table import TABLE
from tests.sdk.bank import (
    ACTION,
    CANCEL,
    COMPENSATION,
    CONFIRM,
    OK,
    OPENING,
    TRY,
    ask,
    call,
    told,
)

DAY_MS = 24 * 60 * 60 * 1_000
NOW_MS = time.time_ns() // 1_000_000
LONG_AGO = NOW_MS - 40 * DAY_MS


def grow_old(bank, days=40):
    """All that is recorded was recorded earlier."""
    with bank.engine.begin() as connection:
        connection.execute(
            text("UPDATE tercet_barrier SET created_at_ms = created_at_ms - :ms"),
            {"ms": days * DAY_MS},
        )


def horizon(bank):
    with bank.engine.connect() as connection:
        return connection.execute(
            text("SELECT created_at_ms FROM tercet_barrier WHERE slot = 0")
        ).scalar()


def old(phase, gid="g1", **fields):
    return call(phase, gid, began_at_ms=LONG_AGO, **fields)


async def test_a_late_try_of_a_removed_branch_is_refused(bank, executor):
    """F-13, B3: the tombstone is gone, and the try still takes no effect."""
    await ask(executor, old(CANCEL))
    grow_old(bank)
    assert purge_barrier(bank.engine) == 1
    assert bank.rows("g1") == []
    for _ in range(2):
        (late,) = await ask(executor, old(TRY))
        assert told(late) == ("refused", "BRANCH_EXPIRED")
    assert (bank.rows("g1"), bank.money()) == ([], (OPENING, 0))
    assert not bank.called


async def test_a_late_action_of_a_removed_branch_is_refused(bank, executor):
    """F-13, B3: also after an action and its compensation, and after a restart."""
    await ask(executor, old(ACTION, operation="bank.post"))
    await ask(executor, old(COMPENSATION, operation="bank.post"))
    grow_old(bank)
    assert purge_barrier(bank.engine) == 1
    restarted = bank.executor()
    (late,) = await ask(restarted, old(ACTION, operation="bank.post"))
    assert told(late) == ("refused", "BRANCH_EXPIRED")
    (undo,) = await ask(restarted, old(COMPENSATION, operation="bank.post"))
    assert told(undo) == ("failed", "BARRIER_ROW_EXPIRED")
    await restarted.close()
    assert bank.money() == (OPENING, 0)


async def test_new_transactions_go_on_after_a_purge(bank, executor):
    """F-13: those that began after the horizon, a day and a month ago too."""
    await ask(executor, call(CANCEL, "old"))
    grow_old(bank)
    purge_barrier(bank.engine)
    calls = [
        call(TRY, f"g{age}", began_at_ms=NOW_MS - age * DAY_MS, body={"amount": 1})
        for age in (0, 2, 30)
    ]
    assert [told(r) for r in await ask(executor, *calls)] == [OK, OK, OK]


async def test_a_transaction_of_unknown_age_is_refused_after_a_purge(bank, executor):
    """F-13, B3: without its begin nothing says that it is not a late one."""
    assert [told(r) for r in await ask(executor, call(TRY, "before"))] == [OK]
    purge_barrier(bank.engine)
    (reply,) = await ask(executor, call(TRY, "after"))
    assert told(reply) == ("refused", "BRANCH_EXPIRED")


async def test_a_try_that_waits_for_its_second_side_is_kept(bank, executor):
    """F-13, B3: however old; once it is confirmed and old, it goes."""
    await ask(executor, old(TRY))
    grow_old(bank, days=4_000)
    assert purge_barrier(bank.engine) == 0
    (again,) = await ask(executor, old(TRY))
    assert told(again) == OK
    assert [told(r) for r in await ask(executor, old(CONFIRM))] == [OK]
    assert purge_barrier(bank.engine) == 0, "its second side is young"
    grow_old(bank)
    assert purge_barrier(bank.engine) == 1
    assert bank.called == {"TRY": 1, "CONFIRM": 1}


async def test_the_purge_removes_what_the_rules_allow(bank):
    """F-13, B3: over every pair of rows, and in pages of every size."""
    records = [Record(p, o) for p, o in product(Phase, Outcome)]
    pairs = list(product(records, [None, *records]))
    rows = [
        row(f"g{n:03d}", slot, record, LONG_AGO)
        for n, pair in enumerate(pairs)
        for slot, record in zip(Slot, pair, strict=True)
        if record is not None
    ]
    expected = [f"g{n:03d}" for n, p in enumerate(pairs) if not is_removable(*p)]
    for batch in (97, 10_000):
        with bank.engine.begin() as connection:
            connection.execute(text("DELETE FROM tercet_barrier"))
            connection.execute(insert(TABLE), rows)
        removed = purge_barrier(bank.engine, batch=batch)
        with bank.engine.connect() as connection:
            kept = connection.execute(
                text("SELECT DISTINCT gid FROM tercet_barrier WHERE slot > 0")
            )
            assert expected == sorted(kept.scalars())
        assert removed == len(pairs) - len(expected)


def row(gid, slot, record, at_ms, branch_id="1"):
    return {
        "gid": gid,
        "branch_id": branch_id,
        "slot": int(slot),
        "operation": "bank.debit",
        "phase": record.phase.value,
        "outcome": record.outcome.value,
        "output": b"",
        "content_type": "",
        "code": "",
        "message": "",
        "created_at_ms": at_ms,
    }


def test_pages_end_between_branches_of_one_transaction(bank):
    """F-13: a transaction with more branches than a page loses none and keeps none."""
    done = Record(Phase.ACTION, Outcome.SUCCEEDED)
    with bank.engine.begin() as connection:
        connection.execute(
            insert(TABLE),
            [
                row(gid, Slot.FORWARD, done, LONG_AGO, branch_id=f"b{n}")
                for gid in ("a", "b", "c")
                for n in range(5)
            ],
        )
    assert purge_barrier(bank.engine, batch=3) == 15
    assert purge_barrier(bank.engine, batch=3) == 0


def test_the_horizon_only_grows(bank):
    """F-13, B3: a purge that keeps more does not forget what another removed."""
    purge_barrier(bank.engine, older_than=timedelta(days=31))
    first = horizon(bank)
    purge_barrier(bank.engine, older_than=timedelta(days=365))
    assert first == horizon(bank)
    purge_barrier(bank.engine, older_than=timedelta(days=31))
    assert horizon(bank) >= first
    assert first == pytest.approx(NOW_MS - 31 * DAY_MS, abs=DAY_MS)


async def test_a_purge_that_dies_leaves_a_horizon_and_its_removals(bank, executor):
    """F-13, B3: both are committed together, and the next run does the rest."""
    for number in range(4):
        await ask(executor, old(CANCEL, f"g{number}"))
    grow_old(bank)

    class Killed(BaseException):
        """Ends the process."""

    commits = []

    def die(_):
        commits.append(1)
        if len(commits) == 2:
            raise Killed

    event.listen(bank.engine, "commit", die)
    with pytest.raises(Killed):
        purge_barrier(bank.engine, batch=2)
    event.remove(bank.engine, "commit", die)
    left = [n for n in range(4) if bank.rows(f"g{n}")]
    assert left == [2, 3]
    replies = await ask(executor, *(old(TRY, f"g{n}") for n in range(4)))
    assert [told(r)[1] for r in replies] == ["BRANCH_EXPIRED"] * 2 + [
        "BRANCH_CANCELLED"
    ] * 2
    assert purge_barrier(bank.engine) == 2


def test_purges_and_late_tries_that_race_let_nothing_in(bank):
    """F-13, B3, B6: whichever is first, a cancelled branch never runs its try."""
    import asyncio

    rounds = range(30)

    async def do(phase):
        executor = bank.executor()
        for n in rounds:
            await ask(executor, old(phase, f"g{n}"))
        await executor.close()

    asyncio.run(do(CANCEL))
    grow_old(bank)
    with ThreadPoolExecutor(3) as threads:
        work = [
            threads.submit(asyncio.run, do(TRY)),
            threads.submit(purge_barrier, bank.engine, batch=1),
            threads.submit(purge_barrier, bank.engine, batch=3),
        ]
        for one in work:
            one.result()
    assert not bank.called["TRY"]
    assert bank.money() == (OPENING, 0)
    assert all(bank.rows(f"g{n}") == [] for n in rounds)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((timedelta(days=31) - timedelta(milliseconds=1), 1), "older_than"),
        ((timedelta(0), 1), "older_than"),
        ((timedelta(days=31), 0), "batch"),
    ],
)
def test_a_purge_that_could_remove_too_much_is_not_begun(arguments, field):
    """F-13, B3: rows outlive the longest transaction and the longest call."""
    with pytest.raises(InvalidRequest) as refused:
        Purge(*arguments)
    assert field == refused.value.field


# ---- To the millisecond -------------------------------------------------------------


@pytest.fixture
def fixed_now(monkeypatch):
    """The clock of whoever removes rows stands still."""
    monkeypatch.setattr(time, "time_ns", lambda: NOW_MS * 1_000_000 + 999_999)


def test_rows_are_kept_for_35_days_unless_somebody_says_otherwise():
    """F-13, B3: longer than anybody may wait, and a thousand branches at a time."""
    assert timedelta(days=35) == KEEP_DEFAULT
    assert BATCH_DEFAULT == 1_000


@pytest.mark.usefixtures("fixed_now")
def test_the_horizon_is_exact_and_moves_with_the_clock(bank):
    """F-13, B3: a later purge, or one that keeps less, moves it; never back."""
    for days in (365, 31, 100):
        purge_barrier(bank.engine, older_than=timedelta(days=days))
        assert horizon(bank) == NOW_MS - {365: 365, 31: 31, 100: 31}[days] * DAY_MS


@pytest.mark.usefixtures("fixed_now")
@pytest.mark.parametrize("slot", Slot)
def test_what_is_as_old_as_the_horizon_stays(bank, slot):
    """F-13, B3: the newer of a branch's rows counts, to the millisecond."""
    limit = NOW_MS - 31 * DAY_MS
    done = Record(Phase.ACTION, Outcome.SUCCEEDED)
    undone = Record(Phase.COMPENSATION, Outcome.SUCCEEDED)

    def at(instant):
        rows = [row("g1", Slot.FORWARD, done, limit - 9)]
        if slot is Slot.SECOND:
            rows.append(row("g1", Slot.SECOND, undone, instant))
        else:
            rows[0]["created_at_ms"] = instant
        with bank.engine.begin() as connection:
            connection.execute(text("DELETE FROM tercet_barrier"))
            connection.execute(insert(TABLE), rows)
        return purge_barrier(bank.engine, older_than=timedelta(days=31))

    assert at(limit) == 0
    assert bank.rows("g1")
    assert at(limit - 1) == 1
    assert bank.rows("g1") == []


def test_a_row_that_came_in_since_its_page_was_read_stays(bank):
    """F-13, B3, B6: on stores where others write meanwhile, its age is asked again."""
    done = Record(Phase.ACTION, Outcome.SUCCEEDED)
    with bank.engine.begin() as connection:
        connection.execute(insert(TABLE), [row("g1", Slot.FORWARD, done, 7)])
        for at_ms, left in ((7, 1), (8, 0)):
            key = {"b_gid": "g1", "b_branch_id": "1", "b_at": at_ms}
            connection.execute(_REMOVE, key)
            count = connection.execute(text("SELECT COUNT(*) FROM tercet_barrier"))
            assert count.scalar() == left


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_every_branch_is_looked_at_once(bank, batch):
    """F-13: also those that stay, and those of one transaction that fill pages."""
    waits = Record(Phase.TRY, Outcome.SUCCEEDED)
    with bank.engine.begin() as connection:
        connection.execute(
            insert(TABLE),
            [
                row(gid, Slot.FORWARD, waits, LONG_AGO, branch_id=f"b{n}")
                for gid in ("a", "b", "c")
                for n in range(4)
            ],
        )
    purge = Purge(KEEP_DEFAULT, batch)
    for _ in range(12 // batch):
        assert not purge.is_over
        with bank.engine.begin() as connection:
            purge.step(connection)
    with bank.engine.begin() as connection:
        purge.step(connection)
    assert purge.is_over
    assert purge.removed == 0


def test_a_purge_takes_the_write_lock_at_once(bank):
    """F-13, B6: so that SQLite cannot refuse it between its look and its removal."""
    begun = []

    def listen(_connection, _cursor, statement, *_):
        if statement.startswith("BEGIN"):
            begun.append(statement)

    event.listen(bank.engine, "before_cursor_execute", listen)
    purge_barrier(bank.engine)
    event.remove(bank.engine, "before_cursor_execute", listen)
    assert begun == ["BEGIN IMMEDIATE"]
