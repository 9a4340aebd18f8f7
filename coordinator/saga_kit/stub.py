"""Values that fit a JSON Schema, and outputs that fit what a saga reads of them."""

import re
from collections.abc import Iterator, Mapping

from coordinator.core.definition import (
    Computed,
    Interpolation,
    JsonValue,
    Reference,
    SagaDefinition,
    Step,
    Template,
    TemplateList,
    TemplateMap,
)

DEPTH_MAX = 16
"""Schemas may be recursive; a value has to end."""

_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT30S",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "someone@example.com",
    "uri": "https://example.com/",
}
_READ = re.compile(r"steps(?:\.(\w+)|\[['\"]([\w-]+)['\"]\])\.output((?:\.\w+)*)")


def stub(schema: JsonValue, depth: int = 0) -> JsonValue:
    """A value that fits a schema, small; ``{}`` when the schema says nothing."""
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return {}
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if first := _first(schema, key):
            return first[0]
    for key in ("allOf", "anyOf", "oneOf"):
        if "type" not in schema and (first := _first(schema, key)):
            return stub(first[0], depth + 1)
    return _of_type(schema, depth)


def _first(schema: Mapping[str, JsonValue], key: str) -> list[JsonValue]:
    values = schema.get(key)
    return values[:1] if isinstance(values, list) else []


def _of_type(schema: Mapping[str, JsonValue], depth: int) -> JsonValue:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    match kind:
        case "string":
            return _text(schema)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            count = schema.get("minItems", 1)
            items = count if isinstance(count, int) else 1
            return [stub(schema.get("items"), depth + 1)] * max(1, min(items, 100))
        case _:
            return _map(schema, depth)


def _text(schema: Mapping[str, JsonValue]) -> str:
    form = schema.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    shortest = schema.get("minLength")
    return "text".ljust(shortest if isinstance(shortest, int) else 0, "x")


def _number(schema: Mapping[str, JsonValue]) -> JsonValue:
    for key, more in (("minimum", 0), ("exclusiveMinimum", 1), ("maximum", 0)):
        limit = schema.get(key)
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            return limit + more
    return 1


def _map(schema: Mapping[str, JsonValue], depth: int) -> JsonValue:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: stub(inner, depth + 1) for name, inner in properties.items()}


def read_outputs(definition: SagaDefinition) -> dict[str, JsonValue]:
    """For each step whose output is read: a map with all that is read of it.

    A plain path is given a text, what is computed with a number. Keys are the steps'
    ids, and ``parent:step`` in child sagas.
    """
    found: dict[str, JsonValue] = {}
    for prefix, template in _templates(definition, ""):
        for step_id, path, value in _reads(template):
            at = found.setdefault(prefix + step_id, {})
            for part in path[:-1]:
                at = at.setdefault(part, {}) if isinstance(at, dict) else {}
            if path and isinstance(at, dict):
                at.setdefault(path[-1], value)
    return found


def step_name(branch_id: str) -> str:
    """The step of a branch, as :func:`read_outputs` names it.

    Items of lists and fallbacks have no name of their own.
    """
    parts = branch_id.split(":")
    return ":".join(
        part
        for place, part in enumerate(parts)
        if not place or not (part.isdecimal() or part.startswith("fallback-"))
    )


def _reads(template: Template) -> Iterator[tuple[str, list[str], JsonValue]]:
    match template:
        case Reference(("steps", str(step_id), "output", *path)):
            names = [part for part in path if isinstance(part, str)]
            if len(names) == len(path):
                yield step_id, names, f"{step_id}-{names[-1]}" if names else ""
        case Computed(source):
            for plain, quoted, path in _READ.findall(source):
                yield plain or quoted, [p for p in path.split(".") if p], 1
        case Interpolation(parts):
            for part in parts:
                if not isinstance(part, str):
                    yield from _reads(part)
        case TemplateList(items):
            for item in items:
                yield from _reads(item)
        case TemplateMap(entries):
            for _, item in entries:
                yield from _reads(item)


def _templates(
    definition: SagaDefinition, prefix: str
) -> Iterator[tuple[str, Template]]:
    for step in definition.steps:
        for template in _templates_of(step):
            yield prefix, template
        if step.child is not None:
            yield from _templates(step.child, f"{prefix}{step.step_id}:")
    if definition.output is not None:
        yield prefix, definition.output


def _templates_of(step: Step) -> Iterator[Template]:
    own = (step.input, step.wait, step.condition)
    for template in (*own, step.for_each.items if step.for_each else None):
        if template is not None:
            yield template
    for call in step.calls:
        yield call.input
        if call.compensation is not None and call.compensation.input is not None:
            yield call.compensation.input
