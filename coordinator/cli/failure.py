"""How a command fails: one line on stderr, and an exit code that scripts can read."""

import traceback
from enum import IntEnum
from pathlib import Path

from coordinator.config import ConfigError
from coordinator.core.errors import (
    AlreadyExists,
    CoordinatorError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PreconditionFailed,
    Refusal,
    StoreUnavailable,
)


class ExitCode(IntEnum):
    """What the process says when it ends; the table is in ``tercet --help``."""

    OK = 0
    ENDED_OTHERWISE = 1
    INVALID = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    INTERNAL = 6
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.ENDED_OTHERWISE: (
        "it ran and ended otherwise: findings, a saga compensated, a schema behind,"
        " some of many refused"
    ),
    ExitCode.INVALID: "wrong usage or input",
    ExitCode.NOT_FOUND: "no such thing",
    ExitCode.REFUSED: "refused in its present state, or it exists already",
    ExitCode.UNAVAILABLE: "the coordinator or its database does not answer",
    ExitCode.INTERNAL: "a fault of Tercet",
    ExitCode.INTERRUPTED: "interrupted",
}


class CommandFailed(Exception):
    """The command ends here.

    Args:
        message: what is wrong, what was expected, what to do; one line.
    """

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message


def invalid(field: str, problem: str) -> CommandFailed:
    """An argument is wrong."""
    return CommandFailed(ExitCode.INVALID, f"{field}: {problem}")


def with_field(field: str, message: str) -> str:
    """The message, with the field at fault in front unless it stands there."""
    return message if message.startswith(field) else f"{field}: {message}"


def failure_of(error: Exception) -> CommandFailed:
    """What to tell the user about any error."""
    match error:
        case CommandFailed():
            return error
        case ConfigError():
            return CommandFailed(ExitCode.INVALID, str(error))
        case Refusal(field=field):
            return CommandFailed(_exit_code_of(error), with_field(field, str(error)))
        case CoordinatorError():
            return CommandFailed(_exit_code_of(error), str(error))
    from coordinator import telemetry

    what = telemetry.without_credentials(f"{type(error).__name__}: {error}")
    return CommandFailed(
        ExitCode.INTERNAL,
        f"this is a fault of Tercet, please report it: {what} {_place(error)}",
    )


def _place(error: Exception) -> str:
    """Where it was raised: no stack trace, but enough for a report."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"({Path(frames[0].filename).name}:{frames[0].lineno})" if frames else ""


def _exit_code_of(error: CoordinatorError) -> ExitCode:
    match error:
        case InvalidRequest():
            return ExitCode.INVALID
        case NotFound():
            return ExitCode.NOT_FOUND
        case AlreadyExists() | PreconditionFailed():
            return ExitCode.REFUSED
        case Overloaded() | StoreUnavailable():
            return ExitCode.UNAVAILABLE
    return ExitCode.INTERNAL
