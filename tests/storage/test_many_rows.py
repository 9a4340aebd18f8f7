"""SQLite's statements of many rows: what they change, how it is found, their size."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import IntegrityError

from coordinator.storage.sql import tables
from coordinator.storage.sql.many_rows import (
    BYTES_MAX,
    PARAMETER_MAX,
    ManyRowsInsert,
    ManyRowsUpdate,
)
from coordinator.storage.sql.rows import Row
from coordinator.storage.sql.statement import Batch
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.write import CLAIMED, HEADER_KEY
from tests.storage.samples import NOW, apart, began, commit, key, tried

TABLE = tables.journal
INSERT = ManyRowsInsert(TABLE)
UPDATE = ManyRowsUpdate(TABLE, ("events", "at"), ("namespace", "gid", "seq", "at"))
"""It has all that a transaction's statements have, in five columns; the instant plays
the revision's part."""


@dataclass(frozen=True)
class Call:
    """What the driver was asked."""

    text: str
    values: Sequence[Any]


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    store = await open_store(url)
    yield store
    await store.close()


@pytest.fixture
def calls(store: SqlStore) -> list[Call]:
    found: list[Call] = []

    def note(_c: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        if text.startswith("INSERT"):
            found.append(Call(text, values))

    event.listen(store._database._writing, "before_cursor_execute", note)
    return found


async def written(store: SqlStore, batch: Batch, given: Sequence[Row]) -> int:
    """In one transaction; how many rows were changed."""

    def run(connection: Connection) -> int:
        with connection.begin():
            return batch.run(connection, given)

    return await store._database.write(run)


async def emptied(store: SqlStore) -> None:
    def run(connection: Connection) -> None:
        with connection.begin():
            connection.exec_driver_sql("DELETE FROM journal")

    await store._database.write(run)


async def everything(store: SqlStore) -> list[Row]:
    def ask(connection: Connection) -> list[Row]:
        found = connection.exec_driver_sql("SELECT * FROM journal ORDER BY gid, seq")
        return [tuple(row) for row in found]

    return await store._database.read(ask)


def entry(number: int, *, at: int = NOW, events: str | None = None) -> Row:
    """Two for each transaction, in turn of two namespaces."""
    seq = number % 2 + 1
    gid = f"tx-{number // 2:05}"
    said = f"[{number}]" if events is None else events
    return (f"bank-{number // 2 % 2}", gid, seq, at, said)


def moved(old: Row, events: str, at: int) -> Row:
    """A row of the update."""
    return (events, at, *old[:4])


SIZES = [1, 2, 3, 64, 65, 247, 248, 249, 250, 500, 1_000]
"""Around a power of two, around what a statement takes, and more."""


@pytest.mark.parametrize("size", SIZES)
async def test_any_number_of_rows_is_written(store: SqlStore, size: int) -> None:
    """L1: each row as it was given, and as many are counted."""
    old = [entry(number) for number in range(size)]
    assert size == await written(store, INSERT, old)
    assert old == await everything(store)
    batch = [moved(row, f"[{n}, 2]", NOW + n % 7) for n, row in enumerate(old)]
    assert size == await written(store, UPDATE, batch)
    assert await everything(store) == [
        (*row[:3], NOW + n % 7, f"[{n}, 2]") for n, row in enumerate(old)
    ]


async def test_nothing_is_written_of_no_rows(store: SqlStore) -> None:
    """Nor is anybody asked."""
    assert await written(store, INSERT, []) == 0
    assert await written(store, UPDATE, []) == 0


@pytest.mark.parametrize("size", [1, 3, 300])
async def test_only_rows_whose_guard_holds_are_changed(
    store: SqlStore, size: int
) -> None:
    """L1: what is not there, or not as it was read, is neither changed nor made, and
    the count tells.
    """
    old = [entry(number) for number in range(size)]
    await written(store, INSERT, old)
    fresh = [moved(entry(number), "[9]", 9) for number in range(size, 2 * size)]
    stale = [moved((*row[:3], NOW - 1), "[9]", 9) for row in old]
    assert await written(store, UPDATE, fresh) == 0
    assert await written(store, UPDATE, stale) == 0
    assert old == await everything(store)
    some = [moved(row, "[9]", 9) for row in old[::2]]
    batch = sorted([*some, *stale[1::2], *fresh], key=lambda row: row[2:])
    assert len(some) == await written(store, UPDATE, batch)
    assert await everything(store) == [
        row if n % 2 else (*row[:3], 9, "[9]") for n, row in enumerate(old)
    ]


async def test_what_is_not_set_stays(store: SqlStore) -> None:
    """A claim changes the columns of a claim, whatever else a row must have."""
    await commit(store, *(began(number, "debit") for number in range(40)))
    claim = ManyRowsUpdate(
        tables.global_transactions, CLAIMED, (*HEADER_KEY, "revision")
    )
    before = await store.load([key(number) for number in range(40)])
    batch = [(2, "node-2", 1, *tx.key, 1) for tx in before]
    assert await written(store, claim, batch) == 40
    after = await store.load([key(number) for number in range(40)])
    for old, new in zip(before, after, strict=True):
        assert (new.owner, new.revision) == ("node-2", 2)
        assert old.request == new.request
        assert old.branches == new.branches


@pytest.mark.parametrize("size", [1, 70, 500])
async def test_a_key_that_exists_is_refused(store: SqlStore, size: int) -> None:
    """T11: with everything that was to be written beside it."""
    there = entry(size - 1, events="[]")
    await written(store, INSERT, [there])
    batch = [entry(number) for number in range(size)]

    def run(connection: Connection) -> None:
        with pytest.raises(IntegrityError), connection.begin():
            INSERT.run(connection, batch)

    await store._database.write(run)
    assert [there] == await everything(store)


async def test_statements_are_few_and_their_texts_fewer(
    store: SqlStore, calls: list[Call]
) -> None:
    """Whatever the number of rows: each text is parsed once and kept by the driver."""
    texts = set()
    for size in range(1, 600, 7):
        calls.clear()
        await written(store, INSERT, [entry(n, at=size) for n in range(size)])
        assert len(calls) == -(-size // 249)
        assert all(len(call.values) <= PARAMETER_MAX for call in calls)
        texts.update(call.text for call in calls)
        await emptied(store)
    assert len(texts) <= 10


async def test_what_rows_have_in_common_is_given_once(
    store: SqlStore, calls: list[Call]
) -> None:
    """Giving a value needs the interpreter's lock."""
    await written(store, INSERT, [entry(n, events="[]") for n in range(64)])
    (call,) = calls
    assert [call.values.count(value) for value in (NOW, "[]")] == [1, 1]
    assert len(call.values) == 3 * 64 + 2


async def test_a_statement_is_no_longer_than_it_may_be(
    store: SqlStore, calls: list[Call]
) -> None:
    """The driver keeps it. A row that is longer goes alone, in the text of its own."""
    lengths = [40_000] * 9 + [1_000_000] * 3 + [10] * 100
    given = [entry(n, events=f"{n:03}" * length) for n, length in enumerate(lengths)]
    assert await written(store, INSERT, given) == len(given)
    alone = {call.text for call in calls if weight(call) > BYTES_MAX}
    assert len(alone) == 1
    assert sum(call.text in alone for call in calls) >= 3
    assert given == await everything(store)


def weight(call: Call) -> int:
    """Characters that were given."""
    return sum(len(value) for value in call.values if isinstance(value, str))


STATISTICS = {"none": None, "of no row": 0, "of one row": 1, "of many rows": 900}


@pytest.mark.parametrize("count", STATISTICS.values(), ids=STATISTICS)
async def test_rows_are_found_by_the_key_alone(
    store: SqlStore, url: str, calls: list[Call], count: int | None
) -> None:
    """Whatever the statistics say. Where a table had one row when they were made, a
    join would look at each row of the table for each that is written.
    """
    old = [apart(began(number, "debit")) for number in range(900)]
    await commit(store, *old[: count or 0])
    if count is not None:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
            other.execute("ANALYZE")
    await commit(store, *old[count or 0 :])
    calls.clear()
    await commit(store, *(tried(change.after) for change in old[:400]))
    await commit(store, tried(old[500].after))
    plans = []
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
        for call in calls:
            text = f"EXPLAIN QUERY PLAN {call.text}"
            plans.append([row[3] for row in other.execute(text, call.values)])
    by_key = "SEARCH k USING INDEX sqlite_autoindex_"
    covering = by_key.replace("INDEX", "COVERING INDEX")
    found = {step for plan in plans for step in plan if "CONSTANT ROW" not in step}
    assert {step for step in found if " k " in step} == {
        f"{by_key}global_transactions_1 (namespace=? AND gid=?)",
        f"{covering}branches_1 (namespace=? AND gid=? AND branch_id=?)",
    }
    assert {step for step in found if "SCAN" in step} == {"SCAN v", "SCAN f"}
    assert not any("BLOOM" in step for step in found)
