"""Branches that stand in their transaction's row, and branches in rows of their own."""

import pytest
from msgspec.structs import replace

from coordinator.core.errors import InvariantViolated
from coordinator.core.model import Key, Payload
from coordinator.ports import Change
from tests.storage.conftest import AnyStore
from tests.storage.samples import (
    BINARY,
    apart,
    began,
    commit,
    confirmed,
    key,
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
