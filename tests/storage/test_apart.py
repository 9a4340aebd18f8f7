"""Branches and entries of the journal: in their transaction's row, or in their own."""

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from coordinator.core.apart import ENTRIES_MAX, ENTRY_BYTES_MAX
from coordinator.core.errors import InvariantViolated
from coordinator.core.events import AttentionRaised, Event, Paused, Resumed
from coordinator.core.model import GlobalTransaction, Key, Payload
from coordinator.ports import Change
from coordinator.storage.journal import facts_of
from coordinator.storage.sql import tables
from coordinator.storage.sql.store import SqlStore
from tests.storage.conftest import AnyStore
from tests.storage.samples import (
    BINARY,
    NOW,
    apart,
    began,
    commit,
    confirmed,
    key,
    move,
    saga_began,
    stored,
    tried,
)

PLAYS_OTHERS = True

TEXT = Payload('"operation":"accounts.lie" \x00 täg'.encode(), '"operation":"a.b" ü')
"""What an application may call its payloads."""


def together(change: Change) -> Change:
    return replace(change, after=replace(change.after, branches_apart=False))


async def test_they_move_out_as_they_are(store: AnyStore) -> None:
    """In their order, with all that was known of them; and they go on there."""
    first = began(1, "debit", "credit", "audit")
    await commit(store, first)
    assert await stored(store, key(1)) == first.after
    second = apart(tried(first.after, BINARY))
    await commit(store, second)
    found = await stored(store, key(1))
    assert found == second.after
    assert list(found.branches) == ["debit", "credit", "audit"]
    third = confirmed(second.after)
    await commit(store, third)
    assert await stored(store, key(1)) == third.after
    assert third.after.branches_apart


async def test_both_kinds_are_read_at_once(store: AnyStore) -> None:
    """And nobody gets another one's branches."""
    changes = [began(1, "x"), apart(began(2, "x", "y")), began(3), apart(began(4))]
    await commit(store, *changes)
    found = {tx.key: tx for tx in await store.load([key(n) for n in range(1, 5)])}
    assert found == {change.key: change.after for change in changes}


async def test_whoever_has_rows_of_its_own_cannot_give_them_up(
    store: AnyStore,
) -> None:
    """They would stay behind, and be read as the present ones one day."""
    first = apart(began(1, "x"))
    await commit(store, first)
    with pytest.raises(InvariantViolated, match="cannot give them up"):
        await store.commit([began(2), together(tried(first.after))])
    assert await store.load([key(1), key(2)]) == [first.after]


async def test_any_payload_comes_back(store: AnyStore) -> None:
    """Also one that looks like what it is stored in."""
    first = began(1, "debit")
    await commit(store, first)
    second = tried(first.after, TEXT)
    await commit(store, second)
    assert await stored(store, key(1)) == second.after


async def test_both_kinds_are_found_by_their_operations(store: AnyStore) -> None:
    """Whoever removes an operation is told of all who need it, and of no other."""
    named = [began(1, "debit"), apart(began(2, "debit")), saga_began(3)]
    await commit(store, *named, began(4, "Debit"), began(5, "debits"))
    answered = began(6, "credit")
    await commit(store, answered)
    await commit(store, tried(answered.after, TEXT))

    async def needed(*operations: str) -> set[Key]:
        found = await store.unfinished_with(
            "default", operations=operations, digests=(), limit=9
        )
        return {tx.key for tx in found}

    assert await needed("accounts.debit") == {change.key for change in named}
    assert await needed("accounts.Debit", "accounts.debits") == {key(4), key(5)}
    assert await needed("accounts.lie", "a.b") == set()


async def told(store: AnyStore) -> list[tuple[Event, ...]]:
    """The journal of sample 1, which has no gap, and is the same in its history."""
    journal = await store.journal(key(1))
    assert [entry.seq for entry in journal] == list(range(1, len(journal) + 1))
    (history,) = await store.histories([key(1)])
    assert history.journal == tuple(journal)
    return [facts_of(entry) for entry in journal]


async def has_rows_of_their_own(store: AnyStore, count: int) -> bool:
    """Whether so many entries have; the store in memory has no rows."""
    query = select(func.count()).select_from(tables.journal)
    return not isinstance(store, SqlStore) or count == await store._database.read(
        lambda connection: connection.scalar(query)
    )


def stopped(before: GlobalTransaction, reason: str = "wait") -> Change:
    at = NOW + 100 + before.journal_seq
    fact = Paused("eve", reason, at) if not before.paused_at else Resumed("eve", "", at)
    return move(before, fact)


async def test_the_first_entries_stand_in_the_row_and_the_others_do_not(
    store: AnyStore,
) -> None:
    """T11: whoever reads the journal does not notice."""
    changes = [began(1, "debit", "credit")]
    await commit(store, *changes)
    for _ in range(ENTRIES_MAX + 2):
        changes.append(stopped(changes[-1].after))
        await commit(store, changes[-1])
    assert await told(store) == [change.events for change in changes]
    assert await has_rows_of_their_own(store, 3)


async def test_entries_of_branches_that_moved_out_follow_those_that_stay(
    store: AnyStore,
) -> None:
    """T11: what stands in the row stays there."""
    first = began(1, "debit", "credit")
    second = tried(first.after)
    third = apart(stopped(second.after))
    fourth = stopped(third.after)
    fifth = confirmed(fourth.after)
    changes = [first, second, third, fourth, fifth]
    for change in changes:
        await commit(store, change)
    assert await told(store) == [change.events for change in changes]
    assert await has_rows_of_their_own(store, 3)
    assert await stored(store, key(1)) == fifth.after


async def test_a_long_entry_has_a_row_of_its_own_and_the_next_one_has_not(
    store: AnyStore,
) -> None:
    """Their numbers alone say in which order they come."""
    first = began(1, "debit")
    second = move(first.after, AttentionRaised("x" * ENTRY_BYTES_MAX, NOW + 5))
    third = tried(second.after)
    changes = [first, second, third]
    for change in changes:
        await commit(store, change)
    assert await told(store) == [change.events for change in changes]
    assert await has_rows_of_their_own(store, 1)


@pytest.mark.parametrize(
    "text", ["\n", "\u2028\x85", "\\n", "\x00", '"]\n[1,1,[', "täg"]
)
async def test_any_text_of_an_entry_comes_back(store: AnyStore, text: str) -> None:
    """Lines end where entries do, and nowhere else."""
    first = began(1, "debit")
    second = stopped(first.after, text)
    third = stopped(second.after)
    changes = [first, second, third]
    for change in changes:
        await commit(store, change)
    assert await told(store) == [change.events for change in changes]


async def test_a_commit_that_loses_adds_no_entry(store: AnyStore) -> None:
    """L1, T11: neither alone nor beside others."""
    first = began(1, "debit")
    await commit(store, first)
    await commit(store, stopped(first.after))
    before = await told(store)
    assert await store.commit([tried(first.after), began(2)]) == [key(1)]
    assert await store.commit([tried(first.after)]) == [key(1)]
    assert await told(store) == before
