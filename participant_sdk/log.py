"""Where the SDK's events go: to ``logging``, under the name ``participant_sdk``.

A library writes nothing to stdout. Where the application has configured structlog,
its processors render the events, else they are written as ``event key=value``; either
way they leave through ``logging.getLogger("participant_sdk")``.
"""

import logging
from typing import Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

NAME = "participant_sdk"


def _render(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> tuple[tuple[str], dict[str, Any]]:
    """As arguments for a method of ``logging.Logger``."""
    exc_info = event.pop("exc_info", None)
    text = str(event.pop("event"))
    fields = "".join(f" {name}={_plain(value)}" for name, value in event.items())
    return (text + fields,), {"exc_info": exc_info}


def _plain(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text


_logger = logging.getLogger(NAME)
_configured: FilteringBoundLogger = structlog.wrap_logger(_logger)
_unconfigured: FilteringBoundLogger = structlog.wrap_logger(
    _logger, processors=[_render]
)


def log() -> FilteringBoundLogger:
    """The logger; ask for it at every event, the application may configure late."""
    return _configured if structlog.is_configured() else _unconfigured
