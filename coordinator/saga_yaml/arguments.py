"""Whether what a step sends can be what the called operation takes, by its schema."""

from collections.abc import Mapping
from typing import assert_never

from coordinator.core.definition import (
    Computed,
    Constant,
    Interpolation,
    Reference,
    Template,
    TemplateList,
    TemplateMap,
)
from coordinator.core.model import Operation
from coordinator.saga_yaml.findings import Code, Findings, shown
from coordinator.saga_yaml.known_types import (
    ANYTHING,
    Known,
    Missing,
    Schema,
    decoded,
    fields_of,
    find,
    items_of,
    misfit,
    required_of,
    type_name,
    types_of,
)
from coordinator.saga_yaml.tree import Broken, ListNode, MapNode, Node, to_json


def known_of(
    input_schema: Node | None,
    called: Mapping[str, str],
    operations: Mapping[str, Operation] | None,
) -> Known:
    """What schemas tell about the input and the outputs of a saga's steps.

    Args:
        called: step id to the operation whose output the step has.
    """
    outputs = {}
    for step_id, name in called.items():
        if operations and name in operations and operations[name].output_schema:
            outputs[step_id] = decoded(operations[name].output_schema)
    schema = to_json(input_schema) if input_schema is not None else None
    return Known(schema if isinstance(schema, dict) else ANYTHING, outputs)


def check_argument(
    node: Node, template: Template, schema: Schema, known: Known, findings: Findings
) -> None:
    """Note where a value can never be what the schema asks for.

    Args:
        node: as it is written.
        template: what it became.
        schema: what the operation takes.
        known: what is known of the values that expressions read.
    """
    if isinstance(node, Broken) or not schema:
        return
    if problem := misfit(_types(template, known), schema):
        findings.add(node.at, Code.TYPE_MISMATCH, problem)
    elif isinstance(node, MapNode):
        _check_map(node, template, schema, known, findings)
    elif isinstance(node, ListNode):
        items = items_of(schema)
        for place, item in enumerate(node.items):
            check_argument(item, _item(template, place), items, known, findings)


def _check_map(
    node: MapNode, template: Template, schema: Schema, known: Known, findings: Findings
) -> None:
    fields, is_open = fields_of(schema)
    for name, item in node.entries.items():
        if name in fields:
            part = _field(template, name)
            check_argument(item, part, fields[name], known, findings)
        elif not is_open:
            message = f"the operation takes no field {shown(name)}"
            nearest = findings.nearest(name, fields)
            findings.add(node.key_at[name], Code.NO_SUCH_FIELD, message, nearest)
    missing = [name for name in required_of(schema) if name not in node.entries]
    if missing:
        message = f"the operation needs the field {shown(missing[0])}; write it"
        findings.add(node.at, Code.TYPE_MISMATCH, message)


def _field(template: Template, name: str) -> Template:
    match template:
        case TemplateMap(entries):
            return dict(entries)[name]
        case Constant(dict() as value):
            return Constant(value[name])
        case _:
            return template


def _item(template: Template, place: int) -> Template:
    match template:
        case TemplateList(items):
            return items[place]
        case Constant(list() as value):
            return Constant(value[place])
        case _:
            return template


def _types(template: Template, known: Known) -> frozenset[str]:
    """The types that a template may have."""
    match template:
        case Constant(value):
            return frozenset({type_name(value)})
        case Reference(path):
            found = find(known, path)
            return types_of(ANYTHING if isinstance(found, Missing) else found)
        case Computed():
            return types_of(ANYTHING)
        case Interpolation():
            return frozenset({"string"})
        case TemplateList():
            return frozenset({"array"})
        case TemplateMap():
            return frozenset({"object"})
        case _:
            assert_never(template)
