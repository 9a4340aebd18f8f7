"""What may be forgotten, decided from rows alone."""

import pytest
from msgspec.structs import replace

from coordinator.core import retention
from coordinator.core.errors import InvariantViolated
from coordinator.core.model import Key
from coordinator.core.retention import CLOCK_SKEW_MS, OldRow

BEFORE = 1_000_000_000

OVER = OldRow(
    Key("default", "g"),
    revision=7,
    created_at=BEFORE - 100,
    finished_at=BEFORE - 1,
    attention_since=None,
    depth=0,
    rows=3,
)
NESTED = replace(OVER, depth=1)


def may_go(row: OldRow, unfinished_since: int | None = BEFORE) -> bool:
    return retention.may_go(
        row, finished_before=BEFORE, unfinished_since=unfinished_since
    )


def test_what_finished_before_the_instant_may_go() -> None:
    """To the millisecond."""
    assert may_go(OVER)
    assert may_go(OVER, None)
    assert not may_go(replace(OVER, finished_at=BEFORE))


def test_what_is_unfinished_or_needs_a_person_never_goes() -> None:
    """However old it is."""
    assert not may_go(replace(OVER, created_at=0, finished_at=None))
    assert not may_go(replace(OVER, attention_since=1))


def test_what_is_nested_waits_for_all_that_began_before_it() -> None:
    """Its surrounding call may be repeated as long as its transaction is unfinished."""
    began = NESTED.created_at
    assert not may_go(NESTED, None)
    assert not may_go(NESTED, began)
    assert not may_go(NESTED, began + CLOCK_SKEW_MS)
    assert may_go(NESTED, began + CLOCK_SKEW_MS + 1)
    assert not may_go(replace(NESTED, finished_at=BEFORE), began + CLOCK_SKEW_MS + 1)


def test_the_oldest_unfinished_is_remembered() -> None:
    """Page after page."""
    unfinished = replace(OVER, finished_at=None, created_at=50)
    since = retention.unfinished_since([OVER], BEFORE)
    assert since == BEFORE
    since = retention.unfinished_since([OVER, unfinished], since)
    assert since == 50
    assert retention.unfinished_since([replace(unfinished, created_at=60)], 50) == 50


def test_the_bounds_are_those_that_are_promised() -> None:
    """Clocks differ by ten minutes; 200 transactions or 2,000 rows go at once."""
    assert CLOCK_SKEW_MS == 600_000
    rows = [replace(OVER, rows=3)] * 401
    assert [len(batch) for batch in retention.batches(rows)] == [200, 200, 1]
    rows = [replace(OVER, rows=20)] * 101
    assert [len(batch) for batch in retention.batches(rows)] == [100, 1]
    rows = [replace(OVER, rows=1_999), replace(OVER, rows=1)] * 2
    assert [len(batch) for batch in retention.batches(rows)] == [2, 2]
    rows = [replace(OVER, rows=2_000), replace(OVER, rows=1)]
    assert [len(batch) for batch in retention.batches(rows)] == [1, 1]
    rows = [replace(OVER, rows=2_000), *rows]
    assert [len(batch) for batch in retention.batches(rows)] == [1, 1, 1]


def test_batches_are_bounded_by_transactions_and_by_rows() -> None:
    """One that is larger than a batch is a batch by itself; nothing is left out."""
    rows = [replace(OVER, rows=n) for n in (1, 1, 1, 50, 9, 1)]
    found = list(retention.batches(rows, transactions_max=2, rows_max=10))
    assert [[row.rows for row in batch] for batch in found] == [
        [1, 1],
        [1],
        [50],
        [9, 1],
    ]
    assert list(retention.batches([])) == []


def test_guards_are_of_finished_rows_alone() -> None:
    """In the order of keys, in which all others lock them too."""
    other = replace(OVER, key=Key("default", "a"), revision=2)
    assert list(retention.guards([OVER, other]).items()) == [
        (other.key, 2),
        (OVER.key, 7),
    ]
    with pytest.raises(InvariantViolated, match="unfinished"):
        retention.guards([replace(OVER, finished_at=None)])


def test_an_old_gid_may_be_that_of_a_transaction_that_is_gone() -> None:
    """Sooner than transactions go, by as much as clocks may differ."""
    kept_ms = 5 * CLOCK_SKEW_MS
    now = BEFORE + kept_ms - CLOCK_SKEW_MS
    assert not retention.may_be_gone(BEFORE, kept_ms=kept_ms, now=now)
    assert retention.may_be_gone(BEFORE - 1, kept_ms=kept_ms, now=now)


def test_what_is_found_stays_while_a_request_is_answered() -> None:
    """Unless it goes so soon that a clock may say that it went already."""
    kept_ms = 5 * CLOCK_SKEW_MS
    now = BEFORE + kept_ms - CLOCK_SKEW_MS
    assert retention.stays(None, kept_ms=kept_ms, now=now)
    assert retention.stays(BEFORE, kept_ms=kept_ms, now=now)
    assert not retention.stays(BEFORE - 1, kept_ms=kept_ms, now=now)
