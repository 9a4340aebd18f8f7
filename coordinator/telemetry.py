"""Logs: structured, to stderr, and without a word of what they must not say.

An event's name is one of the constants here, a past participle; what it is about
(gid, branch_id, operation, attempt) is bound to it. Payloads, tokens and database
URLs never pass :func:`redact`, whoever logs them.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

NODE_READY: Final = "node_ready"
NODE_DRAINING: Final = "node_draining"
NODE_STOPPED: Final = "node_stopped"
NODE_FAILED: Final = "node_failed"
NODE_DIED: Final = "node_died"
NODES_KILLED: Final = "nodes_killed"
INSECURE_LISTENER_OPENED: Final = "insecure_listener_opened"
UNSAFE_DATABASE_ACCEPTED: Final = "unsafe_database_accepted"
DATABASE_REFUSED: Final = "database_refused"
DATABASE_MIGRATED: Final = "database_migrated"
STORE_FAILED: Final = "store_failed"
SWEEP_FAILED: Final = "sweep_failed"
HEARTBEAT_FAILED: Final = "heartbeat_failed"
HEALTH_CHANGED: Final = "health_changed"
COMMIT_CONFLICTED: Final = "commit_conflicted"
TRANSACTION_TAKEN_OVER: Final = "transaction_taken_over"
TRANSACTION_DECIDED: Final = "transaction_decided"
TRANSACTION_ENDED: Final = "transaction_ended"
TRANSACTION_STOPPED: Final = "transaction_stopped"
TRANSACTIONS_REMOVED: Final = "transactions_removed"
RETENTION_FAILED: Final = "retention_failed"
ATTENTION_RAISED: Final = "attention_raised"
TRIAL_STARTED: Final = "trial_started"
TRIAL_SURVIVED: Final = "trial_survived"
PARTICIPANT_ATTACHED: Final = "participant_attached"
PARTICIPANT_DETACHED: Final = "participant_detached"
PUSH_TARGET_UNREACHABLE: Final = "push_target_unreachable"
PUSH_TARGET_REFUSED: Final = "push_target_refused"
INSECURE_PUSH_ACCEPTED: Final = "insecure_push_accepted"
PARTICIPANT_FAILING: Final = "participant_failing"
PARTICIPANT_WORKS_AGAIN: Final = "participant_works_again"
CATALOGUE_WATCH_FAILED: Final = "catalogue_watch_failed"
OPERATION_CHANGED: Final = "operation_changed"
OPERATION_MISSED: Final = "operation_missed"
SESSION_BROKEN: Final = "session_broken"
REQUEST_FAILED: Final = "request_failed"

REDACTED_KEYS: Final = frozenset(
    {
        "authorization",
        "body",
        "compensation_input",
        "cookie",
        "data",
        "database_url",
        "dsn",
        "headers",
        "input",
        "labels",
        "metadata",
        "output",
        "password",
        "payload",
        "secret",
        "token",
    }
)
"""Values under these keys are dropped, at any depth."""

_DEPTH_MAX: Final = 4
_TEXT_MAX: Final = 4_096
"""Longer texts are cut: a participant's error text is not a place to store things."""

_CREDENTIALS: Final = re.compile(r"(?<=://)[^\s/@]*(?:@[^\s/@]*)*@")
_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(*, level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Make this process log to ``stream``, by default stderr; once, at its start.

    Events below ``level`` cost one method call that does nothing. Records of
    libraries that use :mod:`logging` are shown from ``warning`` on, in the same form.

    Args:
        level: debug, info, warning or error.
        log_format: ``json`` (a line each), ``console``, or ``auto``: console on a
            terminal, else JSON.
    """
    out = stream or sys.stderr
    is_console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        redact,
    ]
    render: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty() and not no_color(),
            timestamp_key="at",
            exception_formatter=structlog.dev.plain_traceback,
        )
        if is_console
        else _render_json
    )
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        # Binding anew at every call would cost 11 us even where nothing is logged.
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))


def get_logger(**bound: object) -> FilteringBoundLogger:
    """A logger with values bound to it; may be made before :func:`configure`."""
    logger: FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last processor before rendering: drop what a log must never hold.

    Drops values under :data:`REDACTED_KEYS` and all bytes, cuts credentials out of
    URLs inside texts, and shows objects by their type alone, because the ``repr`` of
    a transaction would show its payloads.
    """
    return {
        key: _plain(value, 0)
        for key, value in event.items()
        if key not in REDACTED_KEYS and not isinstance(value, bytes | bytearray)
    }


def without_credentials(text: str) -> str:
    """The text, with user and password cut out of every URL in it."""
    return _CREDENTIALS.sub("***@", text) if "://" in text else text


def no_color() -> bool:
    """Whether the user wants no colours (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def _plain(value: object, depth: int) -> object:
    match value:
        case Enum():
            return value.name
        case str():
            return without_credentials(_cut(value))
        case None | bool() | int() | float():
            return value
        case BaseException():
            return _plain(f"{type(value).__name__}: {value}", depth)
        case Mapping() if depth < _DEPTH_MAX:
            return {
                str(key): _plain(item, depth + 1)
                for key, item in value.items()
                if str(key) not in REDACTED_KEYS
                and not isinstance(item, bytes | bytearray)
            }
        case tuple() | list() | set() | frozenset() if depth < _DEPTH_MAX:
            return [_plain(item, depth + 1) for item in value]
    return f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    # The end of a traceback says what happened, its beginning where: keep both.
    half = _TEXT_MAX // 2
    return text if len(text) <= _TEXT_MAX else f"{text[:half]} [...] {text[-half:]}"


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(event).decode()
