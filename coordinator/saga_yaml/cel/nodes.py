"""The tree of an expression. Every node knows where it stands in its source."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from coordinator.core.definition import JsonScalar

LENGTH_MAX: Final = 4096
DEPTH_MAX: Final = 32
NODES_MAX: Final = 1000
HEIGHT_MAX: Final = 80
PATH_PARTS_MAX: Final = 32


class Mistake(Exception):
    """The expression is refused.

    Attributes:
        at: offset of the place in the source.
        message: what is wrong, what was expected and what to do.
        suggestion: what was probably meant, empty when nothing is likely.
    """

    def __init__(self, at: int, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.at = at
        self.message = message
        self.suggestion = suggestion


class NotReadable(Mistake):
    """It does not parse."""


class TypeMismatch(Mistake):
    """It can never be computed, because of the types in it."""


class WrongCall(Mistake):
    """It calls a function that there is not, or calls it wrongly."""


class OverLimit(Mistake):
    """It is too long or too deep."""


class UnknownName(Mistake):
    """It reads something that there is not."""


class DynamicStep(Mistake):
    """It reads a step whose id is computed, so that nobody can check it."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, text, truth value or null."""

    at: int
    value: JsonScalar


@dataclass(frozen=True, slots=True)
class Name:
    """A root such as ``input``, or the variable of a macro."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """``operand.field``; ``at`` is the place of the field's name."""

    at: int
    operand: "Node"
    field: str


@dataclass(frozen=True, slots=True)
class Index:
    """``operand[index]``; ``at`` is the place of the index."""

    at: int
    operand: "Node"
    index: "Node"


@dataclass(frozen=True, slots=True)
class Has:
    """``has(operand.field)``."""

    at: int
    field: "Select"


@dataclass(frozen=True, slots=True)
class Call:
    """``function(args)``, or ``target.function(args)``."""

    at: int
    function: str
    target: "Node | None"
    args: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Macro:
    """``target.all(variable, body)`` and its kin; ``condition`` is of ``map`` alone."""

    at: int
    kind: str
    target: "Node"
    variable: str
    body: "Node"
    condition: "Node | None" = None


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """``[a, b]``."""

    at: int
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """``{"name": value}``."""

    at: int
    entries: "tuple[tuple[Node, Node], ...]"


@dataclass(frozen=True, slots=True)
class Unary:
    """``!operand`` or ``-operand``."""

    at: int
    operator: str
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Link:
    """An operator with the operand to its right."""

    at: int
    operator: str
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators of one rank from left to right: ``a + b - c``, ``a < b``."""

    at: int
    first: "Node"
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Logic:
    """``a && b && c``, or the same with ``||``."""

    at: int
    operator: str
    operands: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Conditional:
    """``condition ? then : otherwise``."""

    at: int
    condition: "Node"
    then: "Node"
    otherwise: "Node"


Node: TypeAlias = (
    Literal
    | Name
    | Select
    | Index
    | Has
    | Call
    | Macro
    | ListLiteral
    | MapLiteral
    | Unary
    | Chain
    | Logic
    | Conditional
)


def path_of(node: Node) -> tuple[str | int, ...] | None:
    """The parts of a plain path such as ``input.items[0].id``; else ``None``."""
    parts: list[str | int] = []
    while not isinstance(node, Name):
        match node:
            case Select(operand=operand, field=field):
                parts.append(field)
                node = operand
            case Index(operand=operand, index=Literal(value=str() | int() as part)) if (
                not isinstance(part, bool)
            ):
                parts.append(part)
                node = operand
            case _:
                return None
    parts.append(node.name)
    return tuple(reversed(parts))
