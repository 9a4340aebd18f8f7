"""Who takes part, and their processes: each started, hurt and ended by its id."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

NODES = ("node-1", "node-2", "node-3")
BANKS = ("bank-1", "bank-2", "bank-3", "bank-4")
CALLED = ("bank-2",)
"""The banks that do not attach: nodes call them at an address."""

ATTACHED = tuple(bank for bank in BANKS if bank not in CALLED)

CLIENTS = ("client-1", "client-2", "client-3", "client-4")
"""Processes; each of them runs ``WORKERS_PER_CLIENT`` clients."""

WORKERS_PER_CLIENT = 4
STORE = "store"
"""The coordinator's database."""

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.05
RESTART_SECONDS = (0.25, 8.0)
"""Between the end of a process that nobody killed and its next start: first, and at
most. It doubles, as supervisors do it: three that start over and over take all of the
processor, and then none of them ever gets ready.
"""

SETTLED_SECONDS = 15.0
"""A process that lived so long is started at once again."""

STOP_SECONDS_MAX = 15.0


@dataclass
class Member:
    """One process, and how to start it again.

    Attributes:
        is_wanted: it is started again when it ends by itself.
        starts: how often it was started.
        own_ends: exit codes of ends that nobody caused by a signal.
    """

    name: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    is_wanted: bool = True
    is_frozen: bool = False
    starts: int = 0
    own_ends: list[int] = field(default_factory=list)
    started_at: float = 0.0
    pause_seconds: float = RESTART_SECONDS[0]

    def start(self) -> None:
        """Start it; what it says is added to its log."""
        command = [sys.executable, "-m", *self.arguments]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                cwd=ROOT,
                env={**os.environ, **self.env, "CHAOS_START": str(self.starts)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.starts += 1
        self.started_at = time.monotonic()
        self.is_wanted = True

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        if self.process is None or self.process.poll() is not None:
            return None
        return self.process.pid

    def signal(self, number: signal.Signals) -> bool:
        """Send it; whether there was a process to get it."""
        if self.process is None or self.pid is None:
            return False
        self.process.send_signal(number)
        self.is_frozen = number is signal.SIGSTOP or (
            self.is_frozen and number is not signal.SIGCONT
        )
        return True

    async def start_again(self) -> None:
        """After a pause, unless somebody else did so meanwhile."""
        assert self.process is not None
        self.own_ends.append(self.process.returncode)
        ended = self.process
        if time.monotonic() - self.started_at > SETTLED_SECONDS:
            self.pause_seconds = RESTART_SECONDS[0]
        await asyncio.sleep(self.pause_seconds)
        self.pause_seconds = min(2 * self.pause_seconds, RESTART_SECONDS[1])
        if self.process is ended and self.is_wanted:
            self.start()

    def kill(self) -> bool:
        """SIGKILL it and leave it dead; whether it lived."""
        self.is_wanted = False
        lived = self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.is_frozen = False
        return lived


def log_to_stderr() -> None:
    """What the SDK says of sessions, with times."""
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form)


class Cast:
    """All processes but the database servers; all have ended when the block is left."""

    def __init__(self, directory: Path) -> None:
        self.members: dict[str, Member] = {}
        self._directory = directory
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        for member in self.members.values():
            member.kill()

    def start(self, name: str, *arguments: str, **env: str) -> None:
        """Start ``python -m ARGUMENTS``; ``CHAOS_START`` counts its starts."""
        log = self._directory / f"{name}.log"
        self.members[name] = Member(name, arguments, env, log)
        self.members[name].start()

    async def stop(self, names: tuple[str, ...], seconds: float) -> list[str]:
        """SIGTERM them and wait; who did not end in time was killed, and is named."""
        members = [self.members[name] for name in names]
        for member in members:
            member.is_wanted = False
            member.signal(signal.SIGTERM)
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at:
            if not any(member.pid for member in members):
                break
            await asyncio.sleep(LOOK_SECONDS)
        return [member.name for member in members if member.kill()]

    async def _keep(self) -> None:
        """Start again whoever ended by itself, as a supervisor would."""
        async with asyncio.TaskGroup() as group:
            starting: dict[str, asyncio.Task[None]] = {}
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                for name, member in self.members.items():
                    is_busy = name in starting and not starting[name].done()
                    if member.is_wanted and member.pid is None and not is_busy:
                        starting[name] = group.create_task(member.start_again())
