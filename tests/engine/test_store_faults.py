"""F21: whichever call of the store fails, and however, a flow ends as it must.

Each flow is played to its end with its first call failing, then its second, and so on,
until it has no such call any more; the client asks again when it is told UNAVAILABLE,
and real sweepers of two nodes do the rest.
"""

import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

import pytest
from structlog.testing import capture_logs

from coordinator import telemetry
from coordinator.core.evolution import fold
from coordinator.core.inputs import Begin, Cancel, Confirm, Submit, Try
from coordinator.core.model import Key
from coordinator.core.words import Phase, Status
from coordinator.ports import Queries, Store
from coordinator.storage.journal import facts_of
from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.store import open_store
from tests.core.world import definition, saga_request, spec, step, tcc_request
from tests.engine.faults import TURNS_MAX, Bank, Fault, Kind, Node
from tests.engine.world import GID
from tests.servers import Server
from tests.storage.conftest import empty_tables

SAGA = definition(step("debit"), step("credit", "debit"))
SAGA_GID = Key("default", "s-1")


@dataclass
class Play:
    """One flow over one store."""

    stored: Store
    fault: Fault
    bank: Bank = field(default_factory=Bank)
    nodes: list[Node] = field(default_factory=list)

    def node(self) -> Node:
        """One more node over the same data."""
        name = f"node-{len(self.nodes) + 1}"
        node = Node(self.stored, self.bank, name, self.fault)
        node.world.definitions.known[SAGA.digest] = SAGA
        self.nodes.append(node)
        return node

    async def until_ended(self, node: Node, key: Key) -> Status:
        """Let time pass until the stored state is final, and for a while after that."""
        for _ in range(TURNS_MAX):
            await node.turn()
            found = await self.stored.load([key])
            if found and found[0].status.is_final:
                for _ in range(4):
                    await node.turn()
                return found[0].status
        raise AssertionError(f"{key.gid} never ended; {self.fault} struck")


async def commit_tcc(play: Play) -> Status:
    """Both tries succeed, and the initiator confirms."""
    node = play.node()
    await node.ask(Begin(tcc_request()), GID)
    await node.ask(Try((spec("a"), spec("b"))), GID)
    await node.ask(Confirm(), GID)
    return await play.until_ended(node, GID)


async def cancel_tcc(play: Play) -> Status:
    """Both tries succeed, and the initiator cancels."""
    node = play.node()
    await node.ask(Begin(tcc_request()), GID)
    await node.ask(Try((spec("a"), spec("b"))), GID)
    await node.ask(Cancel(), GID)
    return await play.until_ended(node, GID)


async def saga_forward(play: Play) -> Status:
    """Both steps succeed."""
    node = play.node()
    await node.ask(Submit(saga_request(), SAGA), SAGA_GID)
    return await play.until_ended(node, SAGA_GID)


async def saga_compensate(play: Play) -> Status:
    """The second step is refused, and the first is undone."""
    play.bank.refusing = frozenset({"credit.do"})
    node = play.node()
    await node.ask(Submit(saga_request(), SAGA), SAGA_GID)
    return await play.until_ended(node, SAGA_GID)


async def take_over(play: Play) -> Status:
    """The node dies between the decision and the confirms; its peer goes on."""
    first = play.node()
    await first.ask(Begin(tcc_request()), GID)
    await first.ask(Try((spec("a"), spec("b"))), GID)
    first.is_unheard = True
    await first.ask(Confirm(), GID)
    first.die()
    return await play.until_ended(play.node(), GID)


class StoredData(Store, Queries, Protocol):
    """Both ports of one store."""


Fresh = Callable[[], AbstractAsyncContextManager[StoredData]]
Flow = Callable[[Play], Awaitable[Status]]

