"""JSON that is given on the command line or in a file."""

import json
from typing import NoReturn

from coordinator.cli.failure import invalid
from coordinator.cli.source import read_text


def given(field: str, text: str) -> bytes:
    """The bytes as they were written, so that no number is spelled anew.

    Args:
        text: JSON, or ``@FILE`` with JSON in it.
    """
    if text.startswith("@"):
        text = read_text(field, text[1:])
    try:
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise invalid(
            field,
            f"not JSON at line {error.lineno} column {error.colno}: {error.msg}; "
            "expected JSON, or @FILE with JSON in it",
        ) from None
    except (ValueError, RecursionError):
        raise invalid(field, "not JSON: NaN, infinite or nested too deeply") from None
    try:
        return text.strip().encode()
    except UnicodeEncodeError:
        raise invalid(field, "expected JSON in UTF-8") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
