"""What the port Store promises, of both stores."""

import dataclasses

import pytest
from msgspec.structs import replace

from coordinator.core.errors import InvariantViolated, StoreUnavailable
from coordinator.core.events import (
    AttemptFailed,
    AttentionRaised,
    BranchPending,
    BranchRefused,
    BranchSucceeded,
    CompensationStarted,
    Decided,
    Finished,
    Paused,
    RetryRequested,
    StepStarted,
    TrialSurvived,
)
from coordinator.core.model import Key
from coordinator.core.quarantine import NOBODY, hold, is_on_trial
from coordinator.core.sweep import (
    OWNERS_LOST_MAX,
    Ask,
    Line,
    Place,
    line_of,
    others,
    own,
)
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)
from coordinator.ports import AuditEntry, Change, NodeRow, SweepRow
from coordinator.storage.audit import find_break
from tests.storage.conftest import AnyStore, Stores
from tests.storage.samples import (
    BINARY,
    JSON,
    NOW,
    all_due,
    began,
    commit,
    confirmed,
    key,
    move,
    run_to_end,
    saga_began,
    step_spec,
    stored,
    tried,
)

PLAYS_OTHERS = True


async def test_what_was_stored_is_loaded_exactly(store: AnyStore) -> None:
    """Every field of a transaction and its branches makes the round trip."""
    first = saga_began()
    second = move(
        first.after,
        BranchSucceeded("debit", Phase.ACTION, BINARY, NOW + 5),
        StepStarted(step_spec("credit", BINARY), NOW + 5),
        AttemptFailed("credit", 1, NOW + 900, "TIMEOUT", "no answer in 2 s"),
        BranchPending("credit", NOW + 1_000, NOW),
        AttentionRaised("credit: 10 attempts", NOW + 6),
    )
    third = move(
        second.after,
        Decided(Decision.ABORT, "DEADLINE", "too late — zu spät", NOW + 7),
        BranchRefused("credit", "CLOSED", "account closed", NOW + 8),
        CompensationStarted("debit", JSON, NOW + 9),
    )
    fourth = move(
        third.after,
        BranchSucceeded("debit", Phase.COMPENSATION, JSON, NOW + 11),
        Finished(Status.COMPENSATED, BINARY, NOW + 12),
    )
    for change in (first, second, third, fourth):
        await commit(store, change)
        assert change.after == await stored(store, change.key)


async def test_branches_keep_the_order_of_registration(store: AnyStore) -> None:
    """Whatever their names are and whenever they joined."""
    first = began(1, "zebra", "apple", "mango")
    more = [StepStarted(step_spec(b), NOW) for b in ("aa", "zz")]
    second = move(first.after, *more)
    await commit(store, first)
    await commit(store, second)
    loaded = await stored(store, key(1))
    assert list(loaded.branches) == ["zebra", "apple", "mango", "aa", "zz"]


async def test_load_returns_those_that_exist(store: AnyStore) -> None:
    """Unknown keys are passed over, repeated ones are returned once."""
    await commit(store, began(1, "debit"), began(2), began(Key("other", "tx-00001")))
    wanted = [key(2), key(9), key(1), key(2), Key("other", "tx-00001")]
    loaded = await store.load(wanted)
    expected = [key(1), key(2), Key("other", "tx-00001")]
    assert expected == sorted(tx.key for tx in loaded)
    assert await store.load([]) == []


async def test_load_of_very_many_keys(store: AnyStore) -> None:
    """More keys than a database allows parameters in a statement."""
    changes = [began(number, "debit") for number in range(1_203)]
    await commit(store, *changes)
    loaded = {tx.key: tx for tx in await store.load([c.key for c in changes])}
    assert {change.key: change.after for change in changes} == loaded


async def test_definition_is_not_stored_with_the_transaction(store: AnyStore) -> None:
    """The caller attaches it; the request's digest says which."""
    change = saga_began()
    await commit(store, change)
    loaded = await stored(store, change.key)
    assert (loaded.definition, loaded.request.definition_digest) == (None, "ab" * 32)


