"""Nodes over one database and participants that do nothing, each a real process."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import create_engine, text

from coordinator.storage.sql import migrate
from coordinator.storage.sql.store import SqlStore, open_store
from examples.fleet import Fleet
from examples.ports import find_free_port
from tests.servers import MariaDB, PostgreSQL, Server

STORES = ("postgresql", "mariadb", "sqlite")
_SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "mariadb": MariaDB}
_DRIVERS = {"postgresql": "+psycopg", "mariadb": "+pymysql", "sqlite": ""}


@contextmanager
def cluster(store: str) -> Iterator["Cluster"]:
    """A throw-away database with tables; processes and data end with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="tercet-bench-") as folder,
        _database(store, Path(folder)) as url,
        Fleet(Path(folder)) as fleet,
    ):
        migrate.upgrade(url)
        yield Cluster(store, url, fleet)


@contextmanager
def _database(store: str, folder: Path) -> Iterator[str]:
    if store not in _SERVERS:
        yield f"sqlite:///{folder / 'coordinator.sqlite'}"
        return
    server = _SERVERS[store]()
    try:
        server.initialize()
        server.start()
        yield server.create("bench")
    finally:
        server.remove()


class Cluster:
    """What runs over one database.

    Attributes:
        kind: which database.
        targets: node name to its address, of the nodes that were started.
    """

    def __init__(self, kind: str, url: str, fleet: Fleet) -> None:
        self.kind = kind
        self.fleet = fleet
        self.targets: dict[str, str] = {}
        self._url = url

    async def store(self) -> SqlStore:
        """A handle of the same kind as nodes have."""
        return await open_store(self._url)

    async def start_node(self, name: str, *, counters: Path | None = None) -> None:
        """Return when it serves.

        Args:
            counters: where it is to count what its database commits.
        """
        target = self.targets[name] = f"127.0.0.1:{find_free_port()}"
        counted = ("bench.speed.node", str(counters))
        self.fleet.start(
            name,
            *(("coordinator",) if counters is None else counted),
            *("serve", "--listen", target, "--db", self._url),
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
        scheme, _, rest = self._url.partition("://")
        engine = create_engine(f"{scheme}{_DRIVERS[self.kind]}://{rest}")
        query = text(
            "SELECT count(*) FROM global_transactions WHERE finished_at IS NULL"
        )
        with engine.connect() as connection:
            count = connection.execute(query).scalar_one()
        engine.dispose()
        return int(count)


async def serves(target: str) -> None:
    """Return when the node answers; it does so from the moment in which it serves."""
    options = [("grpc.initial_reconnect_backoff_ms", 20)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(
            health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60
        )
