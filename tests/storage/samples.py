"""Transactions to store, made of events and nothing else."""

from msgspec.structs import replace

from coordinator.core.definition import BranchKind
from coordinator.core.events import (
    Began,
    BranchRegistered,
    BranchSucceeded,
    Decided,
    Event,
    Finished,
    StepStarted,
    is_journaled,
)
from coordinator.core.evolution import evolve
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    GlobalTransaction,
    Key,
    Payload,
    TransactionRequest,
)
from coordinator.core.sweep import Ask, others
from coordinator.core.words import (
    Decision,
    Mode,
    Phase,
    Status,
)
from coordinator.ports import AuditEntry, Change, Store, SweepRow

NOW = 1_750_000_000_000
"""The instant at which every sample begins."""

JSON = Payload(b'{"amount": "12.50", "currency": "EUR"}', "application/json")
BINARY = Payload(bytes(range(256)), "application/x-protobuf")


def key(number: int, namespace: str = "default") -> Key:
    """The key of sample ``number``; keys sort as their numbers do."""
    return Key(namespace, f"tx-{number:05}")


def request(
    of: Key,
    *,
    mode: Mode = Mode.TCC,
    name: str = "transfer",
    created_at: int = NOW,
) -> TransactionRequest:
    """A request with something in every field."""
    return TransactionRequest(
        key=of,
        mode=mode,
        name=name,
        digest="5f" * 32,
        created_at=created_at,
        deadline_at=created_at + 60_000,
        declared=mode is Mode.TCC,
        input=JSON,
        definition_digest="ab" * 32 if mode is Mode.SAGA else "",
        definition_version="7" if mode is Mode.SAGA else "",
        labels=(("channel", "mobile"), ("täg", 'ünïcode, "quoted"')),
    )


def spec(branch_id: str, payload: Payload = JSON) -> BranchSpec:
    """What is asked of a branch."""
    return BranchSpec(branch_id, f"accounts.{branch_id}", payload, 2_000, 5)


def step_spec(branch_id: str, payload: Payload = JSON) -> BranchSpec:
    """A branch that calls an action of a saga."""
    return replace(spec(branch_id, payload), kind=BranchKind.CALL, expires_ms=7)


def move(
    before: GlobalTransaction | None,
    *events: Event,
    due_at: int | None = NOW + 500,
    owner: str = "node-1",
    audit: AuditEntry | None = None,
) -> Change:
    """The change that these facts make, numbered as the port wants it."""
    after = before
    for event in events:
        after = evolve(after, event)
    assert after is not None
    revision, seq = (before.revision, before.journal_seq) if before else (0, 0)
    after = replace(
        after,
        revision=revision + 1,
        journal_seq=seq + any(map(is_journaled, events)),
        owner=owner,
    )
    if after.finished_at is not None:
        due_at = None
    return Change(before, after, events, due_at, audit)


def began(
    of: Key | int = 1,
    *branch_ids: str,
    due_at: int | None = NOW + 500,
    name: str = "transfer",
    created_at: int = NOW,
) -> Change:
    """A TCC transaction that begins, its tries registered with it."""
    of = key(of) if isinstance(of, int) else of
    what = request(of, name=name, created_at=created_at)
    tries = [BranchRegistered(spec(b), direct=False, at=NOW + 1) for b in branch_ids]
    return move(None, Began(what, None), *tries, due_at=due_at)


def apart(change: Change) -> Change:
    """The same, with rows of their own for the branches, now and ever after."""
    return replace(change, after=replace(change.after, branches_apart=True))


def tried(before: GlobalTransaction, output: Payload = BINARY) -> Change:
    """All tries succeeded and the decision fell, in one commit."""
    facts = [BranchSucceeded(b, Phase.TRY, output, NOW + 10) for b in before.branches]
    return move(before, *facts, Decided(Decision.COMMIT, "", "", NOW + 10))


def confirmed(before: GlobalTransaction) -> Change:
    """All confirms succeeded: the end."""
    facts = [
        BranchSucceeded(b, Phase.CONFIRM, NO_PAYLOAD, NOW + 20) for b in before.branches
    ]
    return move(before, *facts, Finished(Status.CONFIRMED, JSON, NOW + 20))


def saga_began(of: Key | int = 1) -> Change:
    """A saga that begins with its first step."""
    of = key(of) if isinstance(of, int) else of
    return move(
        None,
        Began(request(of, mode=Mode.SAGA), None),
        StepStarted(step_spec("debit"), NOW),
    )


async def stored(store: Store, of: Key) -> GlobalTransaction:
    """What the store has under a key that exists."""
    (found,) = await store.load([of])
    return found


async def commit(store: Store, *changes: Change) -> None:
    """Commit changes none of which may conflict."""
    assert await store.commit(changes) == []


async def run_to_end(store: Store, of: Key | int) -> GlobalTransaction:
    """Store a transaction from its beginning to its end; its last state."""
    first = began(of, "debit", "credit")
    second = tried(first.after)
    third = confirmed(second.after)
    for change in (first, second, third):
        await commit(store, change)
    return third.after


async def all_due(store: Store, due_before: int = NOW + 500) -> list[SweepRow]:
    """Everything that is unfinished and due, whoever owns it."""
    lines = await store.lines(others(()), limit=100)
    asks = [Ask(line, None, 0, 1_000) for line in lines]
    return await store.unfinished(asks, due_before=due_before)
