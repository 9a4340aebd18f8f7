"""The store contract, played by Hypothesis: a model, the reference store and SQL.

Two handles on each store stand for two nodes. Whatever they write, race for, claim,
lose in a crash or open again, all stores and the model agree after every step.
"""

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from coordinator.core.errors import StoreUnavailable
from coordinator.core.events import (
    AttemptFailed,
    AttentionRaised,
    BranchSucceeded,
    Decided,
    Finished,
    Paused,
    RetryRequested,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    UNDER_WAY,
    GlobalTransaction,
    Key,
)
from coordinator.core.sweep import Ask, Place, others
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)
from coordinator.ports import AuditEntry, Change, SweepRow, TransactionFilter
from coordinator.storage.audit import find_break
from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.store import SqlStore, open_store
from tests.storage.conftest import empty_tables
from tests.storage.samples import (
    BINARY,
    JSON,
    NOW,
    apart,
    began,
    confirmed,
    key,
    move,
    tried,
)

T = TypeVar("T")
KEYS = [key(number, space) for space in ("a", "b") for number in range(4)]
NODES = st.integers(0, 1)
DUE = st.sampled_from([None, NOW, NOW + 1, NOW + 2])
ENTRIES_MAX = 2
"""In a transaction's row: few, so that histories as short as these get beyond."""
FACTOR = int(os.environ.get("TERCET_EXAMPLES", "1"))


