"""What a database's error means to who asked: again, afresh, or not at all."""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from coordinator.core.errors import (
    CoordinatorError,
    PreconditionFailed,
    StoreUnavailable,
)

T = TypeVar("T")

ATTEMPT_MAX: Final = 8
"""Of one function that loses to others' transactions; each loss is another's gain."""

RETRY_SECONDS_MAX: Final = 2.0
"""No attempt begins later: who waits longer is better told."""

_DELAY_SECONDS: Final = 0.005
_DELAY_SECONDS_MAX: Final = 0.2

_ROLLED_BACK: Final = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # deadlock
        "1213",  # deadlock
        "1205",  # lock wait timeout
        "1020",  # record has changed since last read
        "9007",  # TiDB: write conflict
        "8002",
        "8022",
        "8028",  # TiDB: a table was changed meanwhile
        "SQLITE_BUSY",
    }
)
_GONE: Final = frozenset(
    {
        "08000",
        "08001",
        "08003",
        "08004",
        "08006",
        "57P01",  # terminated by an administrator
        "57P02",  # another process crashed
        "57P03",  # starting up, shutting down
        "57P05",  # idle for too long
        "25P03",
        "1053",
        "1077",
        "1079",
        "1152",
        "1184",
        "1927",  # connection was killed
        "2002",
        "2003",
        "2006",
        "2013",
        "2014",
        "2055",
        "4031",  # idle for too long
    }
)


class Failure(Enum):
    """What to do about it, if its transaction had not come to its COMMIT."""

    ROLLED_BACK = "rolled back in favour of another transaction: run it again"
    GONE = "the connection is gone: run it again on another one"
    OTHER = "no use in asking again at once"


def code_of(error: BaseException) -> str:
    """The database's own code (error number, SQLSTATE or name), or the type's name."""
    cause: object = error.orig if isinstance(error, DBAPIError) else error
    arguments = getattr(cause, "args", ())
    if arguments and isinstance(arguments[0], int) and not isinstance(cause, OSError):
        return str(arguments[0])
    for name in ("sqlstate", "sqlite_errorname"):
        if code := getattr(cause, name, None):
            return str(code)
    return type(cause).__name__


def classify(error: BaseException) -> Failure:
    """What became of the transaction in which it was raised."""
    code = code_of(error)
    if code in _ROLLED_BACK:
        return Failure.ROLLED_BACK
    if code in _GONE or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        return Failure.GONE
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
        return Failure.GONE
    return Failure.OTHER


_TROUBLES: Final = {
    **dict.fromkeys(("25006", "1290", "1836", "SQLITE_READONLY"), "is read only"),
    **dict.fromkeys(("53100", "1021", "SQLITE_FULL"), "has a full disk"),
    **dict.fromkeys(("53300", "1040"), "takes no more connections"),
    "1114": "has a full table",
}
"""What can turn wrong while a node serves, and is not for the node to mend."""


def describe(error: BaseException) -> str:
    """What went wrong, without any value, path or statement."""
    if isinstance(error, PoolTimeout):
        return "all connections to the database are taken; ask again"
    if isinstance(error, TimeoutError):
        return "the database does not answer in time; ask again"
    code = code_of(error)
    return f"the database {_TROUBLES.get(code, 'does not answer')} ({code}); ask again"


_REFUSALS: Final = {
    "28P01": "refuses the login; check user and password",
    "28000": "refuses the login; check user, password and TLS",
    "1045": "refuses the login; check user and password",
    "1698": "refuses the login; check user and password",
    "3D000": "has no such database; create it first",
    "1049": "has no such database; create it first",
    "1044": "does not let this account use that database; grant it",
    "25006": "is read only, a standby perhaps; name the primary",
    "1290": "is read only; name the primary",
    "1836": "is read only; name the primary",
    "42501": "does not give this account the rights it needs; grant them",
    "1142": "does not give this account the rights it needs; grant them",
}


def explain(error: BaseException, place: str) -> CoordinatorError:
    """What to tell who starts or upgrades: which thing is wrong, and what to do.

    Args:
        place: where the database is, without user and password.
    """
    code = code_of(error)
    if refusal := _REFUSALS.get(code):
        return PreconditionFailed(
            f"{place} {refusal}", field="database_url", reason="DATABASE_REFUSES"
        )
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError) or code in ("2003", "2002"):
        return StoreUnavailable(
            f"{place} cannot be reached ({code}); check that it runs, the host and port"
        )
    return StoreUnavailable(f"{place} does not answer ({code}); ask again")


async def answered(
    attempt: Callable[[], Awaitable[T]], may_run_again: Callable[[Exception], bool]
) -> T:
    """The answer of an attempt, made again as a whole as long as that makes sense.

    Between attempts stands full jitter, so that two who met do not meet again.

    Raises:
        StoreUnavailable: for whatever the database raised last.
    """
    now = asyncio.get_running_loop().time
    last_start = now() + RETRY_SECONDS_MAX
    for number in range(1, ATTEMPT_MAX + 1):
        try:
            return await attempt()
        except Exception as error:
            if not is_database_error(error):
                raise
            failure = describe(error)
            if not may_run_again(error):
                break
        delay_max = min(_DELAY_SECONDS * 2**number, _DELAY_SECONDS_MAX)
        delay = random.uniform(0, delay_max)  # noqa: S311 - not for secrets
        if now() + delay > last_start:
            break
        await asyncio.sleep(delay)
    # Outside of the handler: a driver's error may carry values in its context.
    raise StoreUnavailable(failure)


def is_database_error(error: BaseException) -> bool:
    """SQLAlchemy's, a driver's (some are raised before SQLAlchemy sees them), or the
    network's.
    """
    if isinstance(error, SQLAlchemyError | sqlite3.Error | OSError):
        return True
    origins = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(origins & {"asyncpg", "asyncmy"})
