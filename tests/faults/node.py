"""A node of the coordinator as a process, started in any surroundings."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from examples.fleet import ROOT
from examples.ports import find_free_port
from tests.faults.verdict import Failed

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20


class Node:
    """One process; its log is a file.

    Args:
        prefix: what the command is started by, such as ``strace`` with its flags.
        runner: the module, with arguments, that becomes the coordinator.
        environment: beside that of this process.
        root: of the source tree that it runs.
    """

    def __init__(
        self,
        directory: Path,
        url: str,
        *,
        name: str = "node",
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),
        runner: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        root: Path = ROOT,
    ) -> None:
        self.name = name
        self.target = f"127.0.0.1:{find_free_port()}"
        self.log = directory / f"{name}.log"
        own = ("serve", "--listen", self.target, "--log-format", "json")
        self.command = [
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *prefix,
            *(sys.executable, "-m", *runner, "coordinator", *own, *options),
        ]
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "TERCET_DATABASE_URL": url,
            **(environment or {}),
        }
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start it, in a session of its own."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def start(self) -> None:
        """Start it, and return when it serves."""
        self.spawn()
        await self.serves()

    async def serves(self) -> None:
        """Return when it answers that it serves; raise ``Failed`` when it has ended."""
        options = [("grpc.initial_reconnect_backoff_ms", 100)]
        async with asyncio.timeout(READY_SECONDS_MAX):
            while True:
                self.check()
                async with grpc.aio.insecure_channel(self.target, options) as channel:
                    health = health_pb2_grpc.HealthStub(channel)
                    try:
                        await health.Check(
                            health_pb2.HealthCheckRequest(),
                            wait_for_ready=True,
                            timeout=2,
                        )
                    except grpc.aio.AioRpcError:
                        continue
                    return

    @property
    def pid(self) -> int:
        """Of the interpreter itself, whatever it was started by."""
        assert self.process is not None
        return _innermost(self.process.pid)

    def check(self) -> None:
        """Raise ``Failed`` when it ended by itself."""
        assert self.process is not None
        code = self.process.poll()
        if code is not None:
            raise Failed(f"{self.name} ended with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log, on one line."""
        text = self.log.read_text(errors="replace")
        return " | ".join(text.strip().splitlines()[-3:])[-600:]

    def said(self, event: str) -> int:
        """How often its log names an event."""
        return self.log.read_text(errors="replace").count(event)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code; it is killed when it does not hear."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} did not end at SIGTERM") from None


def _innermost(pid: int) -> int:
    """The interpreter below ``strace`` or ``unshare``, which is a child of theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    if name.startswith("python") or not children:
        return pid
    return _innermost(int(children[0]))
