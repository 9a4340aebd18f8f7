"""The journal: gapless, thinned, and enough to rebuild the state."""

from typing import get_args

import msgspec
import pytest
from msgspec.structs import replace

from coordinator.core.errors import InvariantViolated
from coordinator.core.events import (
    AllStepsDone,
    AttemptFailed,
    AttentionRaised,
    Began,
    BranchAbandoned,
    BranchPending,
    BranchRefused,
    BranchRegistered,
    BranchResolved,
    BranchSucceeded,
    CheckBackStarted,
    CompensationStarted,
    ConfirmStarted,
    Decided,
    Event,
    Finished,
    OutputLearned,
    Paused,
    Resumed,
    RetryRequested,
    SignalReceived,
    StepRefused,
    StepSkipped,
    StepStarted,
    TrialSurvived,
    is_journaled,
)
from coordinator.core.evolution import fold
from coordinator.core.model import GlobalTransaction
from coordinator.core.words import (
    Decision,
    Mode,
    Phase,
    Status,
)
from coordinator.ports import Change, JournalEntry
from coordinator.storage.journal import (
    facts_of,
    journal_entry,
    journal_line,
    read_journal,
)
from tests.storage.conftest import AnyStore
from tests.storage.samples import (
    BINARY,
    JSON,
    NOW,
    began,
    commit,
    confirmed,
    key,
    move,
    request,
    saga_began,
    spec,
    step_spec,
    stored,
    tried,
)

EVERY_EVENT: tuple[Event, ...] = (
    Began(request(key(1), mode=Mode.SAGA), None),
    BranchRegistered(spec("debit", BINARY), direct=True, at=NOW),
    StepStarted(step_spec("credit"), NOW, NOW + 30_000),
    StepSkipped(step_spec("skipped"), NOW),
    StepRefused(step_spec("refused"), "EXPRESSION", "no such value", NOW, stuck=True),
    SignalReceived("approval", JSON, NOW),
    ConfirmStarted("credit", NOW),
    AllStepsDone(NOW),
    BranchSucceeded("debit", Phase.TRY, BINARY, NOW),
    BranchRefused("debit", "CLOSED", 'a "closed"\naccount — ü \u0000', NOW),
    BranchAbandoned("credit", NOW, "TIMEOUT", "too late"),
    AttemptFailed("debit", 4, NOW, "TIMEOUT", ""),
    BranchPending("debit", NOW + 9, NOW),
    OutputLearned("debit", JSON, NOW),
    CompensationStarted("debit", JSON, NOW, "TIMEOUT", "too late"),
    Decided(Decision.ABORT, "DEADLINE", "", NOW),
    AttentionRaised("look", NOW),
    TrialSurvived(NOW),
    RetryRequested("alice", "back", NOW),
    CheckBackStarted(spec("check-back"), NOW),
    Paused("alice", "wait", NOW),
    Resumed("alice", "go", NOW),
    BranchResolved("debit", "alice", "by hand", NOW),
    Finished(Status.RESOLVED, BINARY, NOW),
)


def test_every_event_makes_the_round_trip() -> None:
    """And none was forgotten in the list above."""
    assert set(get_args(Event)) == {type(event) for event in EVERY_EVENT}
    assert written_and_read(*EVERY_EVENT) == EVERY_EVENT
    for event in EVERY_EVENT:
        assert written_and_read(event) == (event,)


def written_and_read(*events: Event) -> tuple[Event, ...]:
    """As the journal gives them back."""
    change = began(1) if isinstance(events[0], Began) else tried(began(1).after)
    text = journal_entry(replace(change, events=events))
    assert text is not None
    asked = request(key(1), mode=Mode.SAGA)
    (entry,) = read_journal(asked, "", [(1, NOW, text)])
    assert [entry] == read_journal(asked, journal_line(1, NOW, text), ())
    return facts_of(entry)


def test_nothing_but_failed_attempts_is_left_out() -> None:
    """So that a change without any need not be looked through."""
    assert all(is_journaled(event) for event in EVERY_EVENT)
    assert not is_journaled(AttemptFailed("debit", 3, NOW, "TIMEOUT", ""))


