"""What a database error means for the local transaction that it happened in."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from participant_sdk.executor.outcome import Failed, clean

T = TypeVar("T")

RUNS_MAX = 4
"""Of one local transaction that gives way to others, the first run included (B6)."""
_DELAY_SECONDS = 0.01

_GAVE_WAY = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # deadlock
        "55P03",  # lock wait timeout
        "1213",  # deadlock
        "1205",  # lock wait timeout
        "1020",  # record has changed since last read
    }
)


class Poisoned(Exception):
    """The local transaction cannot go on; ``outcome`` is that of the guilty call.

    Attributes:
        gave_way: the database preferred another transaction, and kept nothing of this
            one: the same call may run again at once.
    """

    def __init__(self, outcome: Failed, *, gave_way: bool = False) -> None:
        self.outcome = outcome
        self.gave_way = gave_way
        super().__init__()


def poisoned_by(error: Exception) -> Poisoned:
    """The transaction ended by a database error."""
    return Poisoned(database_error(error), gave_way=gave_way(error))


def database_error(error: BaseException) -> Failed:
    """The outcome of a database error; its text may hold values and stays here.

    The database's own code holds none, and tells a deadlock from a full disk.
    """
    return Failed(
        "DATABASE_ERROR", clean(f"{type(error).__name__} {_code_of(error)}".rstrip())
    )


def gave_way(error: BaseException) -> bool:
    """Deadlock, lock wait or serialization: another transaction was preferred."""
    return _code_of(error) in _GAVE_WAY


async def again_while_giving_way(attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of ``attempt``, made again as a whole a bounded number of times.

    Between two runs stands full jitter, so that who met does not meet again.

    Raises:
        Poisoned: as ``attempt`` does, for another reason or once too often.
    """
    for number in range(1, RUNS_MAX):
        try:
            return await attempt()
        except Poisoned as poisoned:
            if not poisoned.gave_way:
                raise
        delay_max = _DELAY_SECONDS * 2**number
        await asyncio.sleep(random.uniform(0, delay_max))  # noqa: S311  # no secret
    return await attempt()


def _code_of(error: BaseException) -> str:
    """The database's own code: error number, SQLSTATE or SQLite's name; or nothing."""
    cause: object = error.orig if isinstance(error, DBAPIError) else error
    number = next(iter(getattr(cause, "args", ())), None)
    if isinstance(number, int):
        return str(number)  # MariaDB's SQLSTATE does not tell one from another
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if code := getattr(cause, name, None):
            return str(code)
    return ""
