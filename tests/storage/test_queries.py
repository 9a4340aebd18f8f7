"""What the port Queries promises, of all stores."""

import dataclasses
from hashlib import sha256

import pytest
from msgspec.structs import replace

from coordinator.core.events import AttentionRaised, Decided
from coordinator.core.model import Key, Operation
from coordinator.core.words import (
    Decision,
    OperationKind,
    Status,
)
from coordinator.ports import AuditEntry, StoredDefinition, TransactionFilter
from coordinator.storage.audit import find_break
from tests.storage.conftest import AnyStore, Stores
from tests.storage.samples import (
    NOW,
    began,
    commit,
    key,
    move,
    run_to_end,
    saga_began,
)


def definition(name: str, version: str, text: str = "") -> StoredDefinition:
    """A published saga."""
    text = text or f"saga: {name} # {version} — ünïcode\n"
    digest = sha256(text.encode()).hexdigest()
    return StoredDefinition("default", name, version, digest, text, NOW)


async def listed(store: AnyStore, what: TransactionFilter) -> list[str]:
    """The gids that a listing shows."""
    return [tx.key.gid for tx in await store.list_transactions(what)]


async def test_listing_shows_the_newest_first_without_branches(
    store: AnyStore,
) -> None:
    """Of one namespace; equal times are ordered by gid."""
    await commit(
        store,
        began(1, "debit", created_at=NOW + 1),
        began(2, "debit", created_at=NOW + 5),
        began(3, "debit", created_at=NOW + 1),
        began(Key("other", "tx-9"), "debit", created_at=NOW + 9),
    )
    found = await store.list_transactions(TransactionFilter("default"))
    assert [key(2), key(3), key(1)] == [tx.key for tx in found]
    whole = began(2, "debit", created_at=NOW + 5).after
    assert replace(whole, branches={}, open={}) == found[0]


async def test_listing_filters(store: AnyStore) -> None:
    """By status, by exact name, by need of a person, and by all of them."""
    plain, renamed = began(1, "debit"), began(2, "debit", name="loan")
    await commit(store, plain, renamed)
    await commit(store, move(renamed.after, AttentionRaised("look", NOW)))
    abort = Decided(Decision.ABORT, "DEADLINE", "", NOW)
    await commit(store, move(plain.after, abort))
    await run_to_end(store, 3)
    every = TransactionFilter("default")
    cancelling = replace(every, statuses=frozenset({Status.CANCELLING}))
    open_ones = frozenset({Status.CANCELLING, Status.TRYING})
    assert await listed(store, every) == ["tx-00003", "tx-00002", "tx-00001"]
    assert await listed(store, cancelling) == ["tx-00001"]
    assert await listed(store, replace(every, statuses=open_ones)) == [
        "tx-00002",
        "tx-00001",
    ]
    assert await listed(store, replace(every, name="loan")) == ["tx-00002"]
    assert await listed(store, replace(every, name="LOAN")) == []
    assert await listed(store, replace(every, attention=True)) == ["tx-00002"]
    assert await listed(store, replace(cancelling, attention=True)) == []


