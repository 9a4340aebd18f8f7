"""What is SQLite's own: syncs, locks, plans, and a disk that is full."""

import asyncio
import resource
import sqlite3
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, event

from coordinator.core.errors import PreconditionFailed, StoreUnavailable
from coordinator.core.sweep import Ask, Line, Place, others
from coordinator.ports import NodeRow, TransactionFilter
from coordinator.storage.sql.database import Lane
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.store import SqlStore, open_store
from tests.storage.samples import (
    NOW,
    apart,
    began,
    commit,
    confirmed,
    key,
    move,
    run_to_end,
    stored,
    tried,
)

BUSY_TIMEOUT_MS = 20
"""How long these tests let a write wait for a lock that will not go away."""


@pytest.fixture
def path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    store = await open_store(url, busy_timeout_ms=BUSY_TIMEOUT_MS)
    yield store
    await store.close()


@contextmanager
def neighbour(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process's connection."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


async def test_the_writer_syncs_every_commit(store: SqlStore) -> None:
    """T7: WAL with full sync, and no reader ever checkpoints."""

    def ask(connection: Any) -> list[object]:
        names = ("journal_mode", "synchronous", "wal_autocheckpoint", "query_only")
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names
        ]
        connection.rollback()
        return found

    assert await store._database.write(ask) == ["wal", 2, 2_000, 0]
    assert [(await store._database.read(ask))[n] for n in (0, 2, 3)] == ["wal", 0, 1]


async def test_closing_waits_for_reads_and_leaves_no_connection_open(
    store: SqlStore,
) -> None:
    """Not even that of a read whose caller has gone: its thread is still at it."""
    reads, may_end = threading.Event(), threading.Event()
    used: list[sqlite3.Connection] = []

    def read(connection: Connection) -> None:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        used.append(raw)
        reads.set()
        may_end.wait()

    reading = asyncio.create_task(store._database.read(read))
    await asyncio.to_thread(reads.wait)
    reading.cancel()
    closing = asyncio.create_task(store.close())
    await asyncio.wait([reading])
    await asyncio.to_thread(may_end.set)
    await closing

    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        used[0].execute("SELECT 1")


async def test_what_would_be_tried_again_is_not_once_the_store_is_closed(
    store: SqlStore,
) -> None:
    """It is told so, as whoever comes later is."""
    reads, may_end = threading.Event(), threading.Event()

    def read(_connection: Connection) -> None:
        reads.set()
        may_end.wait()
        failure = sqlite3.OperationalError("database is locked")
        failure.sqlite_errorname = "SQLITE_BUSY"
        raise failure

    reading = asyncio.create_task(store._database.read(read))
    await asyncio.to_thread(reads.wait)
    closing = asyncio.create_task(store.close())
    await asyncio.to_thread(may_end.set)
    await closing

    with pytest.raises(StoreUnavailable, match="was closed"):
        await reading


@pytest.mark.parametrize(("made_with", "kept"), [(None, 8_192), (4_096, 4_096)])
async def test_a_new_file_has_large_pages_and_an_old_one_keeps_its_own(
    tmp_path: Path, made_with: int | None, kept: int
) -> None:
    """A file of before is served as it is."""
    path = tmp_path / "old-or-new.db"
    if made_with is not None:
        with neighbour(path) as other:
            other.execute(f"PRAGMA page_size={made_with}")
            other.execute("PRAGMA journal_mode=WAL")
    url = f"sqlite:///{path}"
    await asyncio.to_thread(upgrade, url)

    await (await open_store(url)).close()

    with neighbour(path) as other:
        assert other.execute("PRAGMA page_size").fetchone() == (kept,)


async def test_a_database_that_does_not_sync_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T7: better no service than one that forgets."""
    real = sqlite3.connect

    class Lying(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql == "PRAGMA synchronous=FULL":
                sql = "PRAGMA synchronous=NORMAL"
            return super().execute(sql, *parameters)

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return real(*arguments, factory=Lying, **options)

    monkeypatch.setattr(sqlite3.dbapi2, "connect", connect)
    with pytest.raises(StoreUnavailable, match="full sync"):
        await open_store(url)


async def test_a_sqlite_that_is_too_old_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, and not by the first commit."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 23, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.23.1")
    with pytest.raises(PreconditionFailed, match=r"3\.23\.1, is too old") as caught:
        await open_store(url)
    assert caught.value.detail_reason == "SERVER_VERSION"


async def test_a_kill_loses_nothing_that_was_acknowledged(
    url: str, tmp_path: Path
) -> None:
    """T7: kill -9 between two commits; all acknowledged ones are there."""
    program = f"""
        import asyncio, os, signal
        from coordinator.storage.sql.store import open_store
        from tests.storage.samples import began, tried

        async def main():
            store = await open_store({url!r})
            first = [began(n, "debit") for n in range(200)]
            await store.commit(first)
            await store.commit([tried(change.after) for change in first[:50]])
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(program), cwd=Path(__file__).parents[2]
    )
    assert await process.wait() == -9
    store = await open_store(url)
    found = {tx.key: tx for tx in await store.load([key(n) for n in range(200)])}
    await store.close()
    assert len(found) == 200
    for number in range(200):
        first = began(number, "debit").after
        expected = tried(first).after if number < 50 else first
        assert expected == found[key(number)]


