"""Counts that one process keeps and another one reads while both run."""

import mmap
import struct
from pathlib import Path
from typing import NamedTuple, Self

_LAYOUT = struct.Struct("qqq")


class Counts(NamedTuple):
    """So far.

    Attributes:
        commits: that wrote of transactions.
        rows: of transactions, branches and journal, inserted and updated.
        moves: rows of transactions alone: each is one that waited for that commit.
    """

    commits: int = 0
    rows: int = 0
    moves: int = 0

    def since(self, before: "Counts") -> "Counts":
        """What has come on top."""
        return Counts(*(now - was for now, was in zip(self, before, strict=True)))


class Counters:
    """In a file that both processes have mapped."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)

    @classmethod
    def create(cls, path: Path) -> Self:
        """All of them 0."""
        path.write_bytes(_LAYOUT.pack(*Counts()))
        return cls(path)

    def read(self) -> Counts:
        """As they stand."""
        return Counts(*_LAYOUT.unpack_from(self._map))

    def committed(self, rows: int, moves: int) -> None:
        """One commit more."""
        before = self.read()
        counts = (before.commits + 1, before.rows + rows, before.moves + moves)
        _LAYOUT.pack_into(self._map, 0, *counts)
