"""Both sides at once: a database server, and for each side its coordinator, database
and participant. One side is under load at a time; the other one idles beside it.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench.cluster import serves
from bench.speed import beside, disk, past
from bench.speed.figures import Window
from bench.speed.initiator import Order
from bench.speed.load import LATE_SECONDS_MAX
from bench.speed.participant import PUSH
from bench.speed.workload import HOLD, PARTICIPANT, POST, SAGAS
from coordinator.storage.sql import migrate
from examples.fleet import ROOT, Fleet
from examples.ports import find_free_port
from participant_sdk import connect
from tests.servers import MariaDB, PostgreSQL, Server

TERCET, LIMIT, DBOS = "tercet", "limit", "dbos"
STORES = ("postgresql", "sqlite", "mariadb")
LIMIT_STORES = ("postgresql", "sqlite")
"""For which there is a limit program."""

SEGMENTS = 256
"""Of PostgreSQL's log: 4 GiB, that a server has used before and writes over. It is all
that there will be of it: a checkpoint comes before more is needed."""

PAGE_BYTES = 8_192
BUFFERS = 131_072
"""Pages that PostgreSQL keeps in memory: 1 GiB."""

POSTGRESQL_SETTINGS = (
    f"shared_buffers={BUFFERS}",
    f"max_wal_size={SEGMENTS * 16}MB",
    f"min_wal_size={SEGMENTS * 16}MB",
    "checkpoint_timeout=15min",
    "effective_cache_size=4GB",
)
MARIADB_SETTINGS = ("innodb-buffer-pool-size=1G", "innodb-log-file-size=1G")
"""As somebody would set them who runs a server for this; durability is as it comes, and
is checked."""

_DURABLE = {
    "postgresql": {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"},
    "mariadb": {
        "innodb_flush_log_at_trx_commit": "1",
        "innodb_doublewrite": "ON",
    },
}
_START_SECONDS_MAX = 15.0
_FIRST_SECONDS = 0.5


class NotDurable(Exception):
    """The server would lose what it acknowledged; its figures would be no figures."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the initiator does.

    Attributes:
        per_second: of an open loop; 0 = a closed one with ``in_flight``.
    """

    workload: str
    in_flight: int
    per_second: float = 0.0
    warm_seconds: float = 1.0
    seconds: float = 4.0


@dataclass(frozen=True, slots=True)
class Side:
    """A coordinator, of several nodes perhaps, and its participant."""

    name: str
    targets: tuple[str, ...]
    counters: tuple[Path, ...]

    @property
    def processes(self) -> list[str]:
        """Of the coordinator, by their names in the fleet."""
        others = range(2, len(self.targets) + 1)
        return [self.name, *(f"{self.name}-{number}" for number in others)]


@contextmanager
def rig(
    store: str, participant: str, sides: tuple[str, ...], *, nodes: int = 1
) -> Iterator["Rig"]:
    """Everything runs; processes and data end with the block.

    Args:
        nodes: of Tercet, over one database.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="tercet-bench-")
        )
        made = Rig(store, Path(folder), stack)
        for side in sides:
            made.start(side, participant, nodes if side == TERCET else 1)
        yield made