async def test_write_with_a_stale_revision_is_a_conflict(store: AnyStore) -> None:
    """L1: the guard is the revision; a loser changes nothing and is told so."""
    first = began(1, "debit")
    await commit(store, first)
    winner = tried(first.after)
    loser = move(first.after, Decided(Decision.ABORT, "DEADLINE", "", NOW + 10))
    await commit(store, winner)
    assert [key(1)] == await store.commit([loser])
    assert winner.after == await stored(store, key(1))
    assert len(await store.journal(key(1))) == 2


async def test_begin_of_a_key_that_exists_is_a_conflict(store: AnyStore) -> None:
    """T10: a second begin is told so, not answered with an exception."""
    first = began(1, "debit")
    await commit(store, first)
    assert [key(1)] == await store.commit([began(1, "credit")])
    assert first.after == await stored(store, key(1))
    assert len(await store.journal(key(1))) == 1


async def test_write_to_a_row_that_is_not_there_is_a_conflict(store: AnyStore) -> None:
    """Nobody can move what was never begun."""
    assert [key(1)] == await store.commit([tried(began(1, "debit").after)])
    assert await store.load([key(1)]) == []
    assert await store.journal(key(1)) == []


async def test_conflicts_do_not_keep_the_rest_from_being_written(
    store: AnyStore,
) -> None:
    """A batch is one commit, but each change stands for itself."""
    old = [began(number, "debit") for number in range(4)]
    await commit(store, *old)
    await commit(store, tried(old[1].after))
    batch = [
        tried(old[0].after),
        move(old[1].after, Decided(Decision.ABORT, "DEADLINE", "", NOW)),
        began(2, "credit"),
        tried(old[3].after),
        began(4, "debit", "credit"),
        tried(began(5, "debit").after),
    ]
    conflicts = await store.commit(batch)
    assert [key(1), key(2), key(5)] == sorted(conflicts)
    for change in (batch[0], batch[3], batch[4]):
        assert change.after == await stored(store, change.key)
    assert tried(old[1].after).after == await stored(store, key(1))
    assert old[2].after == await stored(store, key(2))


async def test_a_batch_of_conflicts_alone_writes_nothing(store: AnyStore) -> None:
    """And returns every key."""
    await run_to_end(store, 1)
    batch = [began(1, "debit"), tried(began(2, "debit").after)]
    assert [key(1), key(2)] == sorted(await store.commit(batch))
    assert await store.load([key(2)]) == []


async def test_a_batch_of_mixed_sizes_is_stored_exactly(store: AnyStore) -> None:
    """From no branch to a thousand, new and moved in one commit."""
    small, large = began(1), began(2, *(f"b{n}" for n in range(1_000)))
    await commit(store, small, large)
    await commit(store, tried(large.after), began(3, "debit"))
    assert tried(large.after).after == await stored(store, key(2))
    assert small.after == await stored(store, key(1))


async def test_an_empty_commit_is_nothing(store: AnyStore) -> None:
    """No change, no conflict."""
    assert await store.commit([]) == []


async def test_a_key_is_bytes(store: AnyStore) -> None:
    """B7: letters of another case are another transaction."""
    keys = [Key("default", gid) for gid in ("ABC", "abc", "aBc")]
    await commit(store, *(began(k) for k in keys))
    assert sorted(keys) == sorted(tx.key for tx in await store.load(keys))


async def test_one_transaction_twice_in_a_commit_is_a_bug(store: AnyStore) -> None:
    """At most one change a key; nothing is written."""
    first = began(1, "debit")
    with pytest.raises(InvariantViolated):
        await store.commit([first, tried(first.after)])
    assert await store.load([key(1)]) == []


@pytest.mark.parametrize(("revision", "seq"), [(2, 3), (2, 1), (3, 2), (1, 2)])
async def test_a_gap_in_the_journal_is_never_written(
    store: AnyStore, revision: int, seq: int
) -> None:
    """T11: a write with an unexpected seq or revision changes nothing."""
    first = began(1, "debit")
    await commit(store, first)
    good = tried(first.after)
    bad = replace(good, after=replace(good.after, revision=revision, journal_seq=seq))
    with pytest.raises(InvariantViolated):
        await store.commit([bad])
    assert first.after == await stored(store, key(1))
    await commit(store, good)


