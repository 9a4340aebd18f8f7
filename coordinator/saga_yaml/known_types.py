"""What JSON Schemas tell about the values that a saga passes on, before it runs.

Cautious: a schema says no only where it certainly does. Keywords that are not
understood, and schemas that are combined, allow everything. Pure functions over
decoded schemas.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from coordinator.core.definition import JsonValue

Schema: TypeAlias = Mapping[str, JsonValue]

ANYTHING: Final[Schema] = {}
SCHEMA_BYTES_MAX: Final = 256 * 1024
_COMBINED: Final = frozenset(
    {"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties"}
)
_TYPES: Final = frozenset(
    {"null", "boolean", "integer", "number", "string", "array", "object"}
)
_NAMED: Final = {
    "null": "null",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "a map",
}
KINDS: Final[Mapping[str, str]] = {
    "null": "null",
    "a boolean": "boolean",
    "an integer": "integer",
    "a double": "number",
    "a text": "string",
    "a list": "array",
    "a map": "object",
}
"""What expressions call a type, and what JSON Schema calls it."""


@dataclass(frozen=True, slots=True)
class Known:
    """Schemas of what expressions may read.

    Attributes:
        input: of the saga.
        outputs: step id to the schema of its output, where there is one.
    """

    input: Schema = field(default_factory=dict)
    outputs: Mapping[str, Schema] = field(default_factory=dict)

    def below(self, path: Sequence[str | int]) -> tuple[Schema, int]:
        """The schema that a path starts in, and how many of its parts that takes."""
        match list(path):
            case ["input", *_]:
                return self.input, 1
            case ["steps", str(step_id), "output", *_]:
                return self.outputs.get(step_id, ANYTHING), 3
            case _:
                return ANYTHING, len(path)


NOTHING_KNOWN: Final = Known()


@dataclass(frozen=True, slots=True)
class Missing:
    """A path leads to what a schema excludes.

    Attributes:
        depth: which part of the path it is.
        message: what is wrong.
        fields: the fields that there are instead.
    """

    depth: int
    message: str
    fields: tuple[str, ...] = ()


def decoded(text: str) -> Schema:
    """A schema from its text; what is none allows everything."""
    if len(text) > SCHEMA_BYTES_MAX:
        return ANYTHING
    try:
        schema = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return ANYTHING
    return schema if isinstance(schema, dict) else ANYTHING


def types_of(schema: Schema) -> frozenset[str]:
    """The types that a schema allows; all of them when it does not tell."""
    if _COMBINED & schema.keys():
        return _TYPES
    written = schema.get("type")
    names = written if isinstance(written, list) else [written]
    known = frozenset(name for name in names if isinstance(name, str))
    return known & _TYPES if known and known <= _TYPES else _TYPES


def find(known: Known, path: Sequence[str | int]) -> Schema | Missing:
    """The schema of what a path leads to, or where it leads to nothing."""
    schema, start = known.below(path)
    for depth in range(start, len(path)):
        part = path[depth]
        wanted = "object" if isinstance(part, str) else "array"
        types = types_of(schema)
        if wanted not in types:
            reached = ".".join(map(str, path[:depth]))
            message = f"{reached} is {named(types)}, so there is no {part!r} below it"
            return Missing(depth, message)
        if _COMBINED & schema.keys():
            return ANYTHING
        if isinstance(part, int):
            schema = _inner(schema.get("items"))
            continue
        properties = _inner(schema.get("properties"))
        if part in properties:
            schema = _inner(properties[part])
        elif schema.get("additionalProperties") is False:
            reached = ".".join(map(str, path[:depth]))
            message = f"{reached} has no field {part[:60]!r}"
            return Missing(depth, message, tuple(properties))
        else:
            schema = _inner(schema.get("additionalProperties"))
    return schema


def _inner(schema: JsonValue) -> Schema:
    return schema if isinstance(schema, dict) else ANYTHING


def misfit(types: Iterable[str], schema: Schema) -> str:
    """Why no value of these types can be what a schema asks for; else empty."""
    wanted, given = types_of(schema), frozenset(types)
    widened = wanted | {"integer"} if "number" in wanted else wanted
    if "integer" in wanted:
        # A double without a fraction is an integer for JSON Schema.
        widened |= {"number"}
    if given & widened:
        return ""
    return f"{named(wanted)} is needed here, and this is {named(given)}"


def type_name(value: JsonValue) -> str:
    """What JSON Schema calls the type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def named(types: Iterable[str]) -> str:
    """Types as messages call them."""
    names = sorted(_NAMED[name] for name in types)
    return " or ".join(names)


def fields_of(schema: Schema) -> tuple[Mapping[str, Schema], bool]:
    """The fields that a map has by its schema, and whether it may have others."""
    if _COMBINED & schema.keys():
        return {}, True
    properties = _inner(schema.get("properties"))
    fields = {name: _inner(item) for name, item in properties.items()}
    return fields, schema.get("additionalProperties") is not False


def required_of(schema: Schema) -> tuple[str, ...]:
    """The fields that a map must have by its schema."""
    required = schema.get("required")
    if not isinstance(required, list):
        return ()
    return tuple(name for name in required if isinstance(name, str))


def items_of(schema: Schema) -> Schema:
    """What the items of a list are by its schema."""
    return ANYTHING if _COMBINED & schema.keys() else _inner(schema.get("items"))
