"""Payloads: JSON on the wire, the handlers' own types inside.

A handler's annotations say what it takes and gives: dataclass, ``msgspec.Struct``,
TypedDict, pydantic model, plain ``dict`` (or nothing, which is the same), or
``bytes`` for anything that is no JSON. Texts of errors name fields, never values.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from participant_sdk.errors import TercetError

JSON_CONTENT_TYPE = "application/json"
BYTES_CONTENT_TYPE = "application/octet-stream"
PAYLOAD_BYTES_MAX = 256 * 1024
"""What the coordinator accepts; above it a document store is the better place."""


class Encoded(NamedTuple):
    """A payload as it travels."""

    data: bytes = b""
    content_type: str = ""


class InvalidPayload(TercetError):
    """The payload does not have the declared type."""

    reason = "INVALID_INPUT"


class UnsuitableOutput(TercetError):
    """A handler's result, or a request's input, cannot be sent as JSON."""

    reason = "INVALID_OUTPUT"


def _enc_hook(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(type(value).__name__)
    return dump(mode="json")


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def encode(value: Any) -> Encoded:
    """The payload for ``value``; ``None`` is the empty payload.

    Raises:
        UnsuitableOutput: it has no JSON form, or is larger than the limit.
    """
    if value is None:
        return Encoded()
    if isinstance(value, bytes):
        encoded = Encoded(value, BYTES_CONTENT_TYPE)
    else:
        try:
            encoded = Encoded(_encoder.encode(value), JSON_CONTENT_TYPE)
        except (TypeError, ValueError, RecursionError) as error:
            raise UnsuitableOutput(
                f"a value of type {type(value).__name__} has no JSON form: use a "
                "dataclass, msgspec.Struct, TypedDict, pydantic model or dict"
            ) from error
    if len(encoded.data) > PAYLOAD_BYTES_MAX:
        raise UnsuitableOutput(
            f"the payload has {len(encoded.data)} bytes, at most {PAYLOAD_BYTES_MAX} "
            "are carried: store it and send its key"
        )
    return encoded


class Codec:
    """Decodes payloads to one declared type."""

    __slots__ = ("_decode", "schema")

    def __init__(self, declared: Any) -> None:
        self._decode = _decoder_of(declared)
        self.schema = _schema_of(declared)

    def decode(self, data: bytes, content_type: str) -> Any:
        """The value; an empty payload counts as ``{}``.

        Raises:
            InvalidPayload: with the path of the field.
        """
        return self._decode(data, content_type)


def _decoder_of(declared: Any) -> Callable[[bytes, str], Any]:
    if declared is bytes:
        return lambda data, _: data
    if hasattr(declared, "model_validate_json"):
        parse = _pydantic_parser(declared)
    else:
        parse = msgspec.json.Decoder(declared).decode

    def decode(data: bytes, content_type: str) -> Any:
        if content_type not in (JSON_CONTENT_TYPE, ""):
            raise InvalidPayload(
                f"expected the content type {JSON_CONTENT_TYPE}; declare the "
                "parameter as bytes to take any"
            )
        try:
            return parse(data or b"{}")
        except msgspec.ValidationError as error:
            raise InvalidPayload(_without_values(str(error))) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidPayload("the payload is no valid JSON") from None

    return decode


def _pydantic_parser(declared: Any) -> Callable[[bytes], Any]:
    def parse(data: bytes) -> Any:
        try:
            return declared.model_validate_json(data)
        except ValueError as error:
            details: list[dict[str, Any]] = getattr(error, "errors", list)()
            raise InvalidPayload(_pydantic_text(details)) from None

    return parse


def _pydantic_text(details: list[dict[str, Any]]) -> str:
    if not details:
        return "Invalid value"
    path = "".join(f".{part}" for part in details[0].get("loc", ()))
    return f"Invalid value ({details[0].get('type', 'invalid')}) - at `${path}`"


_VALUE_FREE = re.compile(r"(Expected |Object missing required field )")


def _without_values(text: str) -> str:
    """Msgspec's text, unless it may repeat a value: then only where it was."""
    if _VALUE_FREE.match(text):
        return text
    _, found, path = text.partition(" - at ")
    return f"Invalid value - at {path}" if found else "Invalid value"


def result_schema(declared: Any) -> str:
    """JSON Schema of what a handler that declares this result sends; empty when
    that is not known.
    """
    # What a pydantic model takes and what it gives may differ.
    return _schema_of(declared, mode="serialization")


def _schema_of(declared: Any, **pydantic: str) -> str:
    if declared is Any or declared is bytes or declared is None:
        return ""
    try:
        if hasattr(declared, "model_json_schema"):
            schema = declared.model_json_schema(**pydantic)
            return msgspec.json.encode(schema).decode()
        return msgspec.json.encode(msgspec.json.schema(declared)).decode()
    except TypeError:
        # A type that can be decoded but not described: the catalogue goes without.
        return ""
