"""The schema of a saga's input: the part of JSON Schema that is understood here.

A keyword that is not understood is a finding, so that no schema promises a check
that nobody makes.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

from coordinator.core.definition import (
    Constant,
    JsonValue,
    Template,
    TemplateList,
    TemplateMap,
)
from coordinator.saga_yaml.findings import Code, Findings, shown
from coordinator.saga_yaml.language import KEYWORDS
from coordinator.saga_yaml.tree import Broken, ListNode, MapNode, Node, Scalar

PROBLEMS_MAX: Final = 20


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return _is_number(value)


_TYPES: Final[Mapping[str, Callable[[JsonValue], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": _is_integer,
    "number": _is_number,
}


def check_schema(node: Node, findings: Findings) -> bool:
    """Whether the schema is understood; everything else is noted."""
    if isinstance(node, Broken):
        return False
    if not isinstance(node, MapNode):
        message = "a schema must be a map such as {type: object}"
        findings.add(node.at, Code.WRONG_TYPE, message)
        return False
    is_right = True
    for name, value in node.entries.items():
        holds = KEYWORDS.get(name)
        if holds is None:
            nearest = findings.nearest(name, KEYWORDS)
            message = f"the JSON Schema keyword {shown(name)} is not available"
            at = node.key_at[name]
            findings.add(at, Code.NOT_AVAILABLE, f"{message} in this version", nearest)
            is_right = False
        elif not isinstance(value, Broken):
            is_right &= _check_keyword(name, holds, value, findings)
    return is_right


def _check_keyword(name: str, holds: str, node: Node, findings: Findings) -> bool:
    if holds == "schema":
        return check_schema(node, findings)
    if holds == "schemas" and isinstance(node, MapNode):
        checked = [check_schema(item, findings) for item in node.entries.values()]
        return all(checked)
    if _holds(holds, node):
        if name != "type" or not (unknown := _unknown_type(node)):
            return True
        message = f"no JSON type is called {shown(unknown.raw or str(unknown.value))}"
        nearest = findings.nearest(str(unknown.value), _TYPES)
        findings.add(unknown.at, Code.WRONG_VALUE, message, nearest)
        return False
    expected = {
        "names": "the name of a JSON type, or a list of names",
        "texts": "a list of texts",
        "schemas": "a map of names to schemas",
        "boolean": "true or false",
        "values": "a list",
        "number": "a number",
        "count": "a whole number from 0",
        "text": "text",
    }[holds]
    findings.add(node.at, Code.WRONG_TYPE, f"{name!r} in a schema must be {expected}")
    return False


def _holds(holds: str, node: Node) -> bool:
    value = node.value if isinstance(node, Scalar) else None
    match holds:
        case "value":
            return True
        case "values":
            return isinstance(node, ListNode)
        case "text":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return _is_number(value)
        case "count":
            return type(value) is int and value >= 0
        case "texts":
            return isinstance(node, ListNode) and _are_texts(node)
        case "names":
            return isinstance(value, str) or (
                isinstance(node, ListNode) and bool(node.items) and _are_texts(node)
            )
        case _:
            return False


def _are_texts(node: ListNode) -> bool:
    return all(isinstance(i, Scalar) and isinstance(i.value, str) for i in node.items)


def _unknown_type(node: Node) -> Scalar | None:
    names = node.items if isinstance(node, ListNode) else [node]
    for name in names:
        if isinstance(name, Scalar) and name.value not in _TYPES:
            return name
    return None


def find_input_problems(schema: str, value: JsonValue) -> tuple[str, ...]:
    """What is wrong with a saga's input, each with the path of the field.

    Args:
        schema: ``SagaDefinition.input_schema``; empty accepts everything.
        value: the decoded input.

    Returns:
        At most 20 messages that name fields and types, never values.
    """
    if not schema:
        return ()
    problems: list[str] = []
    _validate(json.loads(schema), value, "input", problems)
    return tuple(problems[:PROBLEMS_MAX])


class _Anything(str):
    """Stands for what an expression will yield: right wherever it stands."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


