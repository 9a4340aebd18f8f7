"""Everything that runs, set up in order and taken down however the run ends."""

import asyncio
import secrets
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from participant_sdk import connect
from protos.v1 import admin_pb2, admin_pb2_grpc
from tests.chaos import bank, ledger
from tests.chaos.cast import (
    BANKS,
    CALLED,
    CLIENTS,
    LOOK_SECONDS,
    NODES,
    Cast,
)
from tests.chaos.disk import SmallDisk
from tests.chaos.network import Network
from tests.chaos.options import Options
from tests.chaos.stores import STORES, ServerStore, Store
from tests.chaos.transfer import RELAYING_BANK
from tests.servers import MariaDB, PostgreSQL, Server

READY_SECONDS_MAX = 120.0
SQLITE_BANKS = ("bank-1", "bank-2")
SAGA = Path(__file__).parent / "transfer.yaml"


class Scene:
    """Nodes, banks, clients, their databases and the network between them.

    Attributes:
        readers: of each bank's database, the URL for a reader.
        servers: of the banks that have one.
    """

    def __init__(self, options: Options, directory: Path) -> None:
        self.options = options
        self.directory = directory
        self.cast = Cast(directory)
        self.network = Network()
        self.servers: dict[str, Server] = {}
        self.readers: dict[str, str] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._set_up()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def start_client(self, name: str) -> None:
        """A process of clients, which begin at once."""
        self.cast.start(
            name,
            *("tests.chaos.client", name),
            CHAOS_HISTORY=str(self.directory),
            CHAOS_SEED=str(self.options.seed),
            **self.network.env_of(name),
        )

    async def _set_up(self) -> None:
        await self._set_up_databases()
        await self._stack.enter_async_context(self.network)
        if isinstance(self.store, ServerStore):
            await self.network.add_store(self.store.server.port)
        await self._stack.enter_async_context(self.cast)
        for node in NODES:
            self._start_node(node)
        for name in BANKS:
            self._start_bank(name)
        await self._until_ready()
        await self._publish()
        for name in CLIENTS:
            self.start_client(name)
        await self._until_at_work()

    async def _set_up_databases(self) -> None:
        folder = self.directory / "store"
        folder.mkdir()
        self.store: Store = STORES[self.options.store](folder)
        self._stack.callback(self.store.remove)
        self.disk = SmallDisk(self._store_folder(folder), self.options.seconds)
        if self.disk.is_possible:
            self.disk.mount(is_shared=self.store.is_server)
            self._stack.callback(self.disk.unmount)
        for name, server in (("bank-3", PostgreSQL()), ("bank-4", MariaDB())):
            self.servers[name] = server
            self._stack.callback(server.remove)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(self.store.start))
            for name in BANKS:
                group.create_task(asyncio.to_thread(self._set_up_bank, name))

    def _store_folder(self, folder: Path) -> Path:
        if isinstance(self.store, ServerStore):
            return self.store.server.home / "data"
        return folder

    def _set_up_bank(self, name: str) -> None:
        if name in SQLITE_BANKS:
            url = f"sqlite:///{self.directory / name}.db"
        else:
            server = self.servers[name]
            server.initialize()
            server.start()
            driver = "psycopg" if name == RELAYING_BANK else "pymysql"
            server.run("CREATE DATABASE bank")
            url = server.url("bank").replace("://", f"+{driver}://")
        ledger.create_bank(url)
        self.readers[name] = url

    def _start_node(self, node: str) -> None:
        settings = self.directory / f"{node}.toml"
        settings.write_text(
            "".join(
                f"[push.{bank}]\naddress = {self.network.push_address(node, bank)!r}\n"
                f"secret_file = {str(self._secret(bank))!r}\n"
                for bank in CALLED
            )
        )
        self.cast.start(
            node,
            *("coordinator", "serve", "--log-format", "json"),
            *("--config", str(settings)),
            *("--listen", f"127.0.0.1:{self.network.node_ports[node]}"),
            TERCET_DATABASE_URL=self.store.url_of(self.network.store_port(node)),
        )

    def _secret(self, bank: str) -> Path:
        """Of a bank that is called: calls are signed with it."""
        path = self.directory / f"{bank}.secret"
        if not path.exists():
            path.write_text(secrets.token_hex(32))
        return path

    def _start_bank(self, name: str) -> None:
        url = self.readers[name].replace("+psycopg:", "+asyncpg:")
        if name in CALLED:
            port = self.network.bank_ports[name]
            reached = {
                "CHAOS_LISTEN": f"127.0.0.1:{port}",
                "CHAOS_SECRET": str(self._secret(name)),
            }
        else:
            reached = self.network.env_of(name)
        self.cast.start(
            name, *("tests.chaos.bank", name), CHAOS_DATABASE=url, **reached
        )

    async def _until_ready(self) -> None:
        """Until every node reaches every bank."""
        async with asyncio.timeout(READY_SECONDS_MAX), asyncio.TaskGroup() as group:
            for target in self.network.targets:
                group.create_task(_until_attached(target, operations()))

    async def _until_at_work(self) -> None:
        """Until every client process has written a history."""
        async with asyncio.timeout(READY_SECONDS_MAX):
            for name in CLIENTS:
                while True:
                    if any(self.directory.glob(f"history-{name}-*")):
                        break
                    await asyncio.sleep(LOOK_SECONDS)

    async def _publish(self) -> None:
        text = SAGA.read_text()
        async with connect(self.network.targets) as client:
            for source in BANKS:
                for target in BANKS:
                    if source != target:
                        named = text.replace("SOURCE", source)
                        await client.publish_saga(named.replace("TARGET", target))


def operations() -> set[str]:
    """Of all banks."""
    names = {f"{b}.{name}" for b in BANKS for name in (*bank.TCC, *bank.ACTIONS)}
    others = {f"{b}.relay" for b in BANKS if b != RELAYING_BANK}
    return names - others


async def _until_attached(target: str, wanted: Iterable[str]) -> None:
    request = admin_pb2.ListOperationsRequest(limit=1_000)
    missing = set(wanted)
    async with grpc.aio.insecure_channel(target) as channel:
        catalogue = admin_pb2_grpc.CatalogueStub(channel)
        while missing:
            started = time.monotonic()
            try:
                reply = await catalogue.ListOperations(
                    request, wait_for_ready=True, timeout=2
                )
            except grpc.aio.AioRpcError:
                continue
            missing -= {o.name for o in reply.operations if o.attached}
            await asyncio.sleep(max(0.0, started + 0.1 - time.monotonic()))
