"""What the first version of the tables held is carried to its end by this one.

``first_schema.json`` was written by the code of that time: its core decided, its store
committed, over tables of migration 0001. It has unfinished transactions of every state
and both modes, half of them in the middle of a failure, and every kind of end.
"""

import asyncio
import base64
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, insert
from sqlalchemy.ext.asyncio import create_async_engine

from coordinator.api.definitions import PublishedSagas
from coordinator.core.actions import CallBranch
from coordinator.core.inputs import (
    Cancel,
    Confirm,
    Input,
    Outcome,
    Resume,
    RetryNow,
    Succeeded,
)
from coordinator.core.model import (
    GlobalTransaction,
    Key,
    Payload,
)
from coordinator.core.words import (
    Mode,
    Phase,
    Status,
)
from coordinator.ports import AuditEntry
from coordinator.storage.audit import find_break
from coordinator.storage.sql import migrate
from coordinator.storage.sql.migrate import SchemaState, state, upgrade
from coordinator.storage.sql.mysql import with_text_defaults
from coordinator.storage.sql.server import create_server_engine
from coordinator.storage.sql.sqlite import create_sqlite_engine
from coordinator.storage.sql.store import SqlStore, open_store
from coordinator.storage.sql.upgrade import run_one_by_one, sole_runner, steps_of
from coordinator.storage.sql.url import Kind, parse_url
from tests.engine.faults import TURNS_MAX, Node
from tests.servers import Server
from tests.storage.samples import NOW

FIRST = "0001"
STORED: Mapping[str, Any] = json.loads(
    Path(__file__).with_name("first_schema.json").read_text()
)
BUSY_TURNS = 30
"""In which all ends that does not wait for its deadline."""

BY_HAND = {"actor": "ann", "reason": "after the upgrade"}
WISHES: Mapping[str, Input] = {
    "tcc-trying-nothing": Cancel(),
    "tcc-trying-direct": Confirm(frozenset({"debit"})),
    "tcc-trying": Confirm(),
    "tcc-trying-pending": Confirm(),
    "tcc-confirming-paused": Resume(**BY_HAND),
    "tcc-confirming-attention": RetryNow(**BY_HAND),
}
"""What initiators and operators still have to say."""

ENDS = {
    "tcc-trying-nothing": Status.CANCELLED,
    "tcc-trying-direct": Status.CONFIRMED,
    "tcc-trying": Status.CONFIRMED,
    "tcc-trying-declared": Status.CONFIRMED,
    "tcc-trying-pending": Status.CONFIRMED,
    "tcc-tried": Status.CANCELLED,  # nobody decides it, so its deadline does
    "tcc-confirming": Status.CONFIRMED,
    "tcc-confirming-paused": Status.CONFIRMED,
    "tcc-confirming-attention": Status.CONFIRMED,
    "tcc-cancelling": Status.CANCELLED,
    "tcc-confirmed": Status.CONFIRMED,
    "tcc-cancelled": Status.CANCELLED,
    "tcc-resolved": Status.RESOLVED,
    "saga-running": Status.COMPLETED,
    "saga-running-between": Status.COMPLETED,
    "saga-running-pending": Status.COMPLETED,
    "saga-running-late": Status.COMPLETED,
    "saga-compensating": Status.COMPENSATED,
    "saga-compensating-in-flight": Status.COMPENSATED,
    "saga-completed": Status.COMPLETED,
    "saga-compensated": Status.COMPENSATED,
}
KEYS = [Key("default", gid) for gid in ENDS]