async def test_claim_is_a_compare_and_set(store: AnyStore) -> None:
    """L3: being listed gives no right; whoever claims first raises the revision."""
    changes = [began(number, "debit") for number in range(3)]
    await commit(store, *changes)
    rows = await all_due(store)
    moved = tried(changes[1].after)
    await commit(store, moved)
    claimed = await store.claim(rows, owner="node-2")
    assert [key(0), key(2)] == sorted(claimed)
    assert await store.claim(rows, owner="node-3") == []
    loaded = await stored(store, key(0))
    assert replace(changes[0].after, owner="node-2", revision=2) == loaded
    assert moved.after == await stored(store, key(1))


async def test_a_claim_counts_until_something_is_committed(store: AnyStore) -> None:
    """V6: durable with the claim, before any work; whoever commits has survived it."""
    await commit(store, began(1, "debit"))
    for takeovers in (1, 2):
        (row,) = await all_due(store)
        assert row.takeovers == takeovers - 1
        counted = replace(row, takeovers=takeovers)
        assert await store.claim([counted], owner=f"node-{takeovers}") == [key(1)]
    (row,) = await all_due(store)
    assert (row.takeovers, row.owner) == (2, "node-2")
    retry = RetryRequested("ann", "the cause is gone", NOW)
    await commit(store, move(await stored(store, key(1)), retry))
    (row,) = await all_due(store)
    assert row.takeovers == 0


async def test_what_is_quarantined_is_nobodys_and_one_death_from_the_next_hold(
    store: AnyStore,
) -> None:
    """V6: whatever is committed of it, until its trial is survived."""
    await commit(store, began(1, "debit"))
    before = await stored(store, key(1))
    await commit(store, move(before, hold(before, NOW), owner=NOBODY, due_at=NOW + 9))
    held = await stored(store, key(1))
    await commit(store, move(held, Paused("ann", "odd", NOW), owner=NOBODY, due_at=NOW))
    line = Line(NOBODY, "default", OWNERS_LOST_MAX - 1)
    assert await store.lines(others({"node-1"}), limit=9) == [line]
    (row,) = await store.unfinished([Ask(line, None, 0, 9)], due_before=NOW)
    assert await store.claim([row], owner="node-2") == [key(1)]
    tried_again = await stored(store, key(1))
    assert is_on_trial(tried_again)
    await commit(store, move(tried_again, TrialSurvived(NOW), due_at=NOW))
    (row,) = await all_due(store)
    assert row.takeovers == 0


async def test_a_claim_repeated_by_its_winner_is_lost(store: AnyStore) -> None:
    """L3: the same stale listing does not claim twice, even for the same owner."""
    await commit(store, began(1, "debit"))
    rows = await all_due(store)
    assert [key(1)] == await store.claim(rows, owner="node-2")
    assert await store.claim(rows, owner="node-2") == []
    assert (await stored(store, key(1))).revision == 2


async def test_claim_of_what_is_not_there_claims_nothing(store: AnyStore) -> None:
    """A row that retention removed meanwhile."""
    assert await store.claim([SweepRow(key(9), 1, "", NOW)], owner="node-2") == []
    assert await store.claim([], owner="node-2") == []


async def test_owner_that_lost_its_claim_cannot_write(store: AnyStore) -> None:
    """L1, L4: a zombie's next write is a conflict."""
    first = began(1, "debit")
    await commit(store, first)
    rows = await all_due(store)
    await store.claim(rows, owner="node-2")
    assert [key(1)] == await store.commit([tried(first.after)])
    await commit(store, tried(await stored(store, key(1))))


def owned(of: Key, owner: str, *, due_at: int | None = NOW) -> Change:
    """A transaction that a node has begun."""
    change = began(of, "debit", due_at=due_at)
    return replace(change, after=replace(change.after, owner=owner))


