"""A fleet whose processes start in milliseconds: forked from one that has imported all.

Otherwise who starts nine processes after each of twenty power cuts spends most of its
time on imports. They are processes of their own in every other way.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from examples import leash
from examples.fleet import Fleet
from tests.e2e.failpoint.world import processes


class Forked:
    """What a fleet needs of ``subprocess.Popen``."""

    def __init__(self, arguments: tuple[str, ...], log: Path) -> None:
        self._arguments = arguments
        self._process = processes.Process(target=_run, args=(arguments, log))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout)

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedFleet(Fleet):
    """Starts its members as forks."""

    def _spawn(self, arguments: tuple[str, ...], log: Path) -> Forked:
        return Forked(arguments, log)


def _run(arguments: tuple[str, ...], log: Path) -> None:
    """In the fork: as ``python -m examples.leash PARENT ARGUMENTS`` would."""
    os.setsid()
    with Path(os.devnull).open("rb") as nothing, log.open("ab") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.modules.pop(arguments[0], None)  # it is to run, as what it is
    sys.argv = ["leash", str(os.getppid()), *arguments]
    leash.main()
