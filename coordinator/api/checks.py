"""Checks of single values. Each error names the field, what was expected, what to do.

No message repeats the value itself: it may be a secret in the wrong field.
"""

import re

import msgspec

from coordinator.core.definition import JsonValue
from coordinator.core.errors import InvalidRequest
from coordinator.core.model import JSON_CONTENT_TYPE, NO_PAYLOAD, Payload
from protos.v1 import types_pb2

_names_something = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
_FOREIGN = re.compile(r"[^A-Za-z0-9._:-]")
_is_content_type = re.compile(r"[!-~][ -~]{0,126}|").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

IDENTIFIER_RULE = "1 to 128 characters out of A-Z a-z 0-9 . _ : -"


def is_identifier(value: str) -> bool:
    """Whether the value can name something."""
    return _names_something(value) is not None


def identifier(value: str, field: str) -> str:
    """The value, if it can name something."""
    if _names_something(value):
        return value
    if not value:
        found = "it is empty"
    elif foreign := _FOREIGN.search(value):
        found = f"character {foreign.start() + 1} is none of them"
    else:
        found = f"it has {len(value)}"
    raise InvalidRequest(
        f"{field}: expected {IDENTIFIER_RULE}, but {found}. Choose such a name.",
        field=field,
    )


def text(value: str, field: str, *, chars_max: int, required: bool = False) -> str:
    """The value, if it is one line of printable text of bounded length."""
    if required and not value.strip():
        raise InvalidRequest(f"{field}: expected some text. Fill it in.", field=field)
    if len(value) > chars_max:
        raise InvalidRequest(
            f"{field}: expected at most {chars_max} characters, got {len(value)}. "
            "Shorten it.",
            field=field,
        )
    if control := _CONTROL.search(value):
        raise InvalidRequest(
            f"{field}: expected printable text on one line, but character "
            f"{control.start() + 1} is a control character. Remove it.",
            field=field,
        )
    return value


def printable(value: str, *, chars_max: int) -> str:
    """The value, cut to its limit and with control characters escaped."""
    if len(value) > chars_max:
        value = value[: chars_max - 1] + "…"
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def between(value: int, low: int, high: int, field: str, *, unset: int) -> int:
    """The value, if it is in the range; ``unset`` in the place of 0."""
    if value == 0:
        return unset
    if low <= value <= high:
        return value
    raise InvalidRequest(
        f"{field}: expected {low} to {high}, or 0 for {unset or 'none'}; got {value}. "
        "Choose a value in that range.",
        field=field,
    )


def payload_bytes(data: bytes, field: str, *, bytes_max: int) -> bytes:
    """The payload, if it is small enough."""
    if len(data) > bytes_max:
        raise InvalidRequest(
            f"{field}: expected at most {bytes_max} bytes, got {len(data)}. "
            "Store large data elsewhere and pass a reference to it.",
            field=field,
        )
    return data


def payload(sent: types_pb2.Payload, field: str, bytes_max: int) -> Payload:
    """What was sent, if it is small enough and its type can be a media type."""
    data, content_type = sent.data, sent.content_type
    if not data and not content_type:
        return NO_PAYLOAD
    if len(data) > bytes_max:
        payload_bytes(data, f"{field}.data", bytes_max=bytes_max)
    if content_type != JSON_CONTENT_TYPE and not _is_content_type(content_type):
        raise InvalidRequest(
            f"{field}.content_type: expected at most 127 printable ASCII characters. "
            'Use a media type such as "application/json", or leave it empty.',
            field=f"{field}.content_type",
        )
    return Payload(data, content_type)


def json_value(data: bytes, field: str) -> JsonValue:
    """What the bytes mean, if they are one JSON value."""
    try:
        value: JsonValue = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(
            f"{field}: expected one JSON value in UTF-8. Correct it.", field=field
        ) from None
    return value
