"""Checks a tree against the tables of the language, and keeps what is right.

What is wrong is noted and left out, so that the checks behind can go on with the
rest and all findings come at once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple, TypeVar, assert_never

from coordinator.core.durations import format_duration, parse_duration
from coordinator.saga_yaml import cel
from coordinator.saga_yaml.findings import Code, Findings, shown
from coordinator.saga_yaml.input_schema import check_schema
from coordinator.saga_yaml.language import (
    IDENTIFIER,
    KINDS,
    LABELS_MAX,
    METADATA_BYTES_MAX,
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
from coordinator.saga_yaml.tree import Broken, ListNode, MapNode, Node, Scalar

T = TypeVar("T")


@dataclass(slots=True)
class Fields:
    """The accepted entries of a map with known keys.

    Attributes:
        at: the place of the map.
        node: the map as it was read, right or wrong; empty when there was none.
        kind: which of the keys it has of which exactly one is there; or empty.
    """

    at: int
    node: MapNode
    kind: str = ""
    values: dict[str, object] = field(default_factory=dict)

    def get(self, key: str, kind: type[T], default: T) -> T:
        """The entry, when it is there and right."""
        value = self.values.get(key)
        return value if isinstance(value, kind) else default

    def fields(self, key: str) -> "Fields":
        """A map inside; empty when it is not there."""
        value = self.values.get(key)
        return value if isinstance(value, Fields) else _nothing(self.at)

    def tree(self, key: str) -> Node | None:
        """The tree of an accepted entry."""
        value = self.values.get(key)
        return value if isinstance(value, Scalar | ListNode | MapNode) else None

    def place(self, key: str) -> int:
        """Where the value stands, or else the key, or else the map."""
        node = self.node.entries.get(key)
        return node.at if node else self.node.key_at.get(key, self.at)


def _nothing(at: int) -> Fields:
    return Fields(at, MapNode(at))


class Placed(NamedTuple):
    """An item of a list of texts, with its place."""

    text: str
    at: int


def check_shape(node: Node, shape: Shape, findings: Findings) -> Fields:
    """The accepted part of a map; everything else is noted."""
    if not isinstance(node, MapNode):
        if not isinstance(node, Broken):
            findings.add(
                node.at,
                Code.WRONG_TYPE,
                f"{shape.name} must be a map, not {kind(node)}",
            )
        return Fields(node.at, MapNode(node.at))
    kinds = [name for name in node.entries if name in shape.kinds]
    fields = Fields(node.at, node, kinds[0] if kinds else "")
    meant: set[str] = set()
    for name, value in node.entries.items():
        key = shape.keys.get(name)
        if key is None:
            meant.add(_unknown(name, node.key_at[name], shape, findings))
        elif name in kinds[1:]:
            message = (
                f"a {shape.name} does one thing, and this one has {kinds[0]!r} already;"
                f" make {name!r} a step of its own, or drop it"
            )
            findings.add(node.key_at[name], Code.TWO_KINDS, message)
        elif reason := _misfit(key, fields):
            message = f"{name!r} does not fit here: {reason}; drop it"
            findings.add(node.key_at[name], Code.DOES_NOT_FIT, message)
        else:
            accepted = _check_key(name, key, fields.kind, value, findings)
            if accepted is not None:
                fields.values[name] = accepted
    for name in shape.required:
        if name not in node.entries and name not in meant:
            about = _lowered(shape.keys[name].about)
            message = f"{shape.name} has no {name!r}: {about}"
            findings.add(node.at, Code.MISSING_KEY, message)
    if shape.kinds and not kinds and not meant.intersection(shape.kinds):
        message = f"{shape.name} does nothing; give it one of {', '.join(shape.kinds)}"
        findings.add(node.at, Code.MISSING_KEY, message)
    return fields


def _misfit(key: Key, fields: Fields) -> str:
    """Why a known key has no meaning in this map; empty when it has."""
    if key.beside and key.beside not in fields.node.entries:
        return f"it has a meaning beside {key.beside!r} only"
    return key.misfits.get(fields.kind, "")


def kind(node: Node) -> str:
    """What a node is, for people."""
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a map"
        case Scalar(value=str()):
            return "text"
        case Scalar(value=bool()):
            return f"the truth value {node.raw}"
        case Scalar(value=None) | Broken():
            return "nothing"
        case Scalar():
            return f"the number {node.raw}"
        case _:
            assert_never(node)


def _lowered(about: str) -> str:
    return about[0].lower() + about[1:].rstrip(".")


def _unknown(name: str, at: int, shape: Shape, findings: Findings) -> str:
    """Note a key that is not known; the known key in whose place it stands."""
    if name in shape.refused:
        message = f"{shape.name} has no {name!r}: {shape.refused[name]}"
        findings.add(at, Code.UNKNOWN_KEY, message)
        return shape.kinds[0] if name in KINDS else ""
    meant = findings.nearest(name, shape.keys)
    known = "" if meant else f"; known are {', '.join(shape.keys)}"
    message = f"unknown key {shown(name)} in {shape.name}{known}"
    findings.add(at, Code.UNKNOWN_KEY, message, meant)
    return meant


def _check_key(
    name: str, key: Key, kind_of_step: str, node: Node, findings: Findings
) -> object:
    if isinstance(node, Broken):
        return None
    if isinstance(node, Scalar):
        if node.value is None:
            message = f"{name!r} has no value; give one, or drop the key"
            findings.add(node.at, Code.WRONG_TYPE, message)
            return None
        if key.word and isinstance(node.value, str):
            if node.value == key.word:
                return key.word
            message = (
                f"{name!r} is a map or the word {key.word}, not {shown(node.value)}"
            )
            findings.add(node.at, Code.WRONG_VALUE, message)
            return None
    return _check(name, key.of_kind.get(kind_of_step, key.type), node, findings)


def _check(name: str, kind_of: Type, node: Node, findings: Findings) -> object:
    match kind_of:
        case Text():
            return _text(name, kind_of, node, findings)
        case Choice():
            return _choice(name, kind_of, node, findings)
        case Number():
            return _number(name, kind_of, node, findings)
        case Flag():
            return _flag(name, node, findings)
        case Duration():
            return _duration(name, kind_of, node, findings)
        case ListOf():
            return _list(name, kind_of, node, findings)
        case Labels():
            return _labels(name, kind_of, node, findings)
        case JsonSchema():
            return node if check_schema(node, findings) else None
        case Templated():
            return _templated(name, kind_of, node, findings)
        case Shape():
            return check_shape(node, kind_of, findings)
        case _:
            assert_never(kind_of)


def _wrong_type(name: str, expected: str, node: Node, findings: Findings) -> None:
    if isinstance(node, Broken):
        return
    quote = ""
    if isinstance(node, Scalar) and node.raw and not isinstance(node.value, str):
        quote = f'; to make it text, quote it: "{node.raw}"'
    message = f"{name!r} must be {expected}, not {kind(node)}"
    findings.add(
        node.at,
        Code.WRONG_TYPE,
        message + (quote if expected.startswith("text") else ""),
    )


def _text(name: str, form: Text, node: Node, findings: Findings) -> str | None:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        _wrong_type(name, f"text ({form.what})", node, findings)
        return None
    if _compiled(form.pattern).fullmatch(node.value):
        return node.value
    message = f"{name!r} must be {form.what}, not {shown(node.value)}"
    if "${" in node.value:
        message += "; no expression is possible here"
    findings.add(node.at, Code.WRONG_VALUE, message)
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


def _choice(name: str, choice: Choice, node: Node, findings: Findings) -> str | None:
    expected = " or ".join(choice.values)
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        _wrong_type(name, f"text ({expected})", node, findings)
        return None
    if node.value in choice.values:
        return node.value
    message = f"{name!r} must be {expected}, not {shown(node.value)}"
    findings.add(node.at, Code.WRONG_VALUE, message)
    return None


def _number(
    name: str, bounds: Number, node: Node, findings: Findings
) -> int | float | None:
    expected = "a whole number" if bounds.whole else "a number"
    value = node.value if isinstance(node, Scalar) else None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (bounds.whole and not isinstance(value, int))
    ):
        _wrong_type(name, expected, node, findings)
        return None
    if bounds.minimum <= value <= bounds.maximum:
        return value if bounds.whole else float(value)
    message = (
        f"{name!r} must be {expected} from {bounds.minimum:,} to {bounds.maximum:,}, "
        f"not {value}"
    )
    findings.add(node.at, Code.WRONG_VALUE, message)
    return None


def _flag(name: str, node: Node, findings: Findings) -> bool | None:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    _wrong_type(name, "true or false", node, findings)
    return None


def _duration(
    name: str, bounds: Duration, node: Node, findings: Findings
) -> int | Node | None:
    forms = "250ms, 30s, 5m, 2h, 1d or ISO 8601 such as PT30S"
    if not isinstance(node, Scalar):
        _wrong_type(name, f"a duration such as {forms}", node, findings)
        return None
    if not isinstance(node.value, str):
        raw = node.raw or str(node.value)
        suggestion = f"{raw}s" if type(node.value) is int else ""
        message = f"{name!r} must be a duration with its unit ({forms}), not bare {raw}"
        findings.add(node.at, Code.WRONG_DURATION, message, suggestion)
        return None
    if bounds.or_text and "${" in node.value:
        return node
    duration = parse_duration(node.value)
    if duration is None:
        message = f"{name!r} must be a duration ({forms}), not {shown(node.value)}"
        findings.add(node.at, Code.WRONG_DURATION, message)
        return None
    if 1 <= duration <= bounds.maximum_ms:
        return duration
    message = (
        f"{name!r} must be from 1ms to {format_duration(bounds.maximum_ms)}, "
        f"not {shown(node.value)}"
    )
    findings.add(node.at, Code.WRONG_DURATION, message)
    return None


def _list(name: str, form: ListOf, node: Node, findings: Findings) -> object:
    if not isinstance(node, ListNode):
        _wrong_type(name, "a list", node, findings)
        return None
    if len(node.items) > form.item_max:
        at = node.items[form.item_max].at
        message = f"{name!r} has more than {form.item_max:,} items; split the saga"
        findings.add(at, Code.OVER_LIMIT, message)
    if len(node.items) < form.item_min:
        findings.add(node.at, Code.WRONG_VALUE, f"{name!r} is empty; give an item")
    items = node.items[: form.item_max]
    if isinstance(form.item, Shape):
        return [check_shape(item, form.item, findings) for item in items]
    pattern = _compiled(form.item.pattern)
    placed = []
    for item in items:
        value = item.value if isinstance(item, Scalar) else None
        if isinstance(value, str) and pattern.fullmatch(value):
            placed.append(Placed(value, item.at))
        else:
            _text(name, form.item, item, findings)
    return placed


def _labels(
    name: str, form: Labels, node: Node, findings: Findings
) -> dict[str, str] | None:
    if not isinstance(node, MapNode):
        _wrong_type(name, "a map of names to texts", node, findings)
        return None
    labels: dict[str, str] = {}
    for label, value in node.entries.items():
        at = node.key_at[label]
        if not _compiled(IDENTIFIER).fullmatch(label):
            message = f"a label must be {IDENTIFIER}, not {shown(label)}"
            findings.add(at, Code.WRONG_VALUE, message)
        elif not isinstance(value, Scalar) or not isinstance(value.value, str):
            _wrong_type(label, "text (the value of a label)", value, findings)
        elif len(value.value) > form.value_max:
            message = f"the label {label!r} is longer than {form.value_max} characters"
            findings.add(value.at, Code.OVER_LIMIT, message)
        else:
            labels[label] = value.value
    size = sum(
        len(key) + len(value.encode("utf-8", "surrogatepass"))
        for key, value in labels.items()
    )
    if len(labels) > LABELS_MAX or size > METADATA_BYTES_MAX:
        message = (
            f"more than {LABELS_MAX} labels or {METADATA_BYTES_MAX:,} bytes of them"
        )
        findings.add(node.at, Code.OVER_LIMIT, message)
        return None
    return labels


_NODES: Final[Mapping[Form, type[Node]]] = {Form.MAP: MapNode, Form.LIST: ListNode}


def _templated(
    name: str, template: Templated, node: Node, findings: Findings
) -> Node | None:
    form = template.form
    if form is Form.ANY or isinstance(node, _NODES.get(form, Broken)):
        return node
    value = node.value if isinstance(node, Scalar) else None
    if form is Form.CONDITION and isinstance(value, bool):
        return node
    if isinstance(value, str) and value.startswith("${"):
        return node
    expected = f"{form}, or one expression that yields it"
    if not isinstance(value, str) or "${" in value:
        _wrong_type(name, expected, node, findings)
        return None
    message = f"{name!r} must be {expected}, not text; an expression stands in ${{ }}"
    suggestion = f"${{{value}}}" if _could_be_expression(value) else ""
    findings.add(node.at, Code.WRONG_TYPE, message, suggestion)
    return None


def _could_be_expression(text: str) -> bool:
    """Whether it reads what there is, and has only lost its ``${ }``."""
    try:
        return bool(cel.facts_of(cel.parse(text)[0]).roots)
    except cel.Mistake:
        return False
