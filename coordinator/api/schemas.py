"""Whether two JSON Schemas of one operation say the same, however they are written.

Schemas by hand, of msgspec and of pydantic differ in words for people, in the order of
lists that have none, and in what they keep under ``$defs``. None of it changes which
values fit. Anything else is compared as it is written: two schemas that this calls the
same are the same, two that mean the same in another way may be called different.
"""

import json
from collections.abc import Mapping
from typing import Final

from coordinator.core.definition import JsonValue

DEPTH_MAX: Final = 32
"""Of references inside one another; what goes deeper is compared as it is written."""

NODES_MAX: Final = 20_000
"""Of one schema, its references followed; few references could else mean very many."""

_WORDS: Final = frozenset(
    {
        "$comment",
        "$defs",
        "$schema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "examples",
        "title",
    }
)
"""Keywords that refuse no value."""

_UNORDERED: Final = frozenset({"enum", "required", "type"})
_NAMED: Final = frozenset({"dependentSchemas", "patternProperties", "properties"})
"""Keywords whose keys are no keywords."""

_LITERAL: Final = frozenset({"const", "enum", "required", "type"})
"""Keywords whose values are no schemas."""


def same_schema(one: str, other: str) -> bool:
    """Whether both texts, each one JSON value, say the same of a value."""
    if one == other:
        return True
    try:
        return _Meaning(json.loads(one)).text() == _Meaning(json.loads(other)).text()
    except _TooLarge:
        return bool(json.loads(one) == json.loads(other))


class _TooLarge(Exception):
    """With its references followed, the schema is too large to compare."""


class _Meaning:
    """A schema without what refuses no value, its own references followed."""

    def __init__(self, schema: JsonValue) -> None:
        self._schema = schema
        self._left = NODES_MAX

    def text(self) -> str:
        """One text for all schemas that say the same."""
        return json.dumps(self._schema_of(self._schema, ()), sort_keys=True)

    def _schema_of(self, schema: JsonValue, within: tuple[str, ...]) -> JsonValue:
        self._left -= 1
        if self._left < 0:
            raise _TooLarge
        if isinstance(schema, list):
            return [self._schema_of(item, within) for item in schema]
        if not isinstance(schema, dict):
            return schema
        reference = schema.get("$ref")
        rest = {k: v for k, v in schema.items() if k not in _WORDS and k != "$ref"}
        if isinstance(reference, str) and not rest:
            target = self._target(reference)
            # What contains itself can only be compared as it is written.
            if target is not None and reference not in within:
                if len(within) == DEPTH_MAX:
                    raise _TooLarge
                return self._schema_of(target, (*within, reference))
        meant = {key: self._keyword(key, rest[key], within) for key in rest}
        return {**meant, "$ref": reference} if reference is not None else meant

    def _keyword(
        self, key: str, value: JsonValue, within: tuple[str, ...]
    ) -> JsonValue:
        if key in _UNORDERED and isinstance(value, list):
            return sorted(value, key=_text)
        if key in _LITERAL:
            return value
        if key in _NAMED and isinstance(value, dict):
            return {name: self._schema_of(of, within) for name, of in value.items()}
        return self._schema_of(value, within)

    def _target(self, reference: str) -> JsonValue:
        """What a reference into the same schema means; ``None`` for any other."""
        root, *path = reference.split("/")
        found: JsonValue = self._schema
        if root != "#":
            return None
        for part in path:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                return None
            found = found[name]
        return found


def _text(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)