class StoresSideBySide(RuleBasedStateMachine):
    """Asks both stores the same; remembers what must be true now."""

    fresh: ClassVar[Callable[[], str]]
    """Makes an empty database and tells its URL."""
    seen: ClassVar[Counter[str]]
    """What all histories came to: a check that never ran proves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.url = type(self).fresh()
        memory = MemoryStore()
        self.memory = [memory.reopen(), memory.reopen()]
        self.sql = [self.wait(self.open()) for _ in range(2)]
        self.latest: dict[Key, GlobalTransaction] = {}
        self.due: dict[Key, int | None] = {}
        self.counts: dict[Key, int] = {}
        self.past: dict[Key, list[GlobalTransaction]] = {}
        self.listed: list[SweepRow] = []

    def wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asked)

    async def open(self) -> SqlStore:
        return await open_store(self.url)

    # ---- What is written ----------------------------------------------------------

    @initialize(keys=st.lists(st.sampled_from(KEYS), min_size=2, unique=True))
    def begin_some(self, keys: list[Key]) -> None:
        self.write(0, [began(of, "x", "y", due_at=NOW) for of in keys])

    @rule(node=NODES, data=st.data())
    def write_several(self, node: int, data: st.DataObject) -> None:
        """Fitting changes and stale ones, of several transactions at once (L1, T11)."""
        self.write(node, self.changes(data))

    @rule(node=NODES, of=st.sampled_from(KEYS), names=st.sets(st.sampled_from("xyz")))
    def begin(self, node: int, of: Key, names: set[str]) -> None:
        """T10: what exists already is a conflict, and keeps its state."""
        self.write(node, [began(of, *sorted(names), due_at=NOW + 1)])

    @rule(node=NODES, data=st.data(), kept=st.booleans())
    def crash_while_writing(
        self, node: int, data: st.DataObject, *, kept: bool
    ) -> None:
        """L6, T7: the writer cannot tell; all of it is there, or nothing is."""
        changes = self.changes(data)
        self.wait(self.lose_the_answer(node, changes, kept=kept))
        if kept:
            self.wait(self.sql[node].commit(changes))
            self.remember(changes)
        self.seen[f"crash kept={kept}"] += 1
        self.open_again(node)

    async def lose_the_answer(
        self, node: int, changes: list[Change], *, kept: bool
    ) -> None:
        store = self.memory[node]
        store.holding = True
        asked = asyncio.create_task(store.commit(changes))
        await store.until_held()
        store.crash(kept=kept)
        with pytest.raises(StoreUnavailable):
            await asked

    @rule(node=NODES, how_many=st.integers(1, 4), data=st.data())
    def claim(self, node: int, how_many: int, data: st.DataObject) -> None:
        """L2, L3, V6: a listed row is claimed once; revision and count rise."""
        if not self.listed:
            return
        drawn = data.draw(
            st.lists(
                st.sampled_from(self.listed),
                min_size=1,
                max_size=how_many,
                unique_by=lambda row: row.key,
            )
        )
        rows = [replace(row, takeovers=row.takeovers + 1) for row in drawn]
        owner = f"node-{node}"
        won = sorted(self.wait(self.memory[node].claim(rows, owner=owner)))
        assert sorted(self.wait(self.sql[node].claim(rows, owner=owner))) == won
        expected = [r.key for r in rows if r.revision == self.latest[r.key].revision]
        assert won == sorted(expected)
        self.seen["claim won"] += len(won)
        self.seen["claim lost"] += len(rows) - len(won)
        counts = {row.key: row.takeovers for row in rows}
        for of in won:
            tx = self.latest[of]
            self.counts[of] = counts[of]
            self.keep(replace(tx, owner=owner, revision=tx.revision + 1))

    def changes(self, data: st.DataObject) -> list[Change]:
        keys = data.draw(
            st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True)
        )
        made = [self.change(of, data) for of in keys]
        made = [apart(c) if data.draw(st.integers(0, 3)) == 0 else c for c in made]
        if data.draw(st.booleans()):
            audit = AuditEntry("eve", "retry", "because", NOW)
            made[0] = replace(made[0], audit=audit)
        return made

    def change(self, of: Key, data: st.DataObject) -> Change:
        """A next move of its latest state, or of one that it had before."""
        past = self.past.get(of)
        if past is None:
            return began(of, *data.draw(st.sets(st.sampled_from("xy"))), due_at=NOW)
        stale = data.draw(st.integers(0, 3)) == 0
        tx = data.draw(st.sampled_from(past)) if stale else past[-1]
        return next_move(tx, data.draw(st.integers(0, 5)), data.draw(DUE))

    def write(self, node: int, changes: list[Change]) -> None:
        lost = sorted(self.wait(self.memory[node].commit(changes)))
        assert sorted(self.wait(self.sql[node].commit(changes))) == lost
        assert self.remember(changes) == lost
        self.seen["write made"] += len(changes) - len(lost)
        self.seen["write lost"] += len(lost)

    def remember(self, changes: list[Change]) -> list[Key]:
        """The model: a change is made when its guard holds, else it is lost."""
        lost = []
        for change in changes:
            before = self.latest.get(change.key)
            known = change.before.revision if change.before else 0
            if known != (before.revision if before else 0):
                lost.append(change.key)
                continue
            if before is not None and before.decision is not Decision.NONE:
                assert change.after.decision is before.decision, "T1"
            self.keep(change.after)
            self.due[change.key] = change.due_at
            self.counts[change.key] = 0
        return sorted(lost)

    def keep(self, tx: GlobalTransaction) -> None:
        self.latest[tx.key] = tx
        self.past.setdefault(tx.key, []).append(tx)

    # ---- What is asked ------------------------------------------------------------

    @rule(
        node=NODES,
        due_before=st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + 2]),
        after=st.none() | st.sampled_from(KEYS),
        limit=st.integers(1, 9),
    )
    def list_unfinished(
        self, node: int, due_before: int, after: Key | None, limit: int
    ) -> None:
        """L7, V3: all that is due and has not ended, in a line by its time."""
        gaps = others(())
        lines = self.wait(self.memory[node].lines(gaps, limit=99))
        assert self.wait(self.sql[node].lines(gaps, limit=99)) == lines
        place = Place(NOW, after.gid) if after else None
        asks = [Ask(line, place, 0, limit) for line in lines]
        rows = self.wait(self.memory[node].unfinished(asks, due_before=due_before))
        mine = self.sql[node].unfinished(asks, due_before=due_before)
        assert self.wait(mine) == rows
        expected: list[Key] = []
        for line in lines:
            stands = sorted(
                (Place(due_at, of.gid), of)
                for of, tx in self.latest.items()
                if (tx.owner, of.namespace) == line[:2]
                and self.counts.get(of, 0) == line.takeovers
                and tx.finished_at is None
                and (due_at := self.due[of]) is not None
                and due_at <= due_before
            )
            behind = [of for at, of in stands if place is None or at > place]
            expected += behind[:limit]
        assert [row.key for row in rows] == expected
        assert all(row.revision == self.latest[row.key].revision for row in rows)
        self.listed += rows

    @rule(node=NODES, attention=st.booleans(), limit=st.integers(1, 9))
    def list_for_people(self, node: int, limit: int, *, attention: bool) -> None:
        what = TransactionFilter("a", attention=attention, limit=limit)
        shown = self.wait(self.memory[node].list_transactions(what))
        assert self.wait(self.sql[node].list_transactions(what)) == shown

    @rule(node=NODES)
    def open_again(self, node: int) -> None:
        """T7: a restart finds everything that was acknowledged."""
        self.memory[node] = self.memory[1 - node].reopen()
        self.wait(self.sql[node].close())
        self.sql[node] = self.wait(self.open())

    @invariant()
    def both_hold_what_was_acknowledged(self) -> None:
        """On both nodes: the model's state, and nothing that was lost."""
        for node in range(2):
            memory = {tx.key: tx for tx in self.wait(self.memory[node].load(KEYS))}
            sql = {tx.key: tx for tx in self.wait(self.sql[node].load(KEYS))}
            assert memory == self.latest
            assert sql == self.latest

    def teardown(self) -> None:
        """T11: the journals are the same, numbered from 1 without a gap."""
        try:
            for of in KEYS:
                journal = self.wait(self.sql[0].journal(of))
                assert journal == self.wait(self.memory[0].journal(of))
                last = self.latest[of].journal_seq if of in self.latest else 0
                assert [entry.seq for entry in journal] == list(range(1, last + 1))
                if last > ENTRIES_MAX and not self.latest[of].branches_apart:
                    self.seen["journal in two places"] += 1
            trail = self.wait(self.sql[0].audit_trail())
            assert trail == self.wait(self.memory[0].audit_trail())
            assert find_break(trail) is None
        finally:
            for store in (*self.sql, *self.memory):
                self.wait(store.close())
            self.runner.close()


