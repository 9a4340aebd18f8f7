"""Inside of a process that is to die: what it passes, and the death itself."""

import os
import signal
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from tests.e2e.failpoint.points import Armed, Moment


class Ready(NamedTuple):
    """The process serves, or is attached."""


class IsArmed(NamedTuple):
    """What was asked to be armed is armed."""


class Reached(NamedTuple):
    """These points were passed for the first time in this process."""

    points: frozenset[str]


class Dying(NamedTuple):
    """The last words, sent just before SIGKILL.

    Attributes:
        points: all points of the commit at which it happens.
        revisions: what the commit makes of each transaction, by gid.
    """

    points: frozenset[str]
    revisions: dict[str, int]


class Refused(NamedTuple):
    """Something was about to be persisted that has no point."""

    what: str


Word = Ready | IsArmed | Reached | Dying | Refused

UNNAMED_EXIT = 70


@dataclass(slots=True)
class Step:
    """One commit on its way."""

    points: frozenset[str]
    revisions: dict[str, int]


class Trigger:
    """Tells what is passed, and kills the process where it was told to.

    The process ends when whoever started it is gone.
    """

    def __init__(self, control: Connection, armed: Armed | None) -> None:
        self._control = control
        self._armed = armed
        self._told: set[str] = set()
        self._speaking = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, word: Word) -> None:
        """Tell whoever started this process."""
        with self._speaking, suppress(OSError):
            self._control.send(word)

    def reach(self, step: Step, moment: Moment) -> None:
        """Pass this side of a commit; does not return where it is armed."""
        armed = self._armed
        if (
            armed is not None
            and armed.point in step.points
            and armed.moment is moment
            and (not armed.gid or armed.gid in step.revisions)
        ):
            self.say(Dying(step.points, step.revisions))
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()
        if moment is Moment.AFTER and not step.points <= self._told:
            self._told |= step.points
            self.say(Reached(step.points))

    def refuse(self, what: str) -> None:
        """End the process: nothing may be persisted without a point."""
        self.say(Refused(what))
        os._exit(UNNAMED_EXIT)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._armed = self._control.recv()
                self.say(IsArmed())
        os._exit(0)


def write_to(log: Path) -> None:
    """Let all that this process says go to a file."""
    with log.open("ab") as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)


def replace(owner: object, name: str, stand_in: object) -> None:
    """Let ``owner.name`` be another in this process; it has to exist."""
    patch.object(owner, name, new=stand_in).start()


def joined(steps: Iterable[Step]) -> Step:
    """Several transactions in one commit."""
    points: set[str] = set()
    revisions: dict[str, int] = {}
    for step in steps:
        points |= step.points
        revisions |= step.revisions
    return Step(frozenset(points), revisions)
