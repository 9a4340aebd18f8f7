"""The processes of a walk, started and killed from a test, and their databases.

Each process is forked from one that has imported everything and has run nothing, so a
start costs milliseconds. It is a process of its own in every other way.
"""

import asyncio
import json
import multiprocessing
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from coordinator.ports import JournalEntry
from coordinator.storage.journal import read_journal
from coordinator.storage.sql import rows
from examples.ports import find_free_port
from tests.e2e.failpoint import node, shop
from tests.e2e.failpoint.points import Armed
from tests.e2e.failpoint.trigger import (
    Dying,
    IsArmed,
    Reached,
    Ready,
    Refused,
    Word,
)

PRELOADED = (
    "__main__",
    "alembic.command",
    "coordinator.bootstrap",
    "coordinator.cli.app",
    "examples.loan_saga.service",
    "examples.transfer_tcc.bank",
    "pydantic",
    "sqlalchemy.dialects.sqlite",
    "typer",
    "uvloop",
    node.__name__,
    shop.__name__,
)
"""What a process would import at its start; who lacks one of them does without."""

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(list(PRELOADED))

SECONDS_MAX = 300
"""A walk takes some seconds, on a busy machine some dozens; one that has not ended by
then never will."""

Entry = Callable[[Connection, Armed | None, Path, str, Path], None]


class Child:
    """One process, as whoever started it sees it."""

    def __init__(
        self,
        entry: Entry,
        armed: Armed | None,
        database: Path,
        address: str,
        reached: set[str],
    ) -> None:
        self.last_words: Dying | None = None
        self._log = database.with_suffix(".log")
        self._reached = reached
        self._is_ready = asyncio.Event()
        self._is_armed = asyncio.Event()
        self._is_gone = asyncio.Event()
        self._refused = ""
        self._control, theirs = processes.Pipe()
        self._process = processes.Process(
            target=entry, args=(theirs, armed, database, address, self._log)
        )
        self._process.start()
        theirs.close()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control.fileno(), self._listen)

    async def ready(self) -> None:
        """Return when it serves, or has been attached."""
        await self._or_gone(self._is_ready)

    async def arm(self, armed: Armed) -> None:
        """Return when it will kill itself there."""
        self._is_armed.clear()
        self._control.send(armed)
        await self._or_gone(self._is_armed)

    async def killed(self, playing: "asyncio.Task[Any] | None" = None) -> Dying:
        """Return when it has killed itself where it was armed.

        Args:
            playing: what runs into the point; it must not end before.
        """
        going = asyncio.create_task(self._is_gone.wait())
        waits = {going} if playing is None else {going, playing}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if playing is not None and not going.done():
            going.cancel()
            raise AssertionError(f"never hit: the flow ended with {await playing}")
        await asyncio.to_thread(self._process.join)
        words, code = self.last_words, self._process.exitcode
        self.close()
        if words is None or code != -signal.SIGKILL:
            raise AssertionError(self._why(f"ended with {code}"))
        return words

    async def ended(self) -> None:
        """Ask it to stop; return when it did, in peace."""
        self.terminate()
        await self._is_gone.wait()
        await asyncio.to_thread(self._process.join)
        code = self._process.exitcode
        self.close()
        if code:
            raise AssertionError(self._why(f"ended with {code}"))

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def close(self) -> None:
        """Kill it if it still runs, and let go of it. May be called again."""
        if not self._control.closed:
            if not self._is_gone.is_set():
                self._hang_up()
            self._control.close()
            self._process.kill()
            self._process.join()
            self._process.close()

    async def _or_gone(self, event: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(e.wait()) for e in (event, self._is_gone)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not event.is_set():
            raise AssertionError(self._why("is gone"))

    def _listen(self) -> None:
        try:
            self._heard(self._control.recv())
        except (EOFError, OSError):
            self._hang_up()

    def _hang_up(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._is_gone.set()

    def _heard(self, word: Word) -> None:
        match word:
            case Ready():
                self._is_ready.set()
            case IsArmed():
                self._is_armed.set()
            case Reached(points):
                self._reached |= points
            case Dying():
                self.last_words = word
            case Refused(what):
                self._refused = what

    def _why(self, how: str) -> str:
        refused = f"; no point for {self._refused}" if self._refused else ""
        return f"{self._log.stem} {how}{refused}; see {self._log}"


class Stored(NamedTuple):
    """What the coordinator's tables hold of a transaction."""

    revision: int
    status: str
    decision: str
    branches: Mapping[str, str]


ABSENT = Stored(0, "", "NONE", {})


class World:
    """One coordinator and one participant on databases of their own.

    Attributes:
        reached: all points that were passed, on both sides of their commits.
    """

    def __init__(self, directory: Path) -> None:
        self.target = f"127.0.0.1:{find_free_port()}"
        self.reached: set[str] = set()
        self.coordinator: Child
        self.participant: Child
        self._node_database = directory / "coordinator.sqlite"
        self._shop_database = directory / "shop.sqlite"
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.close()

    def start_coordinator(self, armed: Armed | None = None) -> Child:
        """Start it on its database and port, after the last one's death."""
        self.coordinator = self.start(node.run, armed, self._node_database)
        return self.coordinator

    def start_participant(self, armed: Armed | None = None) -> Child:
        """Start it on its database, after the last one's death."""
        self.participant = self.start(shop.run, armed, self._shop_database)
        return self.participant

    def start(self, entry: Entry, armed: Armed | None, database: Path) -> Child:
        """Start any process; it ends with this world."""
        child = Child(entry, armed, database, self.target, self.reached)
        self._children.append(child)
        return child

    # ---- What is stored ------------------------------------------------------------

    def stored(self, gid: str) -> Stored:
        """The transaction as the coordinator's database has it."""
        header = _read(
            self._node_database,
            "SELECT revision, status, decision, branches FROM global_transactions"
            " WHERE gid = ?",
            gid,
        )
        if not header:
            return ABSENT
        ((revision, status, decision, text),) = header
        branches = {b["spec"]["branch_id"]: b["status"] for b in json.loads(text)}
        return Stored(revision, status, decision, branches)

    def journal(self, gid: str) -> list[JournalEntry]:
        """The transaction's journal, in order."""
        columns = ", ".join(rows.HEADER_FIXED + rows.HEADER_GROWING)
        header = f"SELECT {columns} FROM global_transactions WHERE gid = ?"
        ((*asked, lines),) = _read(self._node_database, header, gid)
        apart = "SELECT seq, at, events FROM journal WHERE gid = ?"
        entries = _read(self._node_database, apart, gid)
        return read_journal(rows.read_request(asked), lines, entries)

    def audited(self, action: str) -> int:
        """How often an action of administrators was written down."""
        query = "SELECT count(*) FROM audit WHERE action = ?"
        ((count,),) = _read(self._node_database, query, action)
        return int(count)

    def effects(self, gid: str) -> Counter[tuple[str, str]]:
        """How often each phase of each branch took effect at the participant."""
        query = "SELECT branch_id, phase FROM effects WHERE gid = ?"
        agency_database = shop.agency_database(self._shop_database)
        return Counter(
            _read(self._shop_database, query, gid) + _read(agency_database, query, gid)
        )


def _read(database: Path, query: str, gid: str) -> list[Any]:
    # Read-only, so that nothing here ever moves a dead process's log.
    uri = f"{database.as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
        return connection.execute(query, (gid,)).fetchall()