def find_template_problems(schema: str, template: Template) -> tuple[str, ...]:
    """What is wrong with a template for every value that its expressions may yield.

    Like :func:`find_input_problems`; what is known only at run time is taken as right.
    """
    return find_input_problems(schema, _known_part(template))


def _known_part(template: Template) -> JsonValue:
    match template:
        case Constant(value):
            return value
        case TemplateList(items):
            return [_known_part(item) for item in items]
        case TemplateMap(entries):
            return {name: _known_part(item) for name, item in entries}
        case _:
            return _Anything()


def _validate(
    schema: JsonValue, value: JsonValue, path: str, problems: list[str]
) -> None:
    if not isinstance(schema, dict) or len(problems) >= PROBLEMS_MAX:
        return
    if isinstance(value, _Anything):
        return
    names = schema.get("type", list(_TYPES))
    names = names if isinstance(names, list) else [names]
    if not any(_TYPES[str(name)](value) for name in names):
        expected = " or ".join(map(str, names))
        problems.append(f"{path} must be {expected}, not {_type_name(value)}")
        return
    if "const" in schema and not _same(schema["const"], value):
        problems.append(f"{path} must be {shown(json.dumps(schema['const']))}")
    allowed = schema.get("enum")
    if isinstance(allowed, list) and not any(_same(item, value) for item in allowed):
        problems.append(f"{path} must be one of {shown(json.dumps(allowed))}")
    if isinstance(value, dict):
        _validate_object(schema, value, path, problems)
    elif isinstance(value, list):
        _bound(schema, "Items", len(value), f"{path} must have", "items", problems)
        for index, item in enumerate(value):
            _validate(schema.get("items"), item, f"{path}[{index}]", problems)
    elif isinstance(value, str):
        what = f"{path} must have"
        _bound(schema, "Length", len(value), what, "characters", problems)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _validate_number(schema, value, path, problems)


def _validate_object(
    schema: dict[str, JsonValue],
    value: dict[str, JsonValue],
    path: str,
    problems: list[str],
) -> None:
    required = schema.get("required")
    if isinstance(required, list):
        missing = (name for name in required if name not in value)
        problems.extend(f"{path}.{name} is missing" for name in missing)
    declared = schema.get("properties")
    properties = declared if isinstance(declared, dict) else {}
    for name, item in value.items():
        if name in properties:
            _validate(properties[name], item, f"{path}.{name}", problems)
        elif schema.get("additionalProperties") is False:
            problems.append(f"{path} has no field {shown(name)}")


def _validate_number(
    schema: dict[str, JsonValue], value: float, path: str, problems: list[str]
) -> None:
    bounds: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
        ("minimum", "at least", lambda v, bound: v >= bound),
        ("maximum", "at most", lambda v, bound: v <= bound),
        ("exclusiveMinimum", "more than", lambda v, bound: v > bound),
        ("exclusiveMaximum", "less than", lambda v, bound: v < bound),
    )
    for keyword, words, holds in bounds:
        bound = schema.get(keyword)
        if isinstance(bound, int | float) and not holds(value, bound):
            problems.append(f"{path} must be {words} {bound}")


def _bound(
    schema: dict[str, JsonValue],
    suffix: str,
    count: int,
    what: str,
    unit: str,
    problems: list[str],
) -> None:
    least, most = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    if isinstance(least, int) and count < least:
        problems.append(f"{what} at least {least} {unit}")
    if isinstance(most, int) and count > most:
        problems.append(f"{what} at most {most} {unit}")


def _same(one: JsonValue, other: JsonValue) -> bool:
    """Equality of JSON values: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def _type_name(value: JsonValue) -> str:
    return next(name for name, holds in _TYPES.items() if holds(value))
