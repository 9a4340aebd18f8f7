"""The JSON Schema of the language, for editors: generated from the language's tables.

``python -m coordinator.saga_yaml.schema`` writes ``saga.schema.json`` anew.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, assert_never

from coordinator.core.definition import JsonValue
from coordinator.core.durations import DURATION_PATTERN
from coordinator.saga_yaml.language import (
    API_VERSION,
    FALLBACK,
    IDENTIFIER,
    KEYWORDS,
    LABELS_MAX,
    SAGA,
    Choice,
    Duration,
    Flag,
    Form,
    JsonSchema,
    Key,
    Labels,
    ListOf,
    Number,
    Shape,
    Templated,
    Text,
    Type,
)

SCHEMA_FILE: Final = Path(__file__).with_name("saga.schema.json")

_KEYWORD_SCHEMAS: Final[dict[str, JsonValue]] = {
    "names": {"type": ["string", "array"], "items": {"type": "string"}},
    "texts": {"type": "array", "items": {"type": "string"}},
    "schemas": {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/inputSchema"},
    },
    "schema": {"$ref": "#/$defs/inputSchema"},
    "boolean": {"type": "boolean"},
    "values": {"type": "array"},
    "value": {},
    "number": {"type": "number"},
    "count": {"type": "integer", "minimum": 0},
    "text": {"type": "string"},
}

_FORMS: Final[Mapping[Form, Mapping[str, JsonValue]]] = {
    Form.ANY: {},
    Form.MAP: {"type": ["object", "string"]},
    Form.LIST: {"type": ["array", "string"]},
    Form.CONDITION: {"type": ["boolean", "string"]},
}


def saga_schema() -> dict[str, JsonValue]:
    """The schema as JSON, draft 2020-12."""
    properties: dict[str, JsonValue] = {
        name: _KEYWORD_SCHEMAS[holds] for name, holds in KEYWORDS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Tercet saga ({API_VERSION})",
        **_shape(SAGA),
        "$defs": {
            "inputSchema": {
                "type": "object",
                "properties": properties,
                "additionalProperties": False,
            },
            FALLBACK.name: _shape(FALLBACK),
        },
    }


def schema_text() -> str:
    """The schema as it is shipped."""
    return json.dumps(saga_schema(), indent=2, ensure_ascii=False) + "\n"


def _shape(shape: Shape) -> dict[str, JsonValue]:
    schema: dict[str, JsonValue] = {
        "type": "object",
        "properties": {name: _key(key) for name, key in shape.keys.items()},
        "additionalProperties": False,
    }
    if shape.required:
        schema["required"] = list[JsonValue](shape.required)
    beside: dict[str, JsonValue] = {
        name: [key.beside] for name, key in shape.keys.items() if key.beside
    }
    if beside:
        schema["dependentRequired"] = beside
    if shape.kinds:
        schema["oneOf"] = [{"required": [kind]} for kind in shape.kinds]
        schema["allOf"] = [_without_misfits(shape, kind) for kind in shape.kinds]
    return schema


def _without_misfits(shape: Shape, kind: str) -> JsonValue:
    """Where this key is, those that do not fit are not."""
    misfits = [name for name, key in shape.keys.items() if kind in key.misfits]
    properties: dict[str, JsonValue] = dict.fromkeys(misfits, False)
    return {"if": {"required": [kind]}, "then": {"properties": properties}}


def _key(key: Key) -> JsonValue:
    about = f"{key.about} Default: {key.default}." if key.default else key.about
    schema = _type(key.type)
    if key.word:
        schema = {"anyOf": [{"const": key.word}, schema]}
    return {"description": about, **schema}


def _type(kind: Type) -> dict[str, JsonValue]:
    match kind:
        case Text():
            return {"type": "string", "pattern": f"^{kind.pattern}$"}
        case Choice():
            return {"enum": list[JsonValue](kind.values)}
        case Number():
            name = "integer" if kind.whole else "number"
            return {"type": name, "minimum": kind.minimum, "maximum": kind.maximum}
        case Flag():
            return {"type": "boolean"}
        case Duration():
            pattern = DURATION_PATTERN + r"|\$\{" * kind.or_text
            return {"type": "string", "pattern": pattern}
        case ListOf():
            item = _shape(kind.item) if isinstance(kind.item, Shape) else None
            return {
                "type": "array",
                "items": item or _type(kind.item),
                "minItems": kind.item_min,
                "maxItems": kind.item_max,
            }
        case Labels():
            return {
                "type": "object",
                "propertyNames": {"pattern": f"^{IDENTIFIER}$"},
                "additionalProperties": {"type": "string", "maxLength": kind.value_max},
                "maxProperties": LABELS_MAX,
            }
        case JsonSchema():
            return {"$ref": "#/$defs/inputSchema"}
        case Templated():
            return dict(_FORMS[kind.form])
        case Shape():
            return (
                {"$ref": f"#/$defs/{kind.name}"} if kind is FALLBACK else _shape(kind)
            )
        case _:
            assert_never(kind)


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text())
