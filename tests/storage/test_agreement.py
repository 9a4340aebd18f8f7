"""Both stores give the same answers to the same questions, whatever came before."""

from random import Random

import pytest
from msgspec.structs import replace

from coordinator.core.model import (
    GlobalTransaction,
    Key,
    Operation,
)
from coordinator.core.sweep import Ask, Place, others
from coordinator.core.words import OperationKind
from coordinator.ports import (
    AuditEntry,
    Change,
    NodeRow,
    StoredDefinition,
    SweepRow,
    TransactionFilter,
)
from coordinator.storage.audit import find_break
from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.store import SqlStore, open_store
from tests.storage.samples import NOW, began, confirmed, key, move, tried

KEY_COUNT = 12
STEP_COUNT = 80


class Twins:
    """Asks both stores the same, and compares."""

    def __init__(self, seed: int, memory: MemoryStore, sql: SqlStore) -> None:
        self.random = Random(seed)
        self.memory, self.sql = memory, sql
        self.keys = [key(n, space) for n in range(KEY_COUNT) for space in "ab"]
        self.past: list[GlobalTransaction] = []
        self.listed: list[SweepRow] = []

    async def step(self) -> None:
        """One question of any kind."""
        kinds = [self.write] * 8 + [self.claim] * 2 + [self.catalogue, self.beat]
        await self.random.choice(kinds)()
        await self.read()

    def change(self, of: Key, latest: GlobalTransaction | None) -> Change:
        """Mostly a fitting change; sometimes of a state long gone."""
        old = [tx for tx in self.past if tx.key == of]
        if old and self.random.random() < 0.2:
            latest = self.random.choice(old)
        due_at = self.random.choice([None, NOW, NOW + 1, NOW + 2])
        if latest is None or self.random.random() < 0.1:
            names = self.random.sample(["c", "a", "b"], self.random.randrange(4))
            at = NOW + self.random.randrange(5)
            change = began(of, *names, due_at=due_at, created_at=at)
        elif latest.status == "TRYING":
            change = tried(latest)
        elif latest.status == "CONFIRMING":
            change = confirmed(latest)
        else:
            change = move(latest, due_at=None)
        if self.random.random() < 0.1:
            change = replace(change, audit=AuditEntry("eve", "act", "", NOW))
        return change

    async def write(self) -> None:
        some = self.random.sample(self.keys, self.random.randrange(1, 8))
        latest = {tx.key: tx for tx in await self.memory.load(some)}
        changes = [self.change(of, latest.get(of)) for of in some]
        expected = await self.memory.commit(changes)
        assert sorted(expected) == sorted(await self.sql.commit(changes))
        self.past += [change.after for change in changes if change.key not in expected]

    async def claim(self) -> None:
        rows = [
            replace(row, takeovers=row.takeovers + 1)
            for row in self.random.sample(self.listed, min(3, len(self.listed)))
        ]
        expected = await self.memory.claim(rows, owner="node-2")
        assert sorted(expected) == sorted(await self.sql.claim(rows, owner="node-2"))

    async def catalogue(self) -> None:
        number = self.random.randrange(4)
        text = f"text {self.random.randrange(3)}"
        saga = StoredDefinition("a", f"saga{number % 2}", str(number), text, text, NOW)
        assert await self.memory.publish(saga) == await self.sql.publish(saga)
        operation = Operation(f"bank.{number}", OperationKind.TCC, "bank", True, text)
        for store in (self.memory, self.sql):
            await store.save_operations("a", [operation])

    async def beat(self) -> None:
        node = NodeRow(f"n{self.random.randrange(3)}", "here", len(self.past))
        assert await self.memory.beat(node) == await self.sql.beat(node)
        for store in (self.memory, self.sql):
            await store.forget_node("n0")

    async def read(self) -> None:
        some = self.random.sample(self.keys, 6)
        one, two = await self.memory.load(some), await self.sql.load(some)
        assert {tx.key: tx for tx in one} == {tx.key: tx for tx in two}
        due, limit = NOW + self.random.randrange(3), self.random.randrange(1, 30)
        gaps = others(self.random.choice([(), ("node-1",), ("node-10",)]))
        lines = await self.memory.lines(gaps, limit=limit)
        assert lines == await self.sql.lines(gaps, limit=limit)
        place = Place(NOW + self.random.randrange(3), self.random.choice(self.keys).gid)
        asks = [
            Ask(line, self.random.choice([None, place]), limit // 9, limit)
            for line in lines
        ]
        rows = [
            await store.unfinished(asks, due_before=due)
            for store in (self.memory, self.sql)
        ]
        assert rows[0] == rows[1]
        self.listed = (self.listed + rows[0])[-40:]
        before = self.random.choice([None, (NOW + 2, key(3).gid)])
        what = TransactionFilter("b", before=before, limit=limit)
        shown = await self.memory.list_transactions(what)
        assert shown == await self.sql.list_transactions(what)
        for of in some[:2]:
            assert await self.memory.journal(of) == await self.sql.journal(of)

    async def compare_all(self) -> None:
        """What a run leaves behind."""
        for of in self.keys:
            entries = await self.sql.journal(of)
            assert await self.memory.journal(of) == entries
            assert list(range(1, len(entries) + 1)) == [entry.seq for entry in entries]
        found = await self.sql.list_definitions("a")
        assert await self.memory.list_definitions("a") == found
        operations = await self.sql.list_operations("a")
        assert await self.memory.list_operations("a") == operations
        for name in ("saga0", "saga1"):
            latest = await self.sql.find_definition("a", name, "latest")
            assert await self.memory.find_definition("a", name, "latest") == latest
        chain = await self.sql.audit_trail()
        assert await self.memory.audit_trail() == chain
        assert find_break(chain) is None


@pytest.mark.parametrize("seed", range(12))
async def test_both_stores_agree(url: str, seed: int) -> None:
    """Over a random history of writes, races, claims and listings."""
    await agree(url, seed)


@pytest.mark.parametrize("seed", range(2))
async def test_servers_agree_with_the_reference(server_url: str, seed: int) -> None:
    """The same histories on PostgreSQL and MariaDB."""
    await agree(server_url, seed)


async def agree(url: str, seed: int) -> None:
    """Ask both for a while."""
    twins = Twins(seed, MemoryStore(), await open_store(url))
    for _ in range(STEP_COUNT):
        await twins.step()
    await twins.compare_all()
    assert len(twins.past) > STEP_COUNT
    await twins.sql.close()
