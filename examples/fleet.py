"""Processes that the examples start, kill and end: only their own, each by its id."""

import asyncio
import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from examples.ports import find_free_port
from protos.v1 import admin_pb2, admin_pb2_grpc

ROOT = Path(__file__).parent.parent
READY_SECONDS_MAX = 20.0
"""A coordinator is ready in under 2 s; a machine under load may take longer."""

STOP_SECONDS_MAX = 5.0
"""SIGTERM is obeyed at once; what takes longer than this is killed."""

POLL_SECONDS = 0.02
LOG_TAIL_CHARACTERS = 2_000


class FleetError(Exception):
    """A process did not start, or ended by itself."""


@dataclass(slots=True)
class Member:
    """One process, and how to start it again."""

    arguments: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]
    may_fail: bool = False


class Fleet:
    """A coordinator and its participants, as processes with a directory of their own.

    All of them are ended when the block is left, however it is left.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.target = f"127.0.0.1:{find_free_port()}"
        self.kills = 0
        self._members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        atexit.register(self.stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        atexit.unregister(self.stop)

    def database(self, name: str) -> Path:
        """Where the member keeps its database."""
        return self.directory / f"{name}.sqlite"

    def start_coordinator(self) -> None:
        """Start ``coordinator`` on its database and port."""
        self.start(
            "coordinator",
            *("coordinator", "serve", "--listen", self.target),
            *("--db", f"sqlite:///{self.database('coordinator')}"),
        )

    def start_participant(self, module: str, name: str, *options: str) -> None:
        """Start the participant ``name``, which is a run of ``module``."""
        own = ("--database", str(self.database(name)), "--target", self.target)
        self.start(name, module, name, *own, *options)

    def start(self, name: str, *arguments: str, may_fail: bool = False) -> None:
        """Start ``python -m ARGUMENTS``; what it says goes to a file."""
        log = self.directory / f"{name}.log"
        process = self._spawn(arguments, log)
        self._members[name] = Member(arguments, log, process, may_fail)

    async def ended(self, name: str) -> None:
        """Wait until the member has ended by itself."""
        process = self._members[name].process
        while True:
            if process.poll() is not None:
                return
            await asyncio.sleep(POLL_SECONDS)

    def kill(self, name: str) -> None:
        """SIGKILL the member and start it again, on the same database."""
        member = self._members[name]
        member.process.kill()
        member.process.wait()
        self.kills += 1
        member.process = self._spawn(member.arguments, member.log)

    async def restart(self, name: str) -> None:
        """SIGTERM the member, wait until it has left in order, and start it again."""
        member = self._members[name]
        member.process.send_signal(signal.SIGTERM)
        await self.ended(name)
        self.check()
        member.process = self._spawn(member.arguments, member.log)

    def kill_all(self) -> None:
        """SIGKILL everybody at once, then start them again, as after a power cut."""
        for member in self._members.values():
            member.process.kill()
        for member in self._members.values():
            member.process.wait()
            self.kills += 1
            member.process = self._spawn(member.arguments, member.log)

    def process_id(self, name: str) -> int:
        """Of the member as it runs now."""
        return self._members[name].process.pid

    def check(self) -> None:
        """Raise :class:`FleetError` when a member ended by itself with an error."""
        for name, member in self._members.items():
            if member.process.poll() and not member.may_fail:
                tail = member.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
                raise FleetError(
                    f"{name} ended by itself with {member.process.returncode}; its last"
                    f" words in {member.log}:\n{tail.strip() or '(nothing)'}"
                )

    async def ready(self, operations: Iterable[str]) -> None:
        """Wait until the coordinator knows all operations and who carries them out."""
        missing = set(operations)
        give_up_at = time.monotonic() + READY_SECONDS_MAX
        async with grpc.aio.insecure_channel(self.target) as channel:
            catalogue = admin_pb2_grpc.CatalogueStub(channel)
            while missing:
                self.check()
                if time.monotonic() > give_up_at:
                    raise FleetError(
                        f"after {READY_SECONDS_MAX:.0f} s nobody carries out"
                        f" {', '.join(sorted(missing))}; see {self.directory}"
                    )
                try:
                    reply = await catalogue.ListOperations(
                        admin_pb2.ListOperationsRequest(limit=1_000),
                        wait_for_ready=True,
                        timeout=1,
                    )
                except grpc.aio.AioRpcError:
                    continue
                missing -= {o.name for o in reply.operations if o.attached}
                await asyncio.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End all members: SIGTERM, and SIGKILL for who does not hear it."""
        running = [
            m.process for m in self._members.values() if m.process.poll() is None
        ]
        for process in running:
            process.send_signal(signal.SIGTERM)
        give_up_at = time.monotonic() + STOP_SECONDS_MAX
        for process in running:
            try:
                process.wait(max(0.0, give_up_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._members.clear()

    def _spawn(self, arguments: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
        # In a session of its own: a Ctrl-C at the terminal reaches this process alone,
        # which then ends the others in order.
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", "examples.leash", str(os.getpid()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
