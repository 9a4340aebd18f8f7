"""What most faults play on: a database, nodes over it, a bank, and who asks them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from coordinator.storage.sql import migrate
from participant_sdk import Client, connect
from participant_sdk.gid import new_gid
from protos.v1 import admin_pb2, admin_pb2_grpc, coordinator_pb2, types_pb2
from protos.v1.coordinator_pb2_grpc import CoordinatorStub
from tests.faults.bank import OPERATIONS, Bank
from tests.faults.node import Node
from tests.faults.verdict import Trial
from tests.servers import MariaDB, PostgreSQL, Server

_SERVERS: dict[str, type[PostgreSQL] | type[MariaDB]] = {
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
}
ERROR_METADATA_KEY = "tercet-error-bin"


@dataclass
class Database:
    """Where nodes keep what they know; ``server`` is ``None`` for SQLite."""

    url: str
    server: Server | None = None

    @property
    def running(self) -> Server:
        """The server, where there has to be one."""
        assert self.server is not None
        return self.server


@contextmanager
def database(trial: Trial, *settings: str) -> Iterator[Database]:
    """An empty database with tables, removed afterwards."""
    if trial.store == "sqlite":
        url = f"sqlite:///{trial.directory / 'coordinator.sqlite'}"
        migrate.upgrade(url)
        yield Database(url)
        return
    server = _SERVERS[trial.store]()
    try:
        server.initialize()
        server.start(*settings)
        url = server.create("tercet")
        migrate.upgrade(url)
        yield Database(url, server)
    finally:
        server.remove()


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    """Nodes that serve; killed in the end, whatever happened."""
    try:
        for node in nodes:
            await node.start()
        yield
    finally:
        for node in nodes:
            node.kill()


@asynccontextmanager
async def serving(bank: Bank, target: str) -> AsyncIterator[None]:
    """The bank, attached to every node."""
    task = asyncio.create_task(bank.participant.serve(target))
    try:
        for one in target.split(","):
            await attached(one)
        yield
    finally:
        bank.participant.stop()
        await asyncio.wait({task}, timeout=5)
        task.cancel()


async def attached(target: str, operations: Sequence[str] = OPERATIONS) -> None:
    """Return when the node knows who carries out the operations."""
    missing = set(operations)
    async with asyncio.timeout(30), grpc.aio.insecure_channel(target) as channel:
        catalogue = admin_pb2_grpc.CatalogueStub(channel)
        while missing:
            reply = await catalogue.ListOperations(
                admin_pb2.ListOperationsRequest(limit=1_000), wait_for_ready=True
            )
            missing -= {o.name for o in reply.operations if o.attached}
            await asyncio.sleep(0.05)


@dataclass
class Answer:
    """One unary request: when it was asked, how long it took, what it was told."""

    asked_at: float
    seconds: float
    code: str
    retry_after_ms: int = 0
    gid: str = ""


@dataclass
class Probe:
    """Asks a node to begin a transaction, again and again, and never asks twice."""

    target: str
    every_seconds: float = 0.05
    timeout_seconds: float = 30
    payload: bytes = b""
    answers: list[Answer] = field(default_factory=list)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator["Probe"]:
        """Ask as long as the block lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        async with (
            grpc.aio.insecure_channel(self.target) as channel,
            asyncio.TaskGroup() as group,
        ):
            stub = CoordinatorStub(channel)
            while True:
                group.create_task(self.ask(stub))
                await asyncio.sleep(self.every_seconds)

    async def ask(self, stub: Any, gid: str = "") -> Answer:
        """Begin one transaction."""
        loop = asyncio.get_running_loop()
        request = coordinator_pb2.BeginRequest(
            gid=gid or new_gid(), name="probe", deadline_ms=600_000
        )
        if self.payload:
            request.input.CopyFrom(types_pb2.Payload(data=self.payload))
        answer = Answer(loop.time(), 0, "OK", gid=request.gid)
        try:
            await stub.Begin(request, timeout=self.timeout_seconds)
        except grpc.aio.AioRpcError as error:
            answer.code = error.code().name
            for key, value in error.trailing_metadata() or ():
                if key == ERROR_METADATA_KEY:
                    told = types_pb2.Error.FromString(value)
                    answer.retry_after_ms = told.retry_after_ms
        answer.seconds = loop.time() - answer.asked_at
        self.answers.append(answer)
        return answer

    def asked(self, since: float, until: float) -> list[Answer]:
        """What was asked in an interval of the loop's time."""
        return [a for a in self.answers if since <= a.asked_at < until]

    def first_ok_after(self, moment: float) -> float:
        """Seconds from a moment to the first success that was told after it."""
        ends = [
            a.asked_at + a.seconds - moment
            for a in self.answers
            if a.code == "OK" and a.asked_at + a.seconds >= moment
        ]
        return min(ends, default=float("inf"))


async def until(holds: Callable[[], bool], *, seconds: float) -> None:
    """Return when it holds; what is watched is outside of this process."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nobody there could set an event
            await asyncio.sleep(0.02)


async def still_there(client: Client, gids: Sequence[str]) -> int:
    """How many of these gids the coordinator does not know."""
    from participant_sdk import NotFound

    lost = 0
    for gid in gids:
        try:
            await client.get(gid, with_branches=False)
        except NotFound:
            lost += 1
    return lost


def client_of(*targets: str, timeout: float = 60) -> Client:
    """A client of these nodes."""
    return connect(",".join(targets), timeout=timeout)


def bank_in(directory: Path) -> Bank:
    """A bank whose database is there."""
    return Bank(directory / "bank.sqlite")