class Willing:
    """Participants that do whatever they are asked."""

    def __init__(self) -> None:
        self.calls: list[CallBranch] = []

    def carry_out(self, call: CallBranch) -> Outcome:
        self.calls.append(call)
        return Succeeded(Payload(b'{"entry": "e-1"}', "application/json"))

    def asked(self, gid: str) -> Counter[tuple[str, Phase]]:
        """How often each phase of each branch was asked for."""
        return Counter((c.branch_id, c.phase) for c in self.calls if c.key.gid == gid)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the first tables, and what was in them."""
    if request.param == "sqlite":
        path = tmp_path / "first.db"
        engine = create_sqlite_engine(path, writer=True)
        with engine.begin() as connection:
            migrate._alembic(FIRST, connection=connection)
            fill(connection)
        engine.dispose()
        return f"sqlite:///{path}"
    server: Server = request.getfixturevalue(request.param)
    url = server.create("tercet_first")
    asyncio.run(make_on_server(url))
    return url


async def make_on_server(url: str) -> None:
    where = parse_url(url)
    text = io.StringIO()
    dialect = "postgresql" if where.kind is Kind.POSTGRESQL else "mysql"
    migrate._alembic(FIRST, dialect=dialect, output=text)
    steps = steps_of(with_text_defaults(text.getvalue()))
    engine = create_server_engine(where, size=2, isolation="READ COMMITTED")
    async with sole_runner(engine), engine.connect() as connection:
        await connection.run_sync(run_one_by_one, steps)
    await engine.dispose()
    reflecting = create_async_engine(where.server)
    async with reflecting.begin() as connection:
        await connection.run_sync(fill)
    await reflecting.dispose()


def fill(connection: Connection) -> None:
    """Write what was stored, column by column as they were."""
    found = MetaData()
    found.reflect(connection)
    for name, content in STORED.items():
        table = found.tables[name]
        assert [column.name for column in table.columns] == content["columns"]
        booleans = {c.name for c in table.columns if c.type.python_type is bool}
        rows = [
            {
                column: _value(value, is_boolean=column in booleans)
                for column, value in zip(content["columns"], row, strict=True)
            }
            for row in content["rows"]
        ]
        if rows:
            connection.execute(insert(table), rows)


def _value(value: Any, *, is_boolean: bool) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return bool(value) if is_boolean else value


async def all_stored(store: SqlStore) -> dict[str, GlobalTransaction]:
    return {tx.key.gid: tx for tx in await store.load(KEYS)}


async def drive(store: SqlStore, participants: Willing) -> None:
    """Let a node of today take up everything, until nothing is unfinished."""
    node = Node(store, participants, "n-of-today")
    node.clock.time = NOW + 1_000
    sagas = PublishedSagas(store, {}, node.clock)
    node.world.engine._definitions = sagas
    for gid, what in WISHES.items():
        audit = (
            AuditEntry(what.actor, "BY_HAND", what.reason, NOW)
            if isinstance(what, Resume | RetryNow)
            else None
        )
        await node.ask(what, Key("default", gid), audit=audit)
    for turn in range(TURNS_MAX):
        await node.turn()
        if turn == BUSY_TURNS:
            node.clock.time = NOW + 60_000
        if all(tx.finished_at for tx in (await all_stored(store)).values()):
            break
    node.die()


async def test_what_the_first_version_stored_is_carried_to_its_end(
    old_url: str,
) -> None:
    """Upgraded, loaded, taken over from a node that is long gone, and ended."""
    assert state(old_url) is SchemaState.BEHIND
    assert len(upgrade(old_url)) == len(migrate.migration_names()) - 1
    store = await open_store(old_url)
    before = await all_stored(store)
    assert before.keys() == ENDS.keys()
    for tx in before.values():
        kinds = {branch.spec.kind.value for branch in tx.branches.values()}
        assert kinds <= ({"TCC"} if tx.request.mode is Mode.TCC else {"CALL"})

    participants = Willing()
    await drive(store, participants)

    after = await all_stored(store)
    assert {gid: tx.status for gid, tx in after.items()} == ENDS
    for gid, tx in after.items():
        if before[gid].finished_at is not None:
            assert tx == before[gid]
        journal = await store.journal(tx.key)
        assert [e.seq for e in journal] == list(range(1, tx.journal_seq + 1))
    assert find_break(await store.audit_trail()) is None
    await store.close()

    asked = participants.asked
    debit, credit = ("debit", Phase.CONFIRM), ("credit", Phase.CONFIRM)
    assert asked("tcc-confirming") == Counter({credit: 1})
    assert asked("tcc-confirming-paused") == Counter({debit: 1, credit: 1})
    assert asked("tcc-cancelling") == Counter({("debit", Phase.CANCEL): 1})
    assert asked("saga-running-late") == Counter({("tell", Phase.ACTION): 1})
    assert asked("saga-compensating") == Counter({("book", Phase.COMPENSATION): 1})
    (undo,) = (c for c in participants.calls if c.key.gid == "saga-compensating")
    assert (undo.operation, undo.input.data) == ("ledger.reverse", b'{"entry":"e-1"}')


def test_the_fixture_has_every_state_that_there_was() -> None:
    """Unfinished ones of both modes, and every end."""
    headers = STORED["global_transactions"]
    columns = headers["columns"]
    statuses = {row[columns.index("status")] for row in headers["rows"]}
    assert statuses == {status.value for status in Status}
    assert len(headers["rows"]) == len(ENDS)
