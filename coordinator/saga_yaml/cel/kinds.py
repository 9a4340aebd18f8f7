"""What can be told about types before anything is evaluated.

A kind is what messages call a type, such as ``an integer``; empty when it depends on
the values.
"""

from collections.abc import Iterable
from typing import Final

from coordinator.saga_yaml.cel.nodes import TypeMismatch
from coordinator.saga_yaml.cel.values import refusal

NULL: Final = "null"
BOOL: Final = "a boolean"
INT: Final = "an integer"
DOUBLE: Final = "a double"
TEXT: Final = "a text"
LIST: Final = "a list"
MAP: Final = "a map"
MOMENT: Final = "a timestamp"
SPAN: Final = "a duration"

_NUMBERS: Final = frozenset({INT, DOUBLE})
_ORDERED: Final = frozenset({BOOL, INT, DOUBLE, TEXT, MOMENT, SPAN})
_SUMS: Final = ((INT, INT, INT), (DOUBLE, DOUBLE, DOUBLE))
_OVERLOADS: Final = {
    "+": (
        *_SUMS,
        (TEXT, TEXT, TEXT),
        (LIST, LIST, LIST),
        (MOMENT, SPAN, MOMENT),
        (SPAN, MOMENT, MOMENT),
        (SPAN, SPAN, SPAN),
    ),
    "-": (
        *_SUMS,
        (MOMENT, SPAN, MOMENT),
        (MOMENT, MOMENT, SPAN),
        (SPAN, SPAN, SPAN),
    ),
    "*": _SUMS,
    "/": _SUMS,
    "%": _SUMS[:1],
}


def kind_of_link(at: int, left: str, operator: str, right: str) -> str:
    """The kind of what an operator gives. Raises when it takes no such operands."""
    if operator in _OVERLOADS:
        return _kind_of_sum(at, left, operator, right)
    if operator == "in":
        if right not in ("", LIST, MAP):
            raise TypeMismatch(at, f"'in' takes a list or a map, not {right}")
    elif operator in ("==", "!="):
        pair = {left, right} - {""}
        if len(pair) > 1 and NULL not in pair and pair != _NUMBERS:
            raise TypeMismatch(at, f"{left} is never equal to {right}")
    elif not _is_ordered(left, right):
        raise TypeMismatch(at, _refusal(left, operator, right))
    return BOOL


def _kind_of_sum(at: int, left: str, operator: str, right: str) -> str:
    results = {
        result
        for one, other, result in _OVERLOADS[operator]
        if left in ("", one) and right in ("", other)
    }
    if not results:
        raise TypeMismatch(at, _refusal(left, operator, right))
    return results.pop() if len(results) == 1 else ""


def _refusal(left: str, operator: str, right: str) -> str:
    if left and right:
        return refusal(operator, left, right)
    return f"{operator!r} does not take {left or right}"


def _is_ordered(left: str, right: str) -> bool:
    known = {left, right} - {""}
    if not known <= _ORDERED:
        return False
    return len(known) < 2 or known == _NUMBERS


def demand(at: int, kind: str, wanted: Iterable[str], who: str) -> None:
    """Refuse what is known to be of another kind than the wanted ones."""
    wanted = list(wanted)
    if kind and kind not in wanted:
        raise TypeMismatch(at, f"{who} takes {_listed(wanted)}, not {kind}")


def _listed(kinds: list[str]) -> str:
    if len(kinds) == 1:
        return kinds[0]
    return f"{', '.join(kinds[:-1])} or {kinds[-1]}"


def common(one: str, other: str) -> str:
    """The kind of what is either the one or the other."""
    return one if one == other else ""
