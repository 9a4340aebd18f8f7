"""A TCP proxy that can delay, hold, drop and cut what passes.

Streams of HTTP/2 and of database protocols pass as bytes, so nothing is reordered,
altered or sent twice: that is not what networks do to TCP, and the other end would
close the connection. What a network does to *calls* is done all the same: an answer
that is swallowed makes the caller ask again, which is a duplicate; one that is held
comes late, after what was sent through another connection.

All processes reach a node at the one address that it tells of itself, so a proxy there
could not tell links apart. Instead each process has a proxy of its own, like a cable:
gRPC asks it for every connection by CONNECT, when ``grpc_proxy`` says so.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

CHUNK_BYTES_MAX = 64 * 1024
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
SWALLOW_SECONDS = 0.05
"""Between an answer that is dropped and the end of its connection."""


class Way(Enum):
    """In which direction bytes go."""

    THERE = "there"
    BACK = "back"


@dataclass
class Link:
    """All connections from one caller to one callee, and what is done to them.

    Attributes:
        delay_seconds: before each chunk is passed on.
        held: ways in which nothing passes now; new connections wait as well.
        swallows: answers are dropped, and their connections ended.
        hurt: chunks and connections that something was done to.
    """

    caller: str
    callee: str
    delay_seconds: float = 0.0
    held: frozenset[Way] = frozenset()
    swallows: bool = False
    hurt: int = 0
    lines: "set[Line]" = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        """``bank-1>node-2``."""
        return f"{self.caller}>{self.callee}"

    @property
    def is_in_use(self) -> bool:
        """Whether a connection stands that passes anything."""
        return any(not line.is_forgotten for line in self.lines)

    def hold(self, *ways: Way) -> None:
        """Let nothing pass in these ways; without any, let everything pass again."""
        self.held = frozenset(ways)
        self._changed.set()
        self._changed = asyncio.Event()

    def cut(self) -> int:
        """End all connections at once, without a farewell; how many there were."""
        count = len(self.lines)
        for line in tuple(self.lines):
            line.abort()
        self.hurt += count
        return count

    def forget(self) -> int:
        """Half-open from now on: the connections that stand stay, and pass nothing any
        more; new ones are as good as any. How many there were.
        """
        count = len(self.lines)
        for line in self.lines:
            line.is_forgotten = True
        self.hurt += count
        return count

    def pass_again(self) -> None:
        """Nothing is done to what comes from now on."""
        self.delay_seconds, self.swallows = 0.0, False
        self.hold()

    def heal(self) -> None:
        """As if nothing had been; what is half-open ends."""
        self.pass_again()
        for line in tuple(self.lines):
            if line.is_forgotten:
                line.abort()

    @contextlib.contextmanager
    def carrying(self, line: "Line") -> Iterator[None]:
        """While the connection stands."""
        self.lines.add(line)
        try:
            yield
        finally:
            self.lines.discard(line)

    async def pass_on(self, line: "Line", way: Way) -> bool:
        """Wait as long as the network takes; whether the chunk arrives."""
        if self.swallows and way is Way.BACK:
            self.hurt += 1
            asyncio.get_running_loop().call_later(SWALLOW_SECONDS, line.abort)
            return False
        if self.delay_seconds:
            self.hurt += 1
            await asyncio.sleep(self.delay_seconds)
        await self.opened(way)
        return not line.is_forgotten

    async def farewell(self, line: "Line", way: Way) -> None:
        """One end has closed; wait until the other one hears of it."""
        await self.opened(way)
        if line.is_forgotten:
            await line.aborted.wait()

    async def opened(self, way: Way) -> None:
        """Wait until something may pass."""
        if way in self.held:
            self.hurt += 1
        while way in self.held:
            await self._changed.wait()


class Line:
    """One connection through the proxy: two ends, two ways."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self._ends = list(ends)
        self.is_forgotten = False
        self.aborted = asyncio.Event()

    def add(self, end: asyncio.StreamWriter) -> None:
        """The other end stands, too."""
        self._ends.append(end)

    def close(self) -> None:
        """End it in order: what was passed on arrives."""
        for end in self._ends:
            end.close()

    def abort(self) -> None:
        """End it now: both sides see a reset."""
        self.aborted.set()
        for end in self._ends:
            sock = end.get_extra_info("socket")
            if sock is not None and not end.transport.is_closing():
                linger = struct.pack("ii", 1, 0)
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            end.transport.abort()


Route = tuple[int, Link]
"""A port of loopback, and the link that leads there."""


class Proxy:
    """Listens on loopback and passes everything on.

    Args:
        routes: where each connection leads: by the port that it asks for, or all of
            them to the one route there is.

    Attributes:
        port: where it listens.
    """

    def __init__(self, routes: Mapping[int, Route] | Route) -> None:
        self.port = 0
        self._routes = routes
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        """Listen on ``port``, or any free one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections, and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line = Line(writer)
        try:
            port, link = await self._route(reader)
            with link.carrying(line):
                await link.opened(Way.THERE)
                await link.opened(Way.BACK)
                there, back = await asyncio.open_connection("127.0.0.1", port)
                line.add(back)
                if isinstance(self._routes, Mapping):
                    _write(writer, CONNECTED)
                await _either(
                    _pump(reader, back, link, line, Way.THERE),
                    _pump(there, writer, link, line, Way.BACK),
                )
        except (OSError, KeyError, EOFError):
            pass  # nobody listens there, or one end has gone
        finally:
            line.close()

    async def _route(self, reader: asyncio.StreamReader) -> Route:
        """Where a connection leads. Raises ``KeyError`` where no route is."""
        if not isinstance(self._routes, Mapping):
            return self._routes
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ", 2)[1]
        return self._routes[int(target.rpartition(b":")[2])]


async def _pump(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    link: Link,
    line: Line,
    way: Way,
) -> None:
    while data := await source.read(CHUNK_BYTES_MAX):
        if await link.pass_on(line, way) and not line.aborted.is_set():
            _write(target, data)
            await target.drain()
    await link.farewell(line, way)


def _write(target: asyncio.StreamWriter, data: bytes) -> None:
    """Raises ``ConnectionResetError`` where the connection has ended meanwhile: uvloop
    raises ``RuntimeError`` there, and asyncio's own loop nothing.
    """
    if target.transport.is_closing():
        raise ConnectionResetError("it has ended meanwhile")
    target.write(data)


async def _either(*ways: Awaitable[None]) -> None:
    """Until the first of them ends; then the other one is ended, too."""
    tasks = {asyncio.ensure_future(way) for way in ways}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
