"""A YAML text as a tree with places: what the reader makes and the checks read."""

from dataclasses import dataclass, field
from typing import TypeAlias

from coordinator.core.definition import JsonScalar, JsonValue


@dataclass(slots=True)
class Scalar:
    """Text, a number, a truth value or nothing.

    Attributes:
        at: offset of its first character.
        value: as YAML 1.2's core schema resolves it.
        raw: as written, when it was written without quotes.
    """

    at: int
    value: JsonScalar
    raw: str = ""


@dataclass(slots=True)
class ListNode:
    """A list."""

    at: int
    items: "list[Node]" = field(default_factory=list)


@dataclass(slots=True)
class MapNode:
    """A map.

    Attributes:
        entries: the values by key.
        key_at: the offset of each key.
    """

    at: int
    entries: "dict[str, Node]" = field(default_factory=dict)
    key_at: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Broken:
    """Stands where a finding was already noted; nothing more is said about it."""

    at: int


Node: TypeAlias = Scalar | ListNode | MapNode | Broken


def to_json(node: Node) -> JsonValue:
    """The bare value; what is broken becomes nothing."""
    match node:
        case Scalar():
            return node.value
        case ListNode():
            return [to_json(item) for item in node.items]
        case MapNode():
            return {key: to_json(item) for key, item in node.entries.items()}
        case Broken():
            return None
