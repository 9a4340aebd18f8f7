"""What the operators and functions of CEL do with values, each at its price.

Values are JSON values, and moments and spans of time while they are computed with.
Every operation whose cost grows with its operands pays for it before it begins, so
that no expression takes longer than its budget allows.
"""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Final, TypeAlias

from coordinator.core.definition import JsonValue
from coordinator.core.expressions import ExpressionFailed
from coordinator.saga_yaml.cel.times import Moment, Span
from coordinator.saga_yaml.cel.tokens import INTEGER_MAX, INTEGER_MIN

BUDGET: Final = 60_000
"""Steps that one evaluation may take: some tens of milliseconds."""

RESULT_MAX: Final = 256 * 1024
"""Characters of the JSON of a result. What holds one value many times is small in
memory and vast when it is written out."""

Value: TypeAlias = "JsonValue | Moment | Span"

KINDS: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a double",
    str: "a text",
    list: "a list",
    dict: "a map",
    Moment: "a timestamp",
    Span: "a duration",
}
_PRICE_OF_TIME: Final = 20
_NUMBERS: Final = (int, float)
_ORDERED: Final = (bool, int, float, str, Moment, Span)
_INTEGER = re.compile(r"[-+]?+[0-9]{1,40}+")
_DOUBLE = re.compile(
    r"[-+]?+(?:[0-9]{1,40}+(?>\.[0-9]{0,40}+)?+|\.[0-9]{1,40}+)"
    r"(?>[eE][-+]?+[0-9]{1,4}+)?+"
)
_TRUTHS: Final = {
    **dict.fromkeys(("true", "True", "TRUE", "t", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "0"), False),
}


class TooCostly(Exception):
    """The budget is used up. No operator may absorb it."""


class Run:
    """One evaluation.

    Attributes:
        roots: what the expression may read.
        slots: the variables of the macros under way.
        left: steps that may still be taken.
    """

    __slots__ = ("left", "roots", "slots")

    def __init__(self, roots: Mapping[str, JsonValue], slots: int) -> None:
        self.roots = roots
        self.slots: list[Value] = [None] * slots
        self.left = BUDGET

    def pay(self, steps: int) -> None:
        """Take steps from the budget. Raises ``TooCostly``."""
        self.left -= steps
        if self.left < 0:
            raise TooCostly


def kind_of(value: Value) -> str:
    """What a value is, for messages that must not show it."""
    return KINDS[type(value)]


def kept(value: JsonValue) -> JsonValue:
    """A value that was read. Raises ``ExpressionFailed`` when CEL cannot hold it."""
    if type(value) is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise ExpressionFailed("an integer beyond 64 bits cannot be computed with")
    elif type(value) is float and not isfinite(value):
        raise ExpressionFailed("a number that is not finite cannot be computed with")
    return value


def check_size(value: JsonValue) -> None:
    """Raise ``ExpressionFailed`` when a value is too large to be written out."""
    left = RESULT_MAX
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            left -= len(item)
        elif isinstance(item, list):
            left -= len(item)
            if left >= 0:
                todo.extend(item)
        elif isinstance(item, dict):
            left -= len(item) + sum(map(len, item))
            if left >= 0:
                todo.extend(item.values())
        left -= 1
        if left < 0:
            raise ExpressionFailed(f"the result has more than {RESULT_MAX:,} bytes")


# -- arithmetic ----------------------------------------------------------------------


def add(run: Run, left: Value, right: Value) -> Value:
    """Sum of numbers, texts and lists one behind the other, times moved by spans."""
    if isinstance(left, str) and isinstance(right, str):
        run.pay((len(left) + len(right)) >> 6)
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        run.pay((len(left) + len(right)) >> 3)
        return left + right
    if isinstance(left, Moment | Span) or isinstance(right, Moment | Span):
        return _time(left, "+", right)
    return _arithmetic(left, "+", right)


def subtract(_run: Run, left: Value, right: Value) -> Value:
    """Difference of numbers or times."""
    if isinstance(left, Moment | Span):
        return _time(left, "-", right)
    return _arithmetic(left, "-", right)


def multiply(_run: Run, left: Value, right: Value) -> Value:
    """Product of numbers."""
    return _arithmetic(left, "*", right)


def divide(_run: Run, left: Value, right: Value) -> Value:
    """Quotient of numbers; of integers it is cut toward zero."""
    return _arithmetic(left, "/", right)


