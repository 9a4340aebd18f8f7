"""An address of loopback that leads to a server, and can be led to another one."""

import asyncio
from types import TracebackType
from typing import Self

_CHUNK = 64 * 1024


class Detour:
    """Carries bytes both ways; who was connected when it changed is cut off.

    Args:
        port: of the server, on 127.0.0.1.
        host: where the detour itself listens.
        at: its port; 0 = any free one.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1", at: int = 0) -> None:
        self._leads_to = port
        self._host = host
        self._at = at
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, self._host, self._at)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nobody is there any more."""
        assert self._server is not None
        self._server.close()
        self.lead_to(0)

    def lead_to(self, port: int) -> None:
        """From now on, here."""
        self._leads_to = port
        for task in self._tasks:
            task.cancel()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            there = await asyncio.open_connection("127.0.0.1", self._leads_to)
            writers.append(there[1])
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, there[1]))
                group.create_task(_pump(there[0], writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass  # who is connected notices by itself
        finally:
            self._tasks.discard(task)
            for one in writers:
                one.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError
