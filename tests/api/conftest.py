"""The fakes, and the server in front of them on loopback."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from coordinator.api.server import ApiServer
from tests.api.client import Client, Signal
from tests.api.fakes import World


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
        address = await server.start("127.0.0.1:0")
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
