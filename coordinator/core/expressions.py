"""What ``${ }`` yields: templates of a definition, evaluated against stored values.

Total and bounded: a path is looked up, and a program is compiled to be so. A value
that is not there is an :class:`ExpressionFailed`, not a null.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from coordinator.core.definition import (
    Computed,
    Constant,
    Interpolation,
    JsonValue,
    Reference,
    Template,
    TemplateList,
    TemplateMap,
)
from coordinator.core.model import JSON_CONTENT_TYPE, Payload

CODE = "EXPRESSION"
"""The reason code of a saga that turns back because an expression failed."""


class ExpressionFailed(Exception):
    """An expression met a value that it cannot use.

    The message names the expression, how far it came and the type it met; never the
    value.
    """


@dataclass(frozen=True, slots=True)
class Scope:
    """What paths may read: only what is stored. Decoded when it is read.

    Attributes:
        input: of the saga.
        outputs: step id to the stored output of every step that answered.
        saga: ``gid`` and ``startedAt``.
    """

    input: Payload
    outputs: Mapping[str, Payload]
    saga: Mapping[str, JsonValue]


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
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Payload(text.encode(errors="surrogatepass"), JSON_CONTENT_TYPE)


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
        value: JsonValue = json.loads(payload.data)
    except (ValueError, RecursionError):
        raise ExpressionFailed(f"{what} is not valid JSON") from None
    return value


def _value(expression: Reference | Computed, scope: Scope) -> JsonValue:
    if isinstance(expression, Reference):
        return _look_up(expression, scope)
    return _compute(expression, scope)


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
    try:
        return expression.program(values)
    except ExpressionFailed as failure:
        raise ExpressionFailed(f"${{{expression.source}}}: {failure}") from None


def _look_up(reference: Reference, scope: Scope) -> JsonValue:
    value, depth = _root(reference, scope)
    for part in reference.path[depth:]:
        match value, part:
            case dict(), str() if part in value:
                value = value[part]
            case list(), int() if 0 <= part < len(value):
                value = value[part]
            case _:
                reached = ".".join(str(p) for p in reference.path[:depth])
                raise ExpressionFailed(
                    f"${{{reference.source}}}: {reached} is"
                    f" {_type_name(value)} without {part!r}"
                )
        depth += 1
    return value


def _root(reference: Reference, scope: Scope) -> tuple[JsonValue, int]:
    """The value that a path starts in, and how many of its parts that took."""
    match reference.path:
        case ("input", *_):
            return from_payload(scope.input, "input"), 1
        case ("steps", str(step_id), "output", *_) if step_id in scope.outputs:
            name = f"steps.{step_id}.output"
            return from_payload(scope.outputs[step_id], name), 3
        case ("saga", *_):
            return dict(scope.saga), 1
        case _:
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
                f"${{{part.source}}} is {_type_name(value)}; only a text, number,"
                " boolean or null can stand inside text"
            )


def _type_name(value: JsonValue) -> str:
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