async def test_listing_pages_meet_every_row_once(store: AnyStore) -> None:
    """Also where many began in the same millisecond."""
    numbers = range(25)
    await commit(store, *(began(n, created_at=NOW + n // 10) for n in numbers))
    met: list[str] = []
    what = TransactionFilter("default", limit=4)
    page = await store.list_transactions(what)
    while page:
        assert len(page) <= 4
        met += [tx.key.gid for tx in page]
        before = (page[-1].request.created_at, page[-1].key.gid)
        page = await store.list_transactions(replace(what, before=before))
    assert [key(n).gid for n in reversed(numbers)] == met


@pytest.mark.parametrize("limit", [-1, 0, 1])
async def test_listing_shows_at_least_one(store: AnyStore, limit: int) -> None:
    """A nonsensical limit does not become an endless one."""
    await commit(store, began(1), began(2))
    what = TransactionFilter("default", limit=limit)
    assert await listed(store, what) == ["tx-00002"]


async def test_publishing_twice_keeps_the_first(store: AnyStore) -> None:
    """The caller sees by the digest whether it was the same."""
    first, other = definition("loan", "1"), definition("loan", "1", "another text")
    assert first == await store.publish(first)
    assert first == await store.publish(
        dataclasses.replace(first, published_at=NOW + 1)
    )
    assert first == await store.publish(other)
    assert [first] == await store.list_definitions("default")


async def test_latest_is_what_was_published_last(store: AnyStore) -> None:
    """Whatever the versions are called and the clocks said."""
    for version in ("9", "10", "2-beta"):
        late = dataclasses.replace(
            definition("loan", version), published_at=NOW - int(version[0])
        )
        await store.publish(late)
    await store.publish(definition("another", "99"))
    latest = await store.find_definition("default", "loan", "latest")
    assert definition("loan", "2-beta") == latest
    found = await store.find_definition("default", "loan", "9")
    assert definition("loan", "9") == found


async def test_definitions_are_found_by_digest(store: AnyStore) -> None:
    """S7: what a running saga is pinned to, with the text as it was published."""
    for version in ("1", "2", "3"):
        await store.publish(definition("loan", version))
    wanted = definition("loan", "2")
    found = await store.find_definition_by_digest("default", wanted.digest)
    assert found is not None
    assert (wanted, NOW) == (found, found.published_at)
    assert wanted.text == found.text


async def test_unknown_definitions_are_none(store: AnyStore) -> None:
    """In an empty store, and of another namespace."""
    assert await store.find_definition("default", "loan", "latest") is None
    await store.publish(definition("loan", "1"))
    assert await store.find_definition("other", "loan", "1") is None
    assert await store.find_definition("other", "loan", "latest") is None
    assert await store.find_definition("default", "loan", "2") is None
    digest = definition("loan", "1").digest
    assert await store.find_definition_by_digest("other", digest) is None
    assert await store.list_definitions("other") == []


async def test_definitions_are_listed_by_name_newest_first(store: AnyStore) -> None:
    """Newest first within a name."""
    published = [("b", "1"), ("a", "1"), ("b", "2"), ("a", "0"), ("b", "10")]
    for name, version in published:
        await store.publish(definition(name, version))
    found = await store.list_definitions("default")
    expected = [("a", "0"), ("a", "1"), ("b", "10"), ("b", "2"), ("b", "1")]
    assert expected == [(d.name, d.version) for d in found]


async def test_operations_are_added_and_renewed(store: AnyStore) -> None:
    """The catalogue holds each name once, in its newest form."""
    debit = Operation("accounts.debit", OperationKind.TCC, "accounts")
    score = Operation(
        "risk.score", OperationKind.ACTION, "risk", True, '{"type": "object"}', "{}"
    )
    await store.save_operations("default", [score, debit])
    assert [debit, score] == await store.list_operations("default")
    renewed = replace(debit, kind=OperationKind.ACTION, input_schema="{}")
    third = replace(debit, name="accounts.credit")
    await store.save_operations("default", [third, renewed])
    await store.save_operations("default", [])
    await store.save_operations("other", [debit])
    assert [third, renewed, score] == await store.list_operations("default")
    assert [debit] == await store.list_operations("other")


async def test_an_operation_saved_twice_at_once_is_stored_once(
    store: AnyStore,
) -> None:
    """The later one counts."""
    debit = Operation("accounts.debit", OperationKind.TCC, "accounts")
    renewed = replace(debit, input_schema="{}")
    await store.save_operations("default", [debit, renewed])
    assert [renewed] == await store.list_operations("default")


REMOVED = AuditEntry("ann", "REMOVE_OPERATION risk.score", "gone", NOW)
SCORE = Operation(
    "risk.score",
    OperationKind.ACTION,
    "risk",
    description="Rate a customer — fair",
    owner="risk team",
    compensation="risk.forget",
    is_registered=True,
)


async def test_an_operation_is_stored_whole(stores: Stores) -> None:
    """Every field makes the round trip, to another handle too."""
    await (await stores.open()).save_operations("default", [SCORE])
    assert await (await stores.open()).list_operations("default") == [SCORE]


async def test_an_operation_is_removed_with_its_audit(store: AnyStore) -> None:
    """Both or neither, in one chain with everything else that is audited."""
    saved = replace(REMOVED, action="REGISTER_OPERATION risk.score")
    await store.save_operations("default", [SCORE], saved)
    await store.save_operations("other", [SCORE])
    await commit(store, replace(began(1), audit=replace(REMOVED, action="RETRY")))

    assert await store.remove_operation("default", "risk.score", REMOVED)
    assert not await store.remove_operation("default", "risk.score", REMOVED)

    assert await store.list_operations("default") == []
    assert await store.list_operations("other") == [SCORE]
    trail = await store.audit_trail()
    assert [(r.key, r.action) for r in trail] == [
        (Key("default", ""), saved.action),
        (key(1), "RETRY"),
        (Key("default", ""), REMOVED.action),
    ]
    assert find_break(trail) is None


async def test_unfinished_transactions_with_an_operation(store: AnyStore) -> None:
    """By their branches or by their definition; newest first; the ended are not."""
    await commit(
        store,
        began(1, "debit", "credit", created_at=NOW + 1),
        began(2, "credit", created_at=NOW + 2),
        began(3, "debit", created_at=NOW + 3),
        saga_began(4),
        began(key(5, "other"), "debit"),
    )
    await run_to_end(store, 6)

    async def found(*operations: str, limit: int = 9, **digests: str) -> list[str]:
        txs = await store.unfinished_with(
            "default", operations=operations, digests=digests.values(), limit=limit
        )
        assert all(not tx.branches for tx in txs)
        return [tx.key.gid[-1] for tx in txs]

    assert await found("accounts.debit") == ["3", "1", "4"]
    assert await found("accounts.debit", limit=2) == ["3", "1"]
    assert await found("accounts.credit") == ["2", "1"]
    assert await found("accounts.nothing") == []
    assert await found(digest="ab" * 32) == ["4"]


async def test_definitions_are_listed_page_by_page(store: AnyStore) -> None:
    """Each once, however the pages fall, and of one name if that is asked."""
    published = [("b", "1"), ("a", "1"), ("b", "2"), ("a", "0"), ("b", "10")]
    for name, version in published:
        await store.publish(definition(name, version))
    every = [("a", "0"), ("a", "1"), ("b", "10"), ("b", "2"), ("b", "1")]

    async def page(
        after: tuple[str, str] | None, limit: int, name: str = ""
    ) -> list[tuple[str, str]]:
        found = await store.list_definitions(
            "default", name=name, after=after, limit=limit
        )
        return [(d.name, d.version) for d in found]

    for limit in (1, 2, 3, 5, 6):
        met: list[tuple[str, str]] = []
        while shown := await page(met[-1] if met else None, limit):
            met += shown
        assert every == met
    assert await page(None, 9, "b") == every[2:]
    assert await page(("b", "2"), 9, "b") == every[4:]
    assert await page(("b", "gone"), 9) == []
    assert await page(("a", "gone"), 9) == every[2:]
    assert await page(None, 0) == every[:1]