async def test_unfinished_lists_a_line_the_longest_due_first(store: AnyStore) -> None:
    """V3: not what is due later, never, has ended, or stands in another line."""
    await commit(
        store,
        began(3, "debit", due_at=NOW),
        began(1, "debit", due_at=NOW + 10),
        began(6, "debit", due_at=NOW),
        began(2, "debit", due_at=NOW + 11),
        began(4, "debit", due_at=None),
        began(Key("another", "tx-9"), due_at=NOW - 5),
        owned(key(7), "node-2"),
    )
    await run_to_end(store, 5)
    asks = [Ask(Line("node-1", "default", 0), None, 0, 10)]
    rows = await store.unfinished(asks, due_before=NOW + 10)
    assert rows == [
        SweepRow(key(3), 1, "node-1", NOW),
        SweepRow(key(6), 1, "node-1", NOW),
        SweepRow(key(1), 1, "node-1", NOW + 10),
    ]


async def test_lines_are_told_by_owner_namespace_and_take_overs(
    store: AnyStore,
) -> None:
    """V3: all that have anything unfinished, but for those that are passed over."""
    owners = ["node-1", "node-2", "node-2b", "node-3", "node-9"]
    for number, owner in enumerate(owners):
        spaces = [key(number), key(number, "another"), key(number + 50)]
        await commit(store, *(owned(of, owner, due_at=None) for of in spaces))
    await run_to_end(store, 90)
    await commit(store, owned(key(80), "node-2"))
    (row,) = await all_due(store)
    await store.claim([replace(row, takeovers=2)], owner="node-2")
    lines = [
        Line(owner, namespace, 0)
        for owner in owners
        for namespace in ("another", "default")
    ]
    lines.insert(4, Line("node-2", "default", 2))
    assert await store.lines(others(()), limit=99) == lines
    for limit in range(1, 12):
        assert await store.lines(others(()), limit=limit) == lines[:limit]
    for number, line in enumerate(lines):
        assert await store.lines(others((), line), limit=99) == lines[number + 1 :]
    passing = {"node-2", "node-9", "node-0"}
    rest = [line for line in lines if line.owner not in passing]
    assert await store.lines(others(passing), limit=99) == rest
    mine = [line for line in lines if line.owner == "node-2"]
    assert await store.lines(own("node-2"), limit=99) == mine
    assert await store.lines(own("node-2", mine[0]), limit=99) == mine[1:]


async def test_pages_of_several_lines_meet_every_row_once(store: AnyStore) -> None:
    """However they fall, and where many are due at the same time."""
    keys = [key(n, space) for space in ("a", "b") for n in range(7)]
    await commit(store, *(began(k, due_at=NOW + k.gid.count("3")) for k in keys))
    keys.sort(key=lambda k: (k.namespace, k.gid.count("3"), k.gid))
    lines = await store.lines(others(()), limit=9)
    for limit in (1, 2, 3, 7, 8):
        met: list[Key] = []
        asks = [Ask(line, None, 0, limit) for line in lines]
        while rows := await store.unfinished(asks, due_before=NOW + 1):
            met += [row.key for row in rows]
            last = {line_of(row): Place(row.due_at, row.key.gid) for row in rows}
            asks = [Ask(line, place, 0, limit) for line, place in last.items()]
        assert sorted(met) == sorted(keys)
        for space in "ab":
            own_keys = [k for k in keys if k.namespace == space]
            assert [k for k in met if k.namespace == space] == own_keys


async def test_rows_can_be_left_to_others(store: AnyStore) -> None:
    """L3: so many are skipped, at the beginning of a line or behind a place."""
    await commit(store, *(began(n, due_at=NOW + n % 2) for n in range(8)))
    order = [key(n) for n in (0, 2, 4, 6, 1, 3, 5, 7)]
    line = Line("node-1", "default", 0)
    for start in range(8):
        last = order[start - 1]
        after = Place(NOW + int(last.gid[-1]) % 2, last.gid) if start else None
        rows = await store.unfinished([Ask(line, after, 2, 3)], due_before=NOW + 1)
        assert [row.key for row in rows] == order[start + 2 : start + 5]