async def test_a_file_that_another_process_holds_is_unavailable(
    store: SqlStore, path: Path
) -> None:
    """And usable as soon as it lets go; what failed has left nothing behind."""
    first = began(1, "debit")
    await commit(store, first)
    with neighbour(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            await store.commit([tried(first.after), began(2)])
        with pytest.raises(StoreUnavailable):
            await store.beat(NodeRow("node-1", "", 1))
        # Readers wait for nobody.
        assert first.after == await stored(store, key(1))
        other.execute("ROLLBACK")
    assert await store.load([key(2)]) == []
    await commit(store, tried(first.after), began(2))


async def test_a_locked_file_is_unavailable_to_a_new_store(
    url: str, path: Path
) -> None:
    """Opening says so and releases what it had taken."""
    with neighbour(path) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable):
            await open_store(url, busy_timeout_ms=BUSY_TIMEOUT_MS)
        other.execute("ROLLBACK")
    await (await open_store(url)).close()


@contextmanager
def full_disk(path: Path, *, room: int) -> Iterator[None]:
    """No file of this process may grow beyond the database's log and a little."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = Path(f"{path}-wal").stat().st_size + room
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_unavailable_and_heals(
    store: SqlStore, path: Path
) -> None:
    """The commit that met it is wholly gone; the next one after it succeeds."""
    old = [began(number, "debit") for number in range(100)]
    await commit(store, *old)
    batch = [tried(change.after) for change in old]
    with full_disk(path, room=20_000):
        with pytest.raises(StoreUnavailable):
            await store.commit(batch)
        assert old[7].after == await stored(store, key(7))
    assert len(await store.journal(key(7))) == 1
    await commit(store, *batch)
    assert batch[99].after == await stored(store, key(99))


async def test_a_commit_that_fails_at_its_end_is_rolled_back(store: SqlStore) -> None:
    """COMMIT itself fails: nothing is kept open, and the writer goes on."""
    engine = store._database._writing
    failures = [sqlite3.OperationalError("disk I/O error: s3cret")]

    def fail(_connection: object) -> None:
        if failures:
            raise failures.pop()

    event.listen(engine, "commit", fail)
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit([began(1, "debit")])
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert await store.load([key(1)]) == []
    await commit(store, began(1, "debit"))


async def test_errors_tell_no_values(store: SqlStore, path: Path) -> None:
    """No statement, no payload, no path."""
    with neighbour(path) as other:
        other.execute("DROP TABLE journal")
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit([apart(began(1, "debit"))])
    said = str(caught.value)
    assert "database does not answer (SQLITE_ERROR)" in said
    for secret in ("journal", "INSERT", "tx-00001", str(path)):
        assert secret not in said


async def test_a_commit_is_a_constant_number_of_statements(store: SqlStore) -> None:
    """However many transactions it carries, of which there is room in a statement."""
    calls: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        calls.append(statement)

    engine = store._database._writing
    event.listen(engine, "before_cursor_execute", note)
    counts = []
    for size in (1, 10, 60):
        old = [apart(began(n, "debit")) for n in range(size * 1_000, size * 1_001)]
        await commit(store, *old)
        fresh = range(size * 2_000_000, size * 2_000_001)
        new = [apart(began(number, "debit")) for number in fresh]
        calls.clear()
        await commit(store, *(tried(change.after) for change in old), *new)
        counts.append(len(calls))
    assert counts == [6, 6, 6]
    assert calls[0] == "BEGIN IMMEDIATE"


def plan_of(path: Path, statement: str, parameters: Any) -> str:
    """How SQLite would carry a statement out."""
    with neighbour(path) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return " / ".join(row[3] for row in rows)


async def test_the_sweeper_seeks_its_lines_and_places(
    store: SqlStore, path: Path
) -> None:
    """F20: a thousand finished rows beside and two hundred due, before and after
    statistics: every statement seeks in the index of what is unfinished.
    """
    ended = [move(None, *history(number), due_at=None) for number in range(1_000)]
    await commit(store, *ended)
    await commit(store, *(began(n, due_at=NOW) for n in range(20_000, 20_200)))
    calls: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        calls.append((statement, parameters))

    event.listen(store._database._reading, "before_cursor_execute", note)
    line = Line("node-1", "default", 0)
    for analyzed in (False, True):
        if analyzed:
            with neighbour(path) as other:
                other.execute("ANALYZE")
        calls.clear()
        assert await store.lines(others(()), limit=9) == [line]
        for after in (None, Place(NOW, key(20_004).gid)):
            rows = await store.unfinished([Ask(line, after, 0, 5)], due_before=NOW)
            assert len(rows) == 5
        texts = [call for call in calls if call[0].startswith("SELECT")]
        assert len(texts) == 4
        for call in texts:
            steps = plan_of(path, *call).split(" / ")
            seeks = [step for step in steps if "global_transactions" in step]
            assert seeks
            for seek in seeks:
                assert seek.startswith("SEARCH")
                assert "ix_global_transactions_lines (owner" in seek


async def test_who_needs_an_operation_is_found_among_the_unfinished_alone(
    store: SqlStore, path: Path
) -> None:
    """Every finished row there is would else be walked past, newest first."""
    for number in range(200):
        await commit(store, move(None, *history(number), due_at=None))
    await commit(store, began(900, "debit"))
    calls: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        calls.append((statement, parameters))

    event.listen(store._database._reading, "before_cursor_execute", note)
    for analyzed in (False, True):
        if analyzed:
            with neighbour(path) as other:
                other.execute("ANALYZE")
        calls.clear()
        found = await store.unfinished_with(
            "default", operations=["accounts.debit"], digests=["d"], limit=9
        )
        assert [tx.key for tx in found] == [key(900)]
        assert "_lines" in plan_of(path, *calls[-1])


def history(number: int) -> tuple[Any, ...]:
    """All facts of a transaction that ended."""
    first = began(number, "debit")
    second = tried(first.after)
    return (*first.events, *second.events, *confirmed(second.after).events)


async def test_loads_and_listings_use_an_index(store: SqlStore, path: Path) -> None:
    """No query of the hot path or of people scans a table or sorts one."""
    await run_to_end(store, 1)
    await commit(store, apart(began(2, "debit")))
    calls: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        calls.append((statement, parameters))

    event.listen(store._database._reading, "before_cursor_execute", note)
    every = TransactionFilter("default")
    for question in (
        store.load([key(1), key(2)]),
        store.journal(key(1)),
        store.list_transactions(every),
        store.list_transactions(replace(every, before=(NOW, "tx"))),
        store.list_transactions(replace(every, attention=True)),
    ):
        await question
    plans = [plan_of(path, *call) for call in calls if call[0].startswith("SELECT")]
    used = ["sqlite_autoindex"] * 4 + ["_newest", "_newest", "_attention"]
    assert len(used) == len(plans)
    for index, plan in zip(used, plans, strict=True):
        assert index in plan
        assert "SCAN" not in plan
    assert all("TEMP B-TREE" not in plan for plan in plans[3:])


async def test_reads_see_one_view(store: SqlStore) -> None:
    """A header is never loaded with the branches of another revision."""
    changes = [apart(began(number, "debit", "credit")) for number in range(60)]
    await commit(store, *changes)

    async def decide_all() -> None:
        for change in changes:
            await commit(store, tried(change.after))

    writing = asyncio.ensure_future(decide_all())
    seen = set()
    while not writing.done():
        for tx in await store.load([change.key for change in changes]):
            statuses = {branch.status.value for branch in tx.branches.values()}
            assert {"TRYING" if tx.revision == 1 else "CONFIRMING"} == statuses
            seen.add(tx.key)
    await writing
    assert len(seen) == 60


async def test_closing_moves_the_log_into_the_file(url: str, path: Path) -> None:
    """A closed database is one file, which may be copied."""
    store = await open_store(url)
    await commit(store, *(began(number, "debit") for number in range(50)))
    await store.close()
    assert [path.name] == sorted(p.name for p in path.parent.iterdir())


async def test_a_heartbeat_never_waits_for_slow_queries(store: SqlStore) -> None:
    """F22: every reader is in a query that does not end; the writer is another one."""
    enough = threading.Event()
    started = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def hang(_: Connection) -> None:
        loop.call_soon_threadsafe(started.release)
        enough.wait(60)

    lanes = (Lane.FOREGROUND, Lane.PEOPLE, Lane.SWEEPER, Lane.RETENTION)
    held = [asyncio.create_task(store._database.read(hang, lane)) for lane in lanes]
    await started.acquire()
    await started.acquire()
    async with asyncio.timeout(1):
        for number in (1, 2, 3):
            row = NodeRow("n", "", number)
            assert [row] == await store.beat(row)
    assert not any(task.done() for task in held)
    enough.set()
    await asyncio.gather(*held)


async def test_writes_asked_at_once_are_carried_out_one_by_one(
    store: SqlStore,
) -> None:
    """One writer: concurrent callers never meet each other's lock."""
    batches = [[began(n * 10 + m, "debit") for m in range(5)] for n in range(40)]
    outcomes = await asyncio.gather(*(store.commit(batch) for batch in batches))
    assert outcomes == [[]] * 40
    found = await store.load([c.key for batch in batches for c in batch])
    assert len(found) == 200
