"""The fakes, and the server in front of them on loopback."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from coordinator.api.server import ApiServer
from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.migrate import upgrade
from coordinator.storage.sql.store import SqlStore, open_store
from tests.api.client import Client, Signal
from tests.api.fakes import DEBIT, FakeClock, World
from tests.api.node import Node, Peer


@pytest.fixture
def world() -> World:
    """Fakes without a server; a test may change the limits before it starts one."""
    return World()


@pytest.fixture
async def serve(
    world: World,
) -> AsyncIterator[Callable[[], Any]]:
    """Start the server, as many times as asked, and return a channel to it."""
    opened: list[tuple[ApiServer, grpc.aio.Channel]] = []

    async def start() -> grpc.aio.Channel:
        server = await world.server()
        address = server.bind("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(address)
        channel.server = server
        opened.append((server, channel))
        return channel

    yield start
    for server, channel in opened:
        await channel.close()
        await server.drain(0)


@pytest.fixture
async def client(serve) -> Client:
    """A session that has not said hello."""
    return Client(await serve())


@pytest.fixture
def signal(world) -> Signal:
    """Rings at every use of the fake engine and the fake dispatcher."""
    signal = Signal()
    world.engine.on_submit = world.dispatcher.on_change = signal
    return signal


@pytest.fixture(params=["memory", "sqlite"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    """A whole node, on each kind of store."""
    store: MemoryStore | SqlStore = MemoryStore()
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'tercet.db'}"
        upgrade(url)
        store = await open_store(url)
    async with Node(store, FakeClock()) as node:
        yield node
    await store.close()


@pytest.fixture
async def accounts(node: Node) -> Peer:
    """The participant of ``accounts.debit`` at the whole node."""
    return await node.participant(DEBIT)


@pytest.fixture
async def memory_node() -> AsyncIterator[Node]:
    """A whole node whose store can hold back and lose commits."""
    async with Node(MemoryStore(), FakeClock()) as node:
        yield node