def remainder(_run: Run, left: Value, right: Value) -> Value:
    """Remainder of integers, with the sign of the dividend."""
    if type(left) is not int or type(right) is not int:
        raise no_overload("%", left, right)
    return _arithmetic(left, "%", right)


def _arithmetic(left: Value, operator: str, right: Value) -> Value:
    kind = type(left)
    if kind is not type(right) or kind not in _NUMBERS:
        raise no_overload(operator, left, right)
    if right == 0 and operator in "/%":
        raise ExpressionFailed("a division by zero")
    result = _ARITHMETIC[kind][operator](left, right)
    if kind is float:
        if not isfinite(result):
            raise ExpressionFailed(f"the result of {operator!r} is no finite number")
    elif not INTEGER_MIN <= result <= INTEGER_MAX:
        raise _beyond(repr(operator))
    return result


def _quotient(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) is (right < 0) else -quotient


def _rest(left: int, right: int) -> int:
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


_ARITHMETIC: Final[Mapping[type, Mapping[str, Callable[..., int | float]]]] = {
    int: {
        "+": int.__add__,
        "-": int.__sub__,
        "*": int.__mul__,
        "/": _quotient,
        "%": _rest,
    },
    float: {
        "+": float.__add__,
        "-": float.__sub__,
        "*": float.__mul__,
        "/": float.__truediv__,
    },
}


def negate(value: Value) -> Value:
    """The negative of a number."""
    if type(value) is float:
        return -value
    if type(value) is int:
        return _arithmetic(0, "-", value)
    raise ExpressionFailed(f"'-' takes a number, not {kind_of(value)}")


def _time(left: Value, operator: str, right: Value) -> Value:
    match left, operator, right:
        case Moment(), _, Span():
            return left.moved(right if operator == "+" else right.times(-1))
        case Span(), "+", Moment():
            return right.moved(left)
        case Moment(), "-", Moment():
            return left.since(right)
        case Span(), _, Span():
            return left.plus(right if operator == "+" else right.times(-1))
        case _:
            raise no_overload(operator, left, right)


def no_overload(operator: str, left: Value, right: Value) -> ExpressionFailed:
    """The failure of an operator that does not take operands of these types."""
    return ExpressionFailed(refusal(operator, kind_of(left), kind_of(right)))


def refusal(operator: str, left: str, right: str) -> str:
    """Says that an operator does not take operands of these types, and what to do."""
    message = f"{operator!r} does not take {left} and {right}"
    if {left, right} == {"an integer", "a double"}:
        return f"{message}; convert one of them with double() or int()"
    if operator == "+" and "a text" in {left, right}:
        return f"{message}; convert one of them with string()"
    return message


# -- comparison ----------------------------------------------------------------------


def is_less(run: Run, left: Value, operator: str, right: Value) -> bool:
    """Order of numbers, texts, truth values and times: ``operator`` tells which."""
    kind = type(left)
    if kind is not type(right):
        if kind not in _NUMBERS or type(right) not in _NUMBERS:
            raise no_overload(operator, left, right)
    elif kind not in _ORDERED:
        raise no_overload(operator, left, right)
    if isinstance(left, str) and isinstance(right, str):
        run.pay(min(len(left), len(right)) >> 10)
    return bool(_ORDER[operator](left, right))


