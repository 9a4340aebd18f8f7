"""What ``${ }`` yields: templates of a definition, evaluated against stored values.

Total and bounded: a path is looked up, never computed. A value that is not there is
an :class:`ExpressionFailed`, not a null.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, assert_never

from msgspec import Struct

from coordinator.core.definition import (
    Computed,
    Constant,
    Interpolation,
    JsonValue,
    Reference,
    Template,
    TemplateList,
    TemplateMap,
    to_json,
)
from coordinator.core.model import JSON_CONTENT_TYPE, Payload

CODE = "EXPRESSION"
"""The reason code of a saga that turns back because an expression failed."""


class ExpressionFailed(Exception):
    """An expression met a value that it cannot use.

    The message names the expression, how far it came and the type it met; never the
    value.
    """


class Outputs(Protocol):
    """The stored outputs of the steps that have one."""

    def get(self, step_id: str, /) -> Payload | None:
        """The output of a step; ``None`` when it has none."""


class Item(Struct, frozen=True):
    """An item of a list, and its place there, from 0."""

    value: JsonValue
    index: int


class Scope(Struct, frozen=True):
    """What expressions may read: only what is stored. Decoded when it is read.

    Attributes:
        input: of the saga.
        outputs: step id to the stored output of every step that answered.
        saga: ``gid`` and ``startedAt``.
        item: where a step is run for each item of a list.
        is_lenient: what cannot be computed is null, for a compensation whose action
            will never have an output.
    """

    input: Payload
    outputs: Outputs
    saga: Mapping[str, JsonValue]
    item: Item | None = None
    is_lenient: bool = False


def evaluate(template: Template, scope: Scope) -> JsonValue:
    """The value of a template. Raises ``ExpressionFailed``."""
    match template:
        case Constant(value):
            return value
        case Reference() | Computed():
            return _value(template, scope)
        case Interpolation(parts):
            return "".join(
                part if isinstance(part, str) else _as_text(part, scope)
                for part in parts
            )
        case TemplateList(items):
            return [evaluate(item, scope) for item in items]
        case TemplateMap(entries):
            return {name: evaluate(item, scope) for name, item in entries}
        case _:
            assert_never(template)


def to_payload(value: JsonValue) -> Payload:
    """A value as it is stored and sent: compact JSON."""
    return Payload(to_json(value), JSON_CONTENT_TYPE)


def render(template: Template, scope: Scope, bytes_max: int) -> Payload:
    """A template's value as it is stored, written piece by piece.

    Raises ``ExpressionFailed`` as soon as it is larger than ``bytes_max``: a text of
    5,000 expressions that each read a large input would come to a gigabyte.
    """
    try:
        text = _WRITTEN[type(template)](template, scope, bytes_max)
    except _TooLarge:
        raise ExpressionFailed(f"more than {bytes_max} bytes") from None
    return fitting(text, bytes_max)


def fitting(text: bytes, bytes_max: int) -> Payload:
    """A JSON text as it is stored. Raises ``ExpressionFailed`` when it is too large."""
    if len(text) > bytes_max:
        raise ExpressionFailed(f"more than {bytes_max} bytes")
    return Payload(text, JSON_CONTENT_TYPE)


class _TooLarge(Exception):
    """Nothing more is read: what is written already does not fit."""


def _list(template: TemplateList, scope: Scope, left: int) -> bytes:
    parts: list[bytes] = []
    left -= 1  # each part, and the first bracket, a comma or the last bracket
    for item in template.items:
        if left < 0:
            raise _TooLarge
        part = _WRITTEN[type(item)](item, scope, left)
        left -= len(part) + 1
        parts.append(part)
    return b"[" + b",".join(parts) + b"]"


def _map(template: TemplateMap, scope: Scope, left: int) -> bytes:
    parts: list[bytes] = []
    left -= 1
    for name, item in template.entries:
        named = _named(name)
        left -= len(named)
        if left < 0:
            raise _TooLarge
        part = _WRITTEN[type(item)](item, scope, left)
        left -= len(part) + 1
        parts.append(named + part)
    return b"{" + b",".join(parts) + b"}"


@lru_cache(maxsize=1024)
def _named(name: str) -> bytes:
    """The beginning of a map's entry; a definition has the same ones every time."""
    return to_json(name) + b":"


