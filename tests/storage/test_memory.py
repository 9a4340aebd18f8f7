"""What the reference store adds for tests: commits that crash midway."""

import asyncio

import pytest

from coordinator.core.errors import InvariantViolated, StoreUnavailable
from coordinator.storage.memory import MemoryStore
from tests.storage.samples import began, commit, key, stored, tried


@pytest.mark.parametrize("kept", [True, False])
async def test_a_crash_leaves_the_outcome_unknown(kept: bool) -> None:
    """L6: the caller hears the same, whether it happened or not."""
    store = MemoryStore(holding=True)
    pending = asyncio.ensure_future(store.commit([began(1), began(2)]))
    await store.until_held()
    store.crash(kept=kept)
    with pytest.raises(StoreUnavailable):
        await pending
    found = await store.reopen().load([key(1), key(2)])
    assert (2 if kept else 0) == len(found)


async def test_a_crash_decides_for_each_commit_wholly() -> None:
    """A commit vanishes or stays as one."""
    store = MemoryStore(holding=True)
    batches = [[began(1), began(2)], [began(3)], [began(4)]]
    pending = [asyncio.ensure_future(store.commit(batch)) for batch in batches]
    await store.until_held()
    await asyncio.wait(pending, timeout=0)
    assert batches == store.held()
    store.crash(kept=lambda changes: changes[0].key in (key(1), key(4)))
    outcomes = await asyncio.gather(*pending, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    found = await store.reopen().load([key(n) for n in range(1, 5)])
    assert [key(1), key(2), key(4)] == sorted(tx.key for tx in found)


async def test_a_crashed_handle_answers_nothing() -> None:
    """A dead process asks no more; its successor has a handle of its own."""
    store = MemoryStore()
    await commit(store, began(1))
    store.crash()
    with pytest.raises(StoreUnavailable):
        await store.load([key(1)])
    with pytest.raises(StoreUnavailable):
        await store.commit([began(2)])
    with pytest.raises(StoreUnavailable):
        await store.list_operations("default")
    assert began(1).after == await stored(store.reopen(), key(1))


@pytest.mark.parametrize("kept", [True, False])
async def test_a_lost_connection_leaves_the_handle_alive(kept: bool) -> None:
    """The caller re-reads on the same handle, and learns what happened."""
    store = MemoryStore()
    first = began(1, "debit")
    await commit(store, first)
    store.holding = True
    pending = asyncio.ensure_future(store.commit([tried(first.after)]))
    await store.until_held()
    store.lose(kept=kept)
    with pytest.raises(StoreUnavailable):
        await pending
    assert (2 if kept else 1) == (await stored(store, key(1))).revision


async def test_held_commits_are_carried_out_in_order() -> None:
    """The guard is read when a commit happens, not when it is called."""
    store = MemoryStore(holding=True)
    first = began(1, "debit")
    calls = [
        asyncio.ensure_future(store.commit([change]))
        for change in (first, tried(first.after), began(1))
    ]
    await asyncio.wait(calls, timeout=0)
    assert not any(call.done() for call in calls)
    store.release()
    assert [[], [], [key(1)]] == await asyncio.gather(*calls)


async def test_a_caller_that_gave_up_does_not_undo_its_commit() -> None:
    """A cancelled wait is an unknown outcome too."""
    store = MemoryStore(holding=True)
    pending = asyncio.ensure_future(store.commit([began(1)]))
    await store.until_held()
    pending.cancel()
    store.release()
    with pytest.raises(asyncio.CancelledError):
        await pending
    assert began(1).after == await stored(store, key(1))


async def test_a_bug_in_a_held_commit_reaches_its_caller() -> None:
    """And the commits behind it are carried out."""
    store = MemoryStore(holding=True)
    twice = [began(1), began(1)]
    calls = [asyncio.ensure_future(store.commit(b)) for b in (twice, [began(2)])]
    await asyncio.wait(calls, timeout=0)
    store.release()
    bug, conflicts = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(bug, InvariantViolated)
    assert conflicts == []
