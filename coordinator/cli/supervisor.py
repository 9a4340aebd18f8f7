"""``tercet serve --nodes N``: several nodes on one machine, and who watches them.

The parent serves nothing. It starts a process for each node, starts one that died
again, and passes SIGTERM and SIGINT on and waits until all have drained. A node that
ends before it was ever ready has a reason that starting it again does not remove (a
port in use, a database that is refused): then all are stopped.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from coordinator import telemetry
from coordinator.cli.failure import ExitCode, invalid
from coordinator.config import ServeConfig

log = telemetry.get_logger()

PORT_MAX = 65_535
RESTART_SECONDS_FIRST = 0.1
RESTART_SECONDS_MAX = 10.0
STEADY_SECONDS = 60.0
"""Who lived for so long is started again soon, however often it died before."""

STOP_SECONDS_EXTRA = 5.0
"""Beside ``drain_seconds``; who has not ended by then is killed."""

Environment: TypeAlias = Mapping[str, str]
"""How one node differs from the others, and all that it is started with."""


class NodeProcess(Protocol):
    """A process that runs a node."""

    async def line(self) -> str:
        """What it says next on stdout; empty when it has ended."""

    async def wait(self) -> int:
        """Until it has ended; its exit code, or the negated number of a signal."""

    def terminate(self) -> None:
        """Let it drain and end. Harmless when it has ended."""

    def kill(self) -> None:
        """End it at once. Harmless when it has ended."""


Start: TypeAlias = Callable[[Environment], Awaitable[NodeProcess]]


def environments(
    config: ServeConfig, nodes: int, flags: Mapping[str, str | bool | None]
) -> list[Environment]:
    """What each node is started with: ``listen``'s port, the next one, and so on.

    With port 0 each takes any free one. Settings travel in the environment, where
    nobody else on the machine reads a database's password.

    Args:
        flags: of this command, by key; ``None`` = not given.
    """
    given = {
        f"TERCET_{key.upper()}": "yes" if value is True else str(value)
        for key, value in flags.items()
        if value is not None
    }
    made: list[Environment] = []
    for number in range(nodes):
        own = {"TERCET_LISTEN": _counted("listen", config.listen, number)}
        if config.advertise:
            advertise = _counted("advertise", config.advertise, number)
            own["TERCET_ADVERTISE"] = advertise
        made.append({**os.environ, **given, **own})
    return made


def _counted(key: str, address: str, number: int) -> str:
    host, _, port = address.rpartition(":")
    if port == "0":
        return address
    if int(port) + number > PORT_MAX:
        raise invalid(
            key,
            f"expected {number} more ports behind {address}, and they end at "
            f"{PORT_MAX}; take a lower one",
        )
    return f"{host}:{int(port) + number}"


class Supervisor:
    """Keeps a node running for each environment, until it is told to stop.

    Args:
        on_line: gets what nodes say on stdout.
        stop_seconds: how long nodes may take to end after SIGTERM.
        pause: waits for so many seconds.
    """

    def __init__(
        self,
        nodes: Sequence[Environment],
        start: Start,
        on_line: Callable[[str], None],
        *,
        stop_seconds: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._start = start
        self._on_line = on_line
        self._stop_seconds = stop_seconds
        self._pause = pause
        self._monotonic = monotonic
        self._running: set[NodeProcess] = set()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let all nodes drain and end. May be called again."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for process in self._running:
            process.terminate()

    async def run(self) -> int:
        """Until all have ended after ``stop``; the exit code.

        Stops by itself when a node ends before it was ever ready.
        """
        keepers = [asyncio.create_task(self._keep(node)) for node in self._nodes]
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({stopping, *keepers}, return_when=asyncio.FIRST_COMPLETED)
        self.stop()
        await stopping
        _, late = await asyncio.wait(keepers, timeout=self._stop_seconds)
        if late:
            log.warning(telemetry.NODES_KILLED, count=len(self._running))
            for process in self._running:
                process.kill()
            await asyncio.wait(late)
        codes = [keeper.result() for keeper in keepers]
        return next((_exit_code(code) for code in codes if code), ExitCode.OK)

    async def _keep(self, node: Environment) -> int:
        """Run a node, again and again; how it ended when it shall run no more."""
        deaths, was_ready = 0, False
        while True:
            began_at = self._monotonic()
            code, said = await self._run_once(node)
            was_ready = was_ready or said
            if self._stopping.is_set():
                return code
            if not was_ready:
                return code or ExitCode.INTERNAL
            lived = self._monotonic() - began_at
            deaths = 1 if lived >= STEADY_SECONDS else deaths + 1
            seconds = RESTART_SECONDS_FIRST * 2 ** min(deaths - 1, 10)
            seconds = min(seconds, RESTART_SECONDS_MAX)
            log.warning(telemetry.NODE_DIED, code=code, restart_seconds=seconds)
            await self._pause_unless_stopped(seconds)
            if self._stopping.is_set():
                return ExitCode.OK

    async def _run_once(self, node: Environment) -> tuple[int, bool]:
        """One process, from start to end: how it ended, and whether it was ready."""
        process = await self._start(node)
        self._running.add(process)
        if self._stopping.is_set():
            process.terminate()
        was_ready = False
        while line := await process.line():
            was_ready = True  # a node says nothing else on stdout
            self._on_line(line)
        code = await process.wait()
        self._running.discard(process)
        return code, was_ready

    async def _pause_unless_stopped(self, seconds: float) -> None:
        pause = asyncio.ensure_future(self._pause(seconds))
        stopped = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({pause, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (pause, stopped):
            waiting.cancel()
        await asyncio.wait({pause, stopped})


def _exit_code(code: int) -> int:
    """Of the command; a node that was killed has the number of the signal, negated."""
    return code if code >= 0 else ExitCode.INTERNAL


class _Process:
    """A real one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        stdout = self._process.stdout
        return (await stdout.readline()).decode() if stdout is not None else ""

    async def wait(self) -> int:
        return await self._process.wait()

    def terminate(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


async def _start(node: Environment) -> NodeProcess:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "coordinator", "serve"),
        env=node,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    return _Process(process)


async def supervise(
    nodes: Sequence[Environment],
    on_line: Callable[[str], None],
    *,
    drain_seconds: float,
) -> int:
    """Run these nodes until SIGTERM or SIGINT; the exit code."""
    stop_seconds = drain_seconds + STOP_SECONDS_EXTRA
    supervisor = Supervisor(nodes, _start, on_line, stop_seconds=stop_seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    return await supervisor.run()
