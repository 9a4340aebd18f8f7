"""Transactions as a node leaves them that dies right after their decision."""

from collections.abc import Callable
from functools import reduce

from coordinator.core import machine
from coordinator.core.changed import changed
from coordinator.core.inputs import Begin, BranchReplied, Input, Succeeded
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    GlobalTransaction,
    Instant,
    Key,
    TransactionRequest,
)
from coordinator.core.words import Mode, Phase
from coordinator.ports import Change, Store

BATCH = 1_000
DEAD_OWNER = "n-that-is-gone"


async def leave(
    store: Store,
    count: int,
    *,
    participant: str,
    now: Instant,
    on_progress: Callable[[int], None],
) -> None:
    """Store so many TCC transactions of two branches that are to be confirmed.

    Raises:
        ValueError: there are such transactions already.
    """
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        changes = [_left(f"left-{n:08}", participant, now) for n in numbers]
        if await store.commit(changes):
            raise ValueError("the database is not empty; expected one without rows")
        on_progress(numbers.stop)


def _left(gid: str, participant: str, now: Instant) -> Change:
    request = TransactionRequest(
        key=Key("default", gid),
        mode=Mode.TCC,
        name="transfer",
        digest="0" * 64,
        created_at=now,
        deadline_at=now + 60_000,
        declared=True,
    )
    specs = tuple(_spec(str(n), participant) for n in (1, 2))
    inputs: list[Input] = [
        BranchReplied(spec.branch_id, Phase.TRY, 1, Succeeded()) for spec in specs
    ]
    first, began = machine.step(None, Begin(request, specs), now)
    events = list(began)

    def happen(tx: GlobalTransaction, what: Input) -> GlobalTransaction:
        tx, more = machine.step(tx, what, now)
        events.extend(more)
        return tx

    last = reduce(happen, inputs, first)
    after = changed(last, revision=1, journal_seq=1, owner=DEAD_OWNER)
    return Change(None, after, tuple(events), machine.due_at(after))


def _spec(branch_id: str, participant: str) -> BranchSpec:
    return BranchSpec(
        branch_id, f"{participant}.hold", NO_PAYLOAD, timeout_ms=5_000, attempt_max=5
    )
