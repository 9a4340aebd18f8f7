"""Runs plain functions over a connection; which database it is, is its own matter."""

from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Dialect

from coordinator.storage.sql.flavour import Flavour

T = TypeVar("T")


class Lane(Enum):
    """Who asks. No lane ever waits for another one's connections."""

    FOREGROUND = "foreground"
    PEOPLE = "people"
    SWEEPER = "sweeper"
    HEARTBEAT = "heartbeat"
    RETENTION = "retention"


class Database(Protocol):
    """Whatever fails in it is ``StoreUnavailable``; the next call starts afresh.

    A function that is passed in is run again as a whole when the database rolled its
    transaction back in favour of another one, so it must do nothing but ask.

    Attributes:
        dialect: how statements are spelled here.
        flavour: which database it is.
        writer_max: how many commits it is worth handing over at once.
        share_min: changes for which one more of them is.
    """

    dialect: Dialect
    flavour: Flavour
    writer_max: int
    share_min: int

    async def write(
        self, work: Callable[[Connection], T], lane: Lane = Lane.FOREGROUND
    ) -> T:
        """Run; ``work`` begins and ends its own transactions (READ COMMITTED)."""

    async def read(
        self, work: Callable[[Connection], T], lane: Lane = Lane.FOREGROUND
    ) -> T:
        """Run in one read transaction: one view of the data, however much is read."""

    async def close(self) -> None:
        """Release everything; tolerates being called twice."""