def next_move(tx: GlobalTransaction, choice: int, due_at: int | None) -> Change:
    """Any legal next facts of a state, decided by a number."""
    if tx.status.is_final:
        return move(tx, due_at=None)
    open_ = [name for name, b in tx.branches.items() if b.status in UNDER_WAY]
    if choice == 0 and open_:
        failed = AttemptFailed(
            open_[0], tx.branches[open_[0]].attempts + 1, NOW, "X", ""
        )
        return move(tx, failed, due_at=due_at)
    if choice == 1:
        return move(tx, AttentionRaised("look", NOW + 3), due_at=due_at)
    if choice == 2:
        asked = RetryRequested("eve", "now", NOW + 3)
        return move(tx, Paused("eve", "wait", NOW + 3), asked, due_at=due_at)
    match tx.status:
        case Status.TRYING if choice == 3:
            return move(tx, Decided(Decision.ABORT, "NO", "", NOW + 4), due_at=due_at)
        case Status.TRYING if choice == 4 and len(open_) > 1:
            answer = BranchSucceeded(open_[0], Phase.TRY, BINARY, NOW + 4)
            return move(tx, answer, due_at=due_at)
        case Status.TRYING if len(open_) == len(tx.branches):
            return tried(tx)
        case Status.CONFIRMING:
            return confirmed(tx)
        case Status.CANCELLING:
            done = [
                BranchSucceeded(name, Phase.CANCEL, NO_PAYLOAD, NOW + 5)
                for name in open_
            ]
            return move(tx, *done, Finished(Status.CANCELLED, JSON, NOW + 5))
        case _:
            return move(tx, Decided(Decision.ABORT, "NO", "", NOW + 4), due_at=due_at)


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes empty databases of one kind."""
    if request.param != "sqlite":
        server = request.getfixturevalue(request.param)
        return lambda: empty_tables(server)
    template = tmp_path / "template.db"
    upgrade(f"sqlite:///{template}")
    numbers = count()

    def copy() -> str:
        path = tmp_path / f"{next(numbers)}.db"
        shutil.copy(template, path)
        return f"sqlite:///{path}"

    return copy


@pytest.mark.parametrize(
    ("fresh", "examples"),
    [("sqlite", 25), ("postgresql", 8), ("mariadb", 8)],
    indirect=["fresh"],
)
def test_stores_and_model_agree_on_every_history(
    fresh: Callable[[], str], examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes, races, claims, crashes: T1, T7, T10, T11, L1 to L3, L6, L7."""
    monkeypatch.setattr("coordinator.core.apart.ENTRIES_MAX", ENTRIES_MAX)
    new_database = fresh

    class Machine(StoresSideBySide):
        fresh = staticmethod(new_database)
        seen: ClassVar[Counter[str]] = Counter()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples * FACTOR,
            stateful_step_count=25,
            derandomize=FACTOR == 1,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert set(+Machine.seen) == {
        "write made",
        "write lost",
        "claim won",
        "claim lost",
        "crash kept=True",
        "crash kept=False",
        "journal in two places",
    }
