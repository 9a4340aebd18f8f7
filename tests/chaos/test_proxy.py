"""What the proxy does to a connection, seen from both ends."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.chaos.proxy import Link, Proxy, Way


class Echo:
    """A server that says everything twice, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard = b""
        self.is_left = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._ends: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for end in self._ends:
            end.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._ends.append(writer)
        try:
            while data := await reader.read(1_000):
                self.heard += data
                writer.write(data * 2)
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.is_left.set()


class Pair:
    """An echo, a proxy before it, and the link between."""

    def __init__(self, echo: Echo, proxy: Proxy, link: Link) -> None:
        self.echo = echo
        self.proxy = proxy
        self.link = link
        self._ends: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self._ends.append(writer)
        return reader, writer

    def close(self) -> None:
        for end in self._ends:
            end.transport.abort()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    echo, link = Echo(), Link("caller", "callee")
    await echo.start()
    proxy = Proxy((echo.port, link))
    await proxy.start()
    made = Pair(echo, proxy, link)
    yield made
    made.close()
    await proxy.stop()
    echo.stop()


async def until(is_so: Callable[[], bool]) -> None:
    """Let the others run until it is so."""
    while True:
        if is_so():
            return
        await asyncio.sleep(0)


async def heard_nothing(reader: asyncio.StreamReader, link: Link) -> None:
    """A chunk has reached the proxy, and goes no further."""
    await until(lambda: link.hurt > 0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)


async def test_healthy_link_passes_everything(pair: Pair) -> None:
    """Both ways, and nothing counts as hurt."""
    reader, writer = await pair.connect()
    writer.write(b"ab")

    assert await reader.readexactly(4) == b"abab"
    assert pair.link.hurt == 0
    assert pair.link.is_in_use


async def test_end_of_one_side_reaches_the_other(pair: Pair) -> None:
    """Whoever leaves is missed, and the line is gone."""
    reader, writer = await pair.connect()
    writer.write(b"a")
    await reader.readexactly(2)
    writer.close()

    await pair.echo.is_left.wait()
    await until(lambda: not pair.link.lines)
    assert not pair.link.is_in_use


async def test_partition_holds_both_ways_until_it_heals(pair: Pair) -> None:
    """Nothing arrives meanwhile; afterwards everything does."""
    reader, writer = await pair.connect()
    pair.link.hold(Way.THERE, Way.BACK)
    writer.write(b"a")
    await heard_nothing(reader, pair.link)
    assert pair.echo.heard == b""

    pair.link.pass_again()
    assert await reader.readexactly(2) == b"aa"


async def test_one_way_cut_lets_the_other_way_through(pair: Pair) -> None:
    """The request arrives, its answer does not, until it heals."""
    reader, writer = await pair.connect()
    writer.write(b"a")
    await reader.readexactly(2)
    pair.link.hold(Way.BACK)
    writer.write(b"b")
    await heard_nothing(reader, pair.link)
    assert pair.echo.heard == b"ab"

    pair.link.pass_again()
    assert await reader.readexactly(2) == b"bb"


async def test_new_connection_waits_for_the_partition(pair: Pair) -> None:
    """It is accepted, as a firewall that drops would look, and goes nowhere."""
    pair.link.hold(Way.THERE)
    reader, writer = await pair.connect()
    writer.write(b"a")
    await heard_nothing(reader, pair.link)

    pair.link.pass_again()
    assert await reader.readexactly(2) == b"aa"


async def test_partition_hides_an_end(pair: Pair) -> None:
    """Who leaves during a partition is missed only after it."""
    reader, writer = await pair.connect()
    writer.write(b"a")
    await reader.readexactly(2)
    pair.link.hold(Way.THERE, Way.BACK)
    writer.close()
    await until(lambda: pair.link.hurt > 0)
    assert not pair.echo.is_left.is_set()

    pair.link.pass_again()
    await pair.echo.is_left.wait()


async def test_swallowed_answer_ends_the_connection(pair: Pair) -> None:
    """The request went through, its answer is lost, and the caller is told nothing
    but that the connection has ended.
    """
    reader, writer = await pair.connect()
    pair.link.swallows = True
    writer.write(b"a")

    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    assert pair.echo.heard == b"a"
    assert pair.link.hurt == 1


async def test_cut_resets_all_connections(pair: Pair) -> None:
    """They end at once; a new one is as good as any."""
    readers = []
    for _ in range(2):
        reader, writer = await pair.connect()
        writer.write(b"a")
        await reader.readexactly(2)
        readers.append(reader)

    assert pair.link.cut() == 2
    for reader in readers:
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
    reader, writer = await pair.connect()
    writer.write(b"c")
    assert await reader.readexactly(2) == b"cc"


async def test_half_open_connection_stays_and_is_dead(pair: Pair) -> None:
    """What stood passes nothing any more, a new one does; healing ends the old one."""
    reader, writer = await pair.connect()
    writer.write(b"a")
    await reader.readexactly(2)
    assert pair.link.forget() == 1
    writer.write(b"b")
    await heard_nothing(reader, pair.link)
    other, other_writer = await pair.connect()
    other_writer.write(b"c")
    assert await other.readexactly(2) == b"cc"
    assert b"b" not in pair.echo.heard

    pair.link.heal()
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)


async def test_delay_takes_time(pair: Pair) -> None:
    """Each chunk waits, once in each direction."""
    reader, writer = await pair.connect()
    pair.link.delay_seconds = 0.05
    started = asyncio.get_running_loop().time()
    writer.write(b"a")
    await reader.readexactly(2)

    assert asyncio.get_running_loop().time() - started >= 0.1
    assert pair.link.hurt == 2


async def test_cable_leads_where_it_is_asked_to(pair: Pair) -> None:
    """By CONNECT, over the link of that port; a port without a route is refused."""
    link = Link("caller", "other")
    proxy = Proxy({pair.echo.port: (pair.echo.port, link)})
    await proxy.start()
    try:
        for port, answer in ((pair.echo.port, b"HTTP/1.1 200 "), (1, b"")):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            assert (await reader.read(1_000)).startswith(answer)
            assert len(link.lines) == (port != 1)
            writer.transport.abort()
            await until(lambda: not link.lines)
    finally:
        await proxy.stop()


def test_a_caller_that_was_cut_off_while_it_waited_is_nobodys_error() -> None:
    """The loop that a run uses complains of a write to a connection that has ended;
    a run full of such complaints hides those that matter.
    """
    complaints: list[object] = []

    async def play() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        echo, link = Echo(), Link("caller", "callee")
        await echo.start()
        proxy = Proxy({echo.port: (echo.port, link)})
        await proxy.start()
        link.hold(Way.THERE)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\r\n\r\n".encode())
        await until(lambda: link.hurt > 0)

        link.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        link.pass_again()
        await echo.is_left.wait()

        writer.transport.abort()
        await proxy.stop()
        echo.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
        gc.collect()

    assert complaints == []
