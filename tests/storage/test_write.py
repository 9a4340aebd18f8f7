"""The write itself: races between its rounds."""

import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event

from coordinator.core.errors import InvariantViolated, StoreUnavailable
from coordinator.storage.sql import write
from coordinator.storage.sql.store import SqlStore, open_store
from tests.storage.samples import apart, began, commit, key, stored, tried


def take_over(path: str) -> None:
    """What another node's claim of transaction 1 does."""
    with sqlite3.connect(path) as other:
        other.execute(
            "UPDATE global_transactions SET revision = 2, owner = 'node-9'"
            " WHERE gid = ?",
            [key(1).gid],
        )
    other.close()


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    store = await open_store(url)
    yield store
    await store.close()


async def test_who_comes_between_two_rounds_wins(store: SqlStore, url: str) -> None:
    """L1: the rest of a batch is still guarded when it is written again."""
    path = url.removeprefix("sqlite:///")
    first = [began(number, "debit") for number in range(3)]
    await commit(store, *first)
    await commit(store, tried(first[0].after))
    rounds: list[int] = []

    def come_between(_connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        if text == "BEGIN IMMEDIATE":
            rounds.append(len(rounds) + 1)
            if rounds == [1, 2]:
                take_over(path)

    event.listen(store._database._writing, "before_cursor_execute", come_between)
    conflicts = await store.commit([tried(change.after) for change in first])
    assert rounds == [1, 2]
    assert [key(0), key(1)] == sorted(conflicts)
    assert (await stored(store, key(1))).owner == "node-9"
    assert tried(first[2].after).after == await stored(store, key(2))


async def test_rows_that_belong_to_nothing_are_loud(store: SqlStore, url: str) -> None:
    """T11: a journal that is ahead of its transaction is never written over."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as other:
        other.execute(
            "INSERT INTO journal VALUES (?, ?, 1, 0, '[]')", ["default", key(1).gid]
        )
    other.close()
    with pytest.raises(InvariantViolated):
        await store.commit([apart(began(1, "debit")), began(2)])
    assert await store.load([key(1), key(2)]) == []
    await commit(store, began(2))


async def test_a_batch_that_never_gets_through_is_given_up(store: SqlStore) -> None:
    """Somebody else's write went through each time; nothing of ours is left."""
    await commit(store, began(1, "debit"))
    asked: list[object] = []

    def refuse(keys: object) -> bool:
        asked.append(keys)
        return False

    with pytest.raises(StoreUnavailable):
        await store._database.write(
            lambda connection: write.settle(connection, {key(1): 1}, refuse)
        )
    assert len(asked) == 10