@pytest.mark.parametrize(
    "text", ["", "[{}]", '[{"type":"Unheard"}]', '[{"type":"Decided"}]', "{}"]
)
def test_a_strange_entry_is_no_history(text: str) -> None:
    """A journal that cannot be read is never taken for an empty one."""
    asked = request(key(1))
    with pytest.raises(InvariantViolated):
        list(map(facts_of, read_journal(asked, "", [(1, NOW, text)])))
    with pytest.raises(InvariantViolated):
        list(map(facts_of, read_journal(asked, journal_line(1, NOW, text), ())))


def test_what_was_asked_is_shown_whether_the_entry_has_it_or_not() -> None:
    """As versions of before wrote it, and as it is written now."""
    asked = request(key(1))
    whole = msgspec.json.encode([{"type": "Began", "request": asked}]).decode()
    found = [
        read_journal(asked, "", [(1, NOW, text)])
        for text in (whole, '[{"type":"Began"}]')
    ]
    assert found[0] == found[1]
    assert facts_of(found[0][0]) == (Began(asked, None),)


def test_entries_are_in_order_wherever_they_stand() -> None:
    """Each has its number with it: no place says which one comes next."""
    lines = journal_line(3, NOW + 3, "[]") + journal_line(1, NOW + 1, "[]")
    entries = read_journal(
        request(key(1)), lines, [(4, NOW + 4, "[]"), (2, NOW + 2, "[]")]
    )
    assert entries == [JournalEntry(seq, NOW + seq, ()) for seq in (1, 2, 3, 4)]


def history() -> list[Change]:
    """A TCC transaction with a detour: a failed attempt, and somebody's help."""
    first = began(1, "debit", "credit")
    second = move(first.after, AttemptFailed("debit", 1, NOW + 9, "TIMEOUT", "late"))
    third = move(second.after, RetryRequested("alice", "back", NOW + 10))
    fourth = tried(third.after)
    return [first, second, third, fourth, confirmed(fourth.after)]


def without_bookkeeping(tx: GlobalTransaction) -> GlobalTransaction:
    """What the journal promises to rebuild: all but who wrote it and how often."""
    return replace(tx, revision=0, journal_seq=0, owner="", definition=None)


async def test_state_is_the_fold_of_the_journal(store: AnyStore) -> None:
    """T11: after every commit, what is stored is what the journal tells."""
    told: list[Event] = []
    for number, change in enumerate(history(), 1):
        await commit(store, change)
        entries = await store.journal(change.key)
        assert list(range(1, number + 1)) == [entry.seq for entry in entries]
        told += facts_of(entries[-1])
        loaded = without_bookkeeping(await stored(store, change.key))
        assert without_bookkeeping(fold(tuple(told))) == loaded


async def test_journal_is_readable(store: AnyStore) -> None:
    """People see the facts by name, with the time of their commit."""
    first = began(1, "debit")
    await commit(store, first)
    await commit(store, tried(first.after))
    opened, decided = await store.journal(key(1))
    assert [e["type"] for e in opened.events] == ["Began", "BranchRegistered"]
    assert [e["type"] for e in decided.events] == ["BranchSucceeded", "Decided"]
    assert (opened.at, decided.at) == (NOW + 1, NOW + 10)
    assert decided.events[1]["decision"] == "COMMIT"


async def test_journal_of_an_unknown_transaction_is_empty(store: AnyStore) -> None:
    """Not an error."""
    assert await store.journal(key(404)) == []


async def test_failed_attempts_are_thinned(store: AnyStore) -> None:
    """A hundred failures leave seven entries; the row holds the exact count."""
    change = saga_began()
    await commit(store, change)
    for attempts in range(1, 101):
        failed = AttemptFailed("debit", attempts, NOW + attempts, "TIMEOUT", "late")
        change = move(change.after, failed)
        await commit(store, change)
    entries = await store.journal(change.key)
    assert list(range(1, 9)) == [entry.seq for entry in entries]
    counts = [entry.events[0]["attempts"] for entry in entries[1:]]
    assert counts == [1, 2, 4, 8, 16, 32, 64]
    loaded = await stored(store, change.key)
    assert (
        loaded.branches["debit"].attempts,
        loaded.branches["debit"].due_at,
        loaded.revision,
    ) == (100, NOW + 100, 101)


async def test_a_definition_is_not_written_into_the_journal(store: AnyStore) -> None:
    """It is stored once, by its digest, however many sagas follow it."""
    await commit(store, saga_began())
    (entry,) = await store.journal(key(1))
    assert {"type", "request"} == set(entry.events[0])
