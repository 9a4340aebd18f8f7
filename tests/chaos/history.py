"""What clients asked and were told: a JSON line each, written before the next step.

A line has ``word``, ``gid``, ``at`` (seconds of the machine's monotonic clock, which
all processes share) and, by word:

=========  ======================================================================
invoke     the transfer is about to be asked for; with all that it is
begun      the coordinator has acknowledged it
tried      all tries have succeeded
asking     its commit is about to be asked for
ok, fail   how it ended, by an answer; with ``status``
info       the client gave up: the end is not known; with ``text``
odd        an answer that no client should ever get; with ``text``
read       somebody asked later; with ``status``
=========  ======================================================================

A client that was killed has written no end: that counts as ``info``.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.chaos.transfer import Transfer

ANSWERS = frozenset({"begun", "tried", "ok", "fail", "read"})
"""Words that show a call which succeeded."""

ABSENT = "NOT_FOUND"
"""The status of what the coordinator does not know."""


class Line(NamedTuple):
    """One line."""

    word: str
    gid: str
    at: float
    status: str = ""
    text: str = ""
    transfer: Transfer | None = None


class History:
    """One file of lines, for ``with``; what was written outlives the process."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def invoke(self, transfer: Transfer) -> None:
        """It is about to be asked for."""
        self.note("invoke", transfer.gid, transfer=asdict(transfer))

    def note(self, word: str, gid: str, **more: object) -> None:
        """Add a line."""
        record = {"word": word, "gid": gid, "at": time.monotonic(), **more}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def read_lines(paths: Iterable[Path]) -> Iterator[Line]:
    """All lines of all files. Only the last one of a file may be torn: its writer was
    killed while it wrote.
    """
    for path in paths:
        texts = path.read_text().split("\n")
        for text in texts[:-1]:
            yield parse(text)


def parse(text: str) -> Line:
    """The line that stands in ``text``."""
    record = json.loads(text)
    if (fields := record.get("transfer")) is not None:
        record["transfer"] = Transfer(**fields)
    return Line(**record)