async def test_a_changed_due_time_is_the_one_that_counts(store: AnyStore) -> None:
    """The row is found by its last commit."""
    first = began(1, "debit", due_at=NOW)
    later = move(
        first.after,
        AttemptFailed("debit", 1, NOW + 900, "TIMEOUT", ""),
        due_at=NOW + 900,
    )
    await commit(store, first)
    await commit(store, later)
    assert await all_due(store, NOW + 899) == []
    rows = await all_due(store, NOW + 900)
    assert [(key(1), 2)] == [(row.key, row.revision) for row in rows]


async def test_beat_shows_all_nodes(stores: Stores) -> None:
    """Each sees the others' newest heartbeat; a node that left is gone."""
    one, two = await stores.open(), await stores.open()
    a, b = NodeRow("node-a", "10.0.0.1:1", 1), NodeRow("node-b", "10.0.0.2:1", 1)
    assert [a] == await one.beat(a)
    assert [a, b] == await two.beat(b)
    a = NodeRow("node-a", "10.0.0.1:2", 2)
    assert [a, b] == await one.beat(a)
    await two.forget_node("node-a")
    await two.forget_node("never-was")
    assert [b] == await two.beat(b)


async def test_audit_is_written_with_its_effect(store: AnyStore) -> None:
    """One database transaction: no effect without its record, and no record
    without its effect.
    """
    first, other = began(1, "debit"), began(2, "debit")
    await commit(store, first, other)
    entry = AuditEntry("alice", "retry_now", "participant is back", NOW + 50)
    asked = RetryRequested("alice", "participant is back", NOW + 50)
    await commit(store, tried(other.after))
    good = move(first.after, asked, audit=entry)
    lost = move(other.after, asked, audit=entry)
    assert [other.key] == await store.commit([good, lost])
    (record,) = await store.audit_trail()
    assert (1, first.key, "alice", "retry_now", "participant is back", NOW + 50) == (
        record.number,
        record.key,
        record.actor,
        record.action,
        record.reason,
        record.at,
    )


async def test_audit_is_a_chain_over_commits_and_restarts(stores: Stores) -> None:
    """Every record seals the one before it; a changed one breaks the chain."""
    for number in range(4):
        store = await stores.open()
        entry = AuditEntry("bob", "cancel", f"reason {number}", NOW + number)
        twin = AuditEntry("eve", "cancel", "", NOW)
        await commit(
            store,
            replace(began(number), audit=entry),
            replace(began(100 + number), audit=twin),
        )
    chain = await store.audit_trail()
    assert list(range(1, 9)) == [record.number for record in chain]
    assert chain[3:5] == await store.audit_trail(after=3, limit=2)
    assert find_break(chain) is None
    assert find_break(chain[1:]) == 1
    forged = [*chain]
    forged[4] = dataclasses.replace(chain[4], actor="mallory")
    assert find_break(forged) == 5


async def test_acknowledged_commits_survive_the_process(stores: Stores) -> None:
    """T7: another handle, opened later, finds all of it."""
    first = await stores.open()
    await commit(first, began(1, "debit", "credit"))
    last = await run_to_end(first, 2)
    second = await stores.open()
    await first.close()
    third = await stores.open()
    for store in (second, third):
        assert began(1, "debit", "credit").after == await stored(store, key(1))
        assert last == await stored(store, key(2))


async def test_two_nodes_race_for_one_row(stores: Stores) -> None:
    """T9: exactly one write of the same revision wins."""
    one, two = await stores.open(), await stores.open()
    first = began(1, "debit")
    await commit(one, first)
    abort = move(first.after, Decided(Decision.ABORT, "DEADLINE", "", NOW + 9))
    assert await two.commit([abort]) == []
    assert [key(1)] == await one.commit([tried(first.after)])
    assert abort.after == await stored(one, key(1))


async def test_a_closed_store_is_unavailable(store: AnyStore) -> None:
    """Closing twice is harmless; asking afterwards says what is wrong."""
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.commit([began(1)])
    with pytest.raises(StoreUnavailable):
        await store.load([key(1)])


async def test_a_whole_life_leaves_the_sweeper_nothing(store: AnyStore) -> None:
    """An ended transaction is never listed again."""
    last = await run_to_end(store, 1)
    assert confirmed(tried(began(1, "debit", "credit").after).after).after == last
    rows = await all_due(store, NOW * 2)
    assert rows == []