BOTH = ("a", "b")
DONE: Mapping[Flow, tuple[Status, Counter[tuple[str, Phase]]]] = {
    commit_tcc: (
        Status.CONFIRMED,
        Counter((b, p) for b in BOTH for p in (Phase.TRY, Phase.CONFIRM)),
    ),
    cancel_tcc: (
        Status.CANCELLED,
        Counter((b, p) for b in BOTH for p in (Phase.TRY, Phase.CANCEL)),
    ),
    saga_forward: (
        Status.COMPLETED,
        Counter({("debit", Phase.ACTION): 1, ("credit", Phase.ACTION): 1}),
    ),
    saga_compensate: (
        Status.COMPENSATED,
        Counter({("debit", Phase.ACTION): 1, ("debit", Phase.COMPENSATION): 1}),
    ),
    take_over: (
        Status.CONFIRMED,
        Counter((b, p) for b in BOTH for p in (Phase.TRY, Phase.CONFIRM)),
    ),
}


async def play_all(flow: Flow, kind: Kind, fresh: Fresh) -> Counter[str]:
    """Play a flow with each of its calls failing; which calls those were."""
    struck = Counter[str]()
    for number in range(1, TURNS_MAX):
        fault = Fault(kind, number)
        async with fresh() as stored:
            with capture_logs() as logs:
                play = Play(stored, fault)
                try:
                    status = await flow(play)
                finally:
                    for node in play.nodes:
                        node.die()
            assert (status, play.bank.effects) == DONE[flow], fault
            await check_whole(stored)
        if not fault.struck:
            return struck
        struck[fault.struck] += 1
        told = [entry for entry in logs if entry["event"] == telemetry.STORE_FAILED]
        assert told, f"{fault} was swallowed"
    raise AssertionError("the flow has no end")


async def check_whole(stored: StoredData) -> None:
    """T11: what is stored is what its journal says, without a gap."""
    (tx,) = await stored.load([GID, SAGA_GID])
    journal = await stored.journal(tx.key)
    assert [entry.seq for entry in journal] == list(range(1, tx.journal_seq + 1))
    told = fold(tuple(chain.from_iterable(map(facts_of, journal))))
    assert (told.request, told.status, told.decision, told.finished_at) == (
        tx.request,
        tx.status,
        tx.decision,
        tx.finished_at,
    )
    assert {i: b.status for i, b in told.branches.items()} == {
        i: b.status for i, b in tx.branches.items()
    }


@asynccontextmanager
async def in_memory() -> AsyncIterator[StoredData]:
    yield MemoryStore()


EVERYWHERE = {"beat", "lines", "commit"}


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("flow", DONE)
async def test_any_call_may_fail_in_memory(flow: Flow, kind: Kind) -> None:
    """L6, T6: every flow, every call, every way to fail: one end, each effect once."""
    struck = await play_all(flow, kind, in_memory)
    assert struck.keys() >= EVERYWHERE
    if flow is take_over:
        assert struck.keys() >= {"load", "unfinished", "claim"}


@pytest.mark.parametrize("flow", DONE)
async def test_any_call_may_fail_on_sqlite(flow: Flow, tmp_path: Path) -> None:
    """The same over a store with threads, where what is written is not known to be."""
    empty = tmp_path / "empty.db"
    upgrade(f"sqlite:///{empty}")

    @asynccontextmanager
    async def fresh() -> AsyncIterator[StoredData]:
        path = tmp_path / "played.db"
        shutil.copy(empty, path)
        store = await open_store(f"sqlite:///{path}")
        yield store
        await store.close()

    assert (await play_all(flow, Kind.KEPT, fresh)).keys() >= EVERYWHERE


async def test_any_call_may_fail_on_a_server(database_server: Server) -> None:
    """A decision and its confirms, over connections."""
    store = await open_store(empty_tables(database_server))

    @asynccontextmanager
    async def fresh() -> AsyncIterator[StoredData]:
        empty_tables(database_server)
        yield store

    struck = await play_all(commit_tcc, Kind.KEPT, fresh)
    assert struck.keys() >= EVERYWHERE
    await store.close()