class Rig:
    """What runs.

    Attributes:
        facts: about database and disk, for the report.
    """

    def __init__(self, store: str, folder: Path, stack: ExitStack) -> None:
        self.store = store
        self._folder = folder
        self.fleet = stack.enter_context(Fleet(folder))
        self._server: Server | None = None
        self.facts: dict[str, str] = {}
        if store in _DURABLE:
            self._server = server = _server(store)
            stack.callback(server.remove)
            server.initialize()
            server.start(*_settings(store))
            self.facts |= check_durable(server, store)
            if store == "postgresql":
                use_log(server)
                use_memory(server)
        self._place = self._server.home if self._server else folder
        self.facts["sync_us"] = f"{disk.sync_microseconds(self._place):.0f}"
        self.facts["write_back_from"] = disk.write_back_from()
        self.sides: dict[str, Side] = {}

    def start(self, name: str, participant: str, nodes: int = 1) -> None:
        """A side, until its coordinator and its participant serve."""
        side = self.sides[name] = Side(
            name,
            tuple(f"127.0.0.1:{find_free_port()}" for _ in range(nodes)),
            tuple(
                self._folder / f"{name}-{number}.counters" for number in range(nodes)
            ),
        )
        url = self._database(name)
        if name == DBOS:
            return  # a library: its process lives as long as a window
        # Where its participant is called, if it does not attach by itself.
        pushed = f"127.0.0.1:{find_free_port()}" if participant == PUSH else ""
        if name == LIMIT:
            options = (*side.targets, url, *map(str, side.counters), pushed)
            self.fleet.start(name, "bench.speed.limit", *options)
        else:
            migrate.upgrade(url)
            self._start_nodes(side, url, pushed)
        for target in side.targets:
            asyncio.run(serves(target))
        member = f"{name}-participant"
        module = "bench.speed.participant"
        targets = pushed or ",".join(side.targets)
        self.fleet.start(member, module, participant, str(self._folder), targets)
        if name != LIMIT:
            for target in side.targets:
                self.fleet.target = target
                asyncio.run(self.fleet.ready([HOLD, POST]))
            asyncio.run(_publish(side.targets[0]))

    def _start_nodes(self, side: Side, url: str, pushed: str) -> None:
        push = ("--push", f"{PARTICIPANT}={pushed}") if pushed else ()
        for process, target, counters in zip(
            side.processes, side.targets, side.counters, strict=True
        ):
            node = ("serve", "--listen", target, "--db", url, *push)
            self.fleet.start(process, "bench.speed.node", str(counters), *node)

    def fill(self, load: Load, count: int, say: Callable[[str], None]) -> None:
        """Let Tercet's database have so many transactions that finished long ago."""
        assert self._server is not None  # noqa: S101 - options see to it
        self.measure(TERCET, replace(load, warm_seconds=0.0, seconds=_FIRST_SECONDS))
        past.fill(self._server, f"bench_{TERCET}", count, say)

    def measure(self, name: str, load: Load) -> Window:
        """One window of load on this side. Raises ``CalledProcessError``."""
        side = self.sides[name]
        self._checkpoint()
        if name == DBOS:
            return self._window("bench.speed.dbos_peer", self._dbos_order(load), load)
        process_id = self.fleet.process_id
        order = Order(
            targets=list(side.targets),
            workload=load.workload,
            in_flight=load.in_flight,
            per_second=load.per_second,
            warm_seconds=load.warm_seconds,
            seconds=load.seconds,
            coordinators=[process_id(process) for process in side.processes],
            participant=process_id(f"{name}-participant"),
            database=self._server.pids()[0] if self._server else 0,
            counters=[str(path) for path in side.counters],
        )
        return self._window("bench.speed.initiator", order, load)

    def _dbos_order(self, load: Load) -> msgspec.Struct:
        # Not installed everywhere.
        from bench.speed.dbos_peer import DbosOrder  # noqa: PLC0415

        assert self._server is not None  # noqa: S101 - options see to it
        return DbosOrder(
            url=self._server.url("bench_dbos"),
            workload=load.workload,
            in_flight=load.in_flight,
            warm_seconds=load.warm_seconds,
            seconds=load.seconds,
            database=self._server.pids()[0],
        )

    def _window(self, module: str, order: msgspec.Struct, load: Load) -> Window:
        with beside.watched(self._place) as watch:
            done = subprocess.run(  # noqa: S603 - our own module
                [
                    *(sys.executable, "-m", "examples.leash", str(os.getpid())),
                    *(module, msgspec.json.encode(order).decode()),
                ],
                cwd=ROOT,
                capture_output=True,
                timeout=load.warm_seconds + load.seconds + 2 * LATE_SECONDS_MAX,
                check=False,
            )
        self.fleet.check()
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip()[-2_000:]
            raise Failed(f"{why}\n{watch}")
        window = msgspec.json.decode(done.stdout, type=Window)
        return replace(
            window,
            sync_ms=watch.sync_ms,
            loop_us=watch.loop_us,
            tenths=window.tenths | watch.tenths,
        )

    def _database(self, name: str) -> str:
        if self._server is None:
            return f"sqlite:///{self._folder / f'{name}.sqlite'}"
        self._server.run(f"CREATE DATABASE bench_{name}")
        return self._server.url(f"bench_{name}")

    def _checkpoint(self) -> None:
        """No side pays for the pages that the other one has left to be written."""
        if self._server is not None and self.store == "postgresql":
            self._server.run("CHECKPOINT")


class Failed(Exception):
    """A window gave no figures; the text says why."""


def _server(store: str) -> Server:
    return PostgreSQL() if store == "postgresql" else MariaDB()


def _settings(store: str) -> tuple[str, ...]:
    return POSTGRESQL_SETTINGS if store == "postgresql" else MARIADB_SETTINGS


def use_log(server: Server) -> None:
    """Let the log be as that of a server that has run for a while.

    A new one makes each segment of 16 MB while somebody waits for a COMMIT: writes it
    full of noughts, syncs it, and only then writes into it.
    """
    message = "SELECT pg_logical_emit_message(false, '', '')"
    server.run(*[message, "SELECT pg_switch_wal()"] * SEGMENTS)
    server.run("CHECKPOINT", "CHECKPOINT")


def use_memory(server: Server) -> None:
    """Let the buffers be as those of a server that has run for a while.

    The machine gives each page of them when it is touched for the first time, and fills
    it with noughts before: 16 % of the server's processor time under load.
    """
    server.run(
        "CREATE UNLOGGED TABLE filler (page text)",
        "ALTER TABLE filler ALTER COLUMN page SET STORAGE PLAIN",
        f"INSERT INTO filler SELECT repeat('x', {PAGE_BYTES - 192})"  # noqa: S608
        f" FROM generate_series(1, {BUFFERS})",
        "DROP TABLE filler",
    )


def check_durable(server: Server, store: str) -> dict[str, str]:
    """Its version and the settings that keep what it acknowledged.

    Raises:
        NotDurable: one of them is not as it must be.
    """
    facts = {}
    for name, expected in _DURABLE[store].items():
        query = f"SHOW {name}" if store == "postgresql" else f"SELECT @@{name}"
        found = str(server.run(query)[0][0])
        # MariaDB says 1 for ON.
        if found not in (expected, {"ON": "1"}.get(expected)):
            raise NotDurable(f"{store}: {name} is {found}, expected {expected}")
        facts[name] = found
    query = "SHOW server_version" if store == "postgresql" else "SELECT version()"
    return {"version": str(server.run(query)[0][0]), **facts}


async def _publish(target: str) -> None:
    async with connect(target) as client:
        for saga in SAGAS.values():
            await client.publish_saga(saga.definition)
