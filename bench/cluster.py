"""Nodes over one database and participants that do nothing, each a real process."""

import asyncio
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import create_engine, text

from coordinator.storage.sql import migrate
from coordinator.storage.sql.store import SqlStore, open_store
from examples.fleet import Fleet, find_free_port
from tests.servers import MariaDB, PostgreSQL, Server

STORES = ("postgresql", "mariadb", "sqlite")
_SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "mariadb": MariaDB}
_DRIVERS = {"postgresql": "+psycopg", "mariadb": "+pymysql", "sqlite": ""}


class Cluster:
    """Throw-away: its processes end and its data goes with the block.

    Attributes:
        kind: which database.
        targets: node name to its address, of the nodes that were started.
    """

    def __init__(self, store: str) -> None:
        self.kind = store
        self._folder = tempfile.TemporaryDirectory(prefix="tercet-bench-")
        self._server = _SERVERS[store]() if store in _SERVERS else None
        self.fleet = Fleet(Path(self._folder.name))
        self.targets: dict[str, str] = {}
        self.url = ""

    def __enter__(self) -> Self:
        self.fleet.__enter__()
        if self._server is None:
            self.url = f"sqlite:///{self.fleet.database('coordinator')}"
        else:
            self._server.initialize()
            self._server.start()
            self.url = self._server.create("bench")
        migrate.upgrade(self.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.fleet.stop()
        if self._server is not None:
            self._server.remove()
        self._folder.cleanup()

    async def store(self) -> SqlStore:
        """A handle of the same kind as nodes have."""
        return await open_store(self.url)

    async def start_node(self, name: str) -> None:
        """Return when it serves."""
        target = self.targets[name] = f"127.0.0.1:{find_free_port()}"
        self.fleet.start(
            name, "coordinator", "serve", "--listen", target, "--db", self.url
        )
        self.fleet.target = next(iter(self.targets.values()))
        await serves(target)

    async def start_participant(self, name: str, *options: str) -> None:
        """Return when every operation of it can be called."""
        targets = ",".join(self.targets.values())
        self.fleet.start(name, "bench.null_participant", name, targets, *options)
        await self.fleet.ready([f"{name}.hold", f"{name}.post"])

    def resident_kib(self, name: str) -> int:
        """What a node's process holds of the machine's memory."""
        status = Path(f"/proc/{self.fleet.process_id(name)}/status").read_text()
        line = next(x for x in status.splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1])

    def cpu_seconds(self, name: str) -> float:
        """What a node's process has used of the processors."""
        stat = Path(f"/proc/{self.fleet.process_id(name)}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / 100

    def count_unfinished(self) -> int:
        """Asked of the database alone."""
        scheme, _, rest = self.url.partition("://")
        engine = create_engine(f"{scheme}{_DRIVERS[self.kind]}://{rest}")
        query = text(
            "SELECT count(*) FROM global_transactions WHERE finished_at IS NULL"
        )
        with engine.connect() as connection:
            count = connection.execute(query).scalar_one()
        engine.dispose()
        return int(count)


async def serves(target: str) -> None:
    """Return when the node answers that it serves."""
    options = [("grpc.initial_reconnect_backoff_ms", 20)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            reply = await health.Check(
                health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60
            )
            if reply.status == health_pb2.HealthCheckResponse.SERVING:
                return
            await asyncio.sleep(0.01)