def _text(template: Interpolation, scope: Scope, left: int) -> bytes:
    parts: list[bytes] = []
    left -= 1
    for piece in template.parts:
        if left < 0:
            raise _TooLarge
        text = piece if isinstance(piece, str) else _as_text(piece, scope)
        part = to_json(text)[1:-1]
        left -= len(part)
        parts.append(part)
    return b'"' + b"".join(parts) + b'"'


def _constant(template: Constant, _scope: Scope, _left: int) -> bytes:
    return template.as_json


def _read(template: Reference | Computed, scope: Scope, _left: int) -> bytes:
    return to_json(_value(template, scope))


_WRITTEN: Mapping[type[Template], Callable[[Any, Scope, int], bytes]] = {
    Constant: _constant,
    Reference: _read,
    Computed: _read,
    Interpolation: _text,
    TemplateList: _list,
    TemplateMap: _map,
}
"""How each kind of template is written, with so many bytes left for it: what has parts
reads no further one when they are used up."""


def from_payload(payload: Payload, what: str) -> JsonValue:
    """The value of a stored payload; an empty one is null.

    Args:
        what: names the payload in messages, such as ``steps.pay.output``.
    """
    if not payload.data:
        return None
    if payload.content_type != JSON_CONTENT_TYPE:
        raise ExpressionFailed(f"{what} is not JSON, so no expression can read it")
    try:
        return _decoded(payload.data)
    except (ValueError, RecursionError):
        raise ExpressionFailed(f"{what} is not valid JSON") from None


@lru_cache(maxsize=16)
def _decoded(data: bytes) -> JsonValue:
    """The JSON value of these bytes; shared, and changed by nobody.

    The items of a list are evaluated one after the other from the same stored list:
    without a memory, a list of n items would be decoded n times.
    """
    value: JsonValue = json.loads(data)
    return value


def _value(expression: Reference | Computed, scope: Scope) -> JsonValue:
    try:
        if isinstance(expression, Reference):
            return _look_up(expression, scope)
        return _compute(expression, scope)
    except ExpressionFailed:
        if scope.is_lenient:
            return None
        raise


def _compute(expression: Computed, scope: Scope) -> JsonValue:
    values: dict[str, JsonValue] = {
        "input": from_payload(scope.input, "input"),
        "saga": dict(scope.saga),
        "steps": {
            step_id: {"output": from_payload(output, f"steps.{step_id}.output")}
            for step_id in expression.reads
            if (output := scope.outputs.get(step_id)) is not None
        },
    }
    if scope.item is not None:
        values |= {"item": scope.item.value, "index": scope.item.index}
    try:
        return expression.program(values)
    except ExpressionFailed as failure:
        raise ExpressionFailed(f"${{{expression.source}}}: {failure}") from None


def _look_up(reference: Reference, scope: Scope) -> JsonValue:
    value, depth = _root(reference, scope)
    for part in reference.path[depth:]:
        match value:
            case dict() if isinstance(part, str) and part in value:
                value = value[part]
            case list() if isinstance(part, int) and 0 <= part < len(value):
                value = value[part]
            case _:
                reached = ".".join(str(p) for p in reference.path[:depth])
                raise ExpressionFailed(
                    f"${{{reference.source}}}: {reached} is"
                    f" {type_name(value)} without {part!r}"
                )
        depth += 1
    return value


def _root(reference: Reference, scope: Scope) -> tuple[JsonValue, int]:
    """The value that a path starts in, and how many of its parts that took."""
    if reference.path[0] == "input":
        return from_payload(scope.input, "input"), 1
    match reference.path:
        case ("steps", str(step_id), "output", *_):
            output = scope.outputs.get(step_id)
            if output is not None:
                return from_payload(output, f"steps.{step_id}.output"), 3
        case ("saga", *_):
            return dict(scope.saga), 1
        case ("item", *_) if scope.item is not None:
            return scope.item.value, 1
        case ("index", *_) if scope.item is not None:
            return scope.item.index, 1
        case _:
            pass
    raise ExpressionFailed(f"${{{reference.source}}}: there is no such value")


def _as_text(part: Reference | Computed, scope: Scope) -> str:
    value = _value(part, scope)
    match value:
        case str():
            return value
        case None | bool() | int() | float():
            return json.dumps(value)
        case _:
            raise ExpressionFailed(
                f"${{{part.source}}} is {type_name(value)}; only a text, number,"
                " boolean or null can stand inside text"
            )


def type_name(value: JsonValue) -> str:
    """What a value is, for messages that must not show it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return f"a list of {len(value)}"
        case _:
            return "a map"