_ORDER: Final[Mapping[str, Callable[..., bool]]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def is_same(run: Run, left: Value, right: Value) -> bool:
    """Equality: of any two values, deep, and true is not 1."""
    todo = [(left, right)]
    while todo:
        one, other = todo.pop()
        kind = type(one)
        if kind is not type(other):
            if kind not in _NUMBERS or type(other) not in _NUMBERS or one != other:
                return False
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            run.pay(len(one))
            todo.extend(zip(one, other, strict=True))
        elif isinstance(one, dict) and isinstance(other, dict):
            if len(one) != len(other):
                return False
            run.pay(3 * len(one))
            if one.keys() != other.keys():
                return False
            todo.extend((item, other[name]) for name, item in one.items())
        else:
            if isinstance(one, str):
                run.pay(len(one) >> 10)
            if one != other:
                return False
    return True


def is_in(run: Run, item: Value, container: Value) -> bool:
    """Whether a list holds an equal item, or a map the key."""
    if isinstance(container, dict):
        if not isinstance(item, bool | int | float | str):
            message = f"'in' looks for a key of a map, and {kind_of(item)} is none"
            raise ExpressionFailed(message)
        return isinstance(item, str) and item in container
    if not isinstance(container, list):
        raise ExpressionFailed(f"'in' takes a list or a map, not {kind_of(container)}")
    for candidate in container:
        run.pay(3)
        if is_same(run, item, candidate):
            return True
    return False


# -- functions -----------------------------------------------------------------------


def size(_run: Run, value: Value) -> Value:
    """Characters of a text, items of a list, entries of a map."""
    if isinstance(value, str | list | dict):
        return len(value)
    raise ExpressionFailed(f"size takes a text, a list or a map, not {kind_of(value)}")


def contains(run: Run, text: Value, part: Value) -> Value:
    """Whether a text has another one inside."""
    whole, sought = _texts("contains", text, part)
    run.pay((len(whole) + len(sought)) >> 6)
    return sought in whole


def starts_with(run: Run, text: Value, part: Value) -> Value:
    """Whether a text begins with another one."""
    whole, sought = _texts("startsWith", text, part)
    run.pay(len(sought) >> 10)
    return whole.startswith(sought)


def ends_with(run: Run, text: Value, part: Value) -> Value:
    """Whether a text ends with another one."""
    whole, sought = _texts("endsWith", text, part)
    run.pay(len(sought) >> 10)
    return whole.endswith(sought)


def _texts(function: str, text: Value, part: Value) -> tuple[str, str]:
    if isinstance(text, str) and isinstance(part, str):
        return text, part
    wrong = part if isinstance(text, str) else text
    raise ExpressionFailed(f"{function} takes texts, not {kind_of(wrong)}")


def to_int(_run: Run, value: Value) -> Value:
    """A whole number from a number, a text, or a timestamp in seconds."""
    match value:
        case bool():
            pass
        case int():
            return value
        case float() if value == INTEGER_MIN:
            # Numbers beyond 64 bits are rounded to this one.
            raise _beyond("int")
        case float():
            return _fits(int(value), "int")
        case str() if _INTEGER.fullmatch(value):
            return _fits(int(value), "int")
        case str():
            raise ExpressionFailed("int takes a text of digits; this one is not")
        case Moment():
            return value.seconds
    raise _no_conversion("int", value)


def _fits(value: int, function: str) -> int:
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise _beyond(function)
    return value


def _beyond(what: str) -> ExpressionFailed:
    return ExpressionFailed(f"the result of {what} is beyond 64 bits")


def to_double(_run: Run, value: Value) -> Value:
    """A number with a fraction from a number or a text."""
    match value:
        case bool():
            pass
        case int() | float():
            return float(value)
        case str() if _DOUBLE.fullmatch(value):
            if isfinite(number := float(value)):
                return number
            raise ExpressionFailed("the result of double is no finite number")
        case str():
            raise ExpressionFailed("double takes a text that is a number; this is none")
    raise _no_conversion("double", value)


def to_text(run: Run, value: Value) -> Value:
    """The text of a scalar."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value).removesuffix(".0")
        case Moment() | Span():
            run.pay(_PRICE_OF_TIME)
            return value.text()
    raise _no_conversion("string", value)


def to_bool(_run: Run, value: Value) -> Value:
    """A truth value from a text such as ``true``."""
    match value:
        case bool():
            return value
        case str() if value in _TRUTHS:
            return _TRUTHS[value]
        case str():
            raise ExpressionFailed("bool takes 'true' or 'false'; this text is neither")
    raise _no_conversion("bool", value)


def to_moment(_run: Run, value: Value) -> Value:
    """A timestamp from RFC 3339 text, or from seconds since 1970."""
    match value:
        case Moment():
            return value
        case str():
            return Moment.parsed(value)
        case int() if type(value) is int:
            return Moment.of_seconds(value)
    raise _no_conversion("timestamp", value)


def to_span(_run: Run, value: Value) -> Value:
    """A duration from text such as ``1h30m``."""
    match value:
        case Span():
            return value
        case str():
            return Span.parsed(value)
    raise _no_conversion("duration", value)


def unchanged(_run: Run, value: Value) -> Value:
    """``dyn``: every value here has a dynamic type already."""
    return value


def _no_conversion(function: str, value: Value) -> ExpressionFailed:
    return ExpressionFailed(f"{function} does not take {kind_of(value)}")
