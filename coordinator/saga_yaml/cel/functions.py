"""The functions that an expression may call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Final

from coordinator.core.expressions import ExpressionFailed
from coordinator.saga_yaml.cel import values
from coordinator.saga_yaml.cel.nodes import WrongCall
from coordinator.saga_yaml.cel.times import Moment, Span
from coordinator.saga_yaml.cel.values import Run, Value, kind_of

_PRICE_OF_TIME: Final = 30
_BOOL, _INT, _TEXT = "a boolean", "an integer", "a text"


@dataclass(frozen=True, slots=True)
class Function:
    """A function.

    Attributes:
        run: the target, when there is one, is the first argument.
        counts: how many arguments it takes, the target included.
        is_method: called behind a dot.
        is_global: called with its arguments alone.
        takes: the types that its first argument may have; empty = see ``run``.
        gives: the type of its result; empty = that of its argument.
        price: the steps that a call takes, beside those for long texts.
    """

    run: Callable[..., Value]
    counts: tuple[int, ...] = (1,)
    is_method: bool = False
    is_global: bool = True
    takes: frozenset[str] = frozenset()
    gives: str = ""
    price: int = 4


def _method(
    run: Callable[..., Value],
    counts: tuple[int, ...],
    takes: str,
    gives: str,
    price: int = 4,
) -> Function:
    kinds = frozenset(takes.split(" or "))
    return Function(run, counts, True, False, kinds, gives, price)


def _conversion(
    run: Callable[..., Value], takes: str, gives: str, price: int = 6
) -> Function:
    kinds = frozenset(takes.split(" or "))
    return Function(run, takes=kinds, gives=gives, price=price)


def _calendar(name: str, read: Callable[[datetime], int]) -> Callable[..., Value]:
    def call(_run: Run, moment: Value, zone: Value = "") -> Value:
        if not isinstance(moment, Moment):
            raise ExpressionFailed(f"{name} takes a timestamp, not {kind_of(moment)}")
        if not isinstance(zone, str):
            raise ExpressionFailed(f"{name} takes a time zone, not {kind_of(zone)}")
        return read(moment.at(zone))

    return call


def _clock(
    name: str, unit: str, read: Callable[[datetime], int]
) -> Callable[..., Value]:
    """Of a timestamp what the clock shows; of a duration how many whole units."""
    of_moment = _calendar(name, read)

    def call(run: Run, time: Value, zone: Value = "") -> Value:
        if isinstance(time, Span) and zone == "":
            return time.whole(unit)
        return of_moment(run, time, zone)

    return call


def _millis(_run: Run, time: Value, _zone: Value = "") -> Value:
    match time:
        case Span():
            return time.whole("ms") - time.whole("s") * 1000
        case Moment():
            return time.millis()
    raise ExpressionFailed(f"getMilliseconds takes a time, not {kind_of(time)}")


def _methods_of_time() -> Mapping[str, Function]:
    days: Mapping[str, Callable[[datetime], int]] = {
        "getFullYear": lambda at: at.year,
        "getMonth": lambda at: at.month - 1,
        "getDate": lambda at: at.day,
        "getDayOfMonth": lambda at: at.day - 1,
        "getDayOfWeek": lambda at: at.isoweekday() % 7,
        "getDayOfYear": lambda at: at.timetuple().tm_yday - 1,
    }
    hours: Mapping[str, tuple[str, Callable[[datetime], int]]] = {
        "getHours": ("h", lambda at: at.hour),
        "getMinutes": ("m", lambda at: at.minute),
        "getSeconds": ("s", lambda at: at.second),
    }
    either = "a timestamp or a duration"
    return {
        **{
            name: _method(
                _calendar(name, read), (1, 2), "a timestamp", _INT, _PRICE_OF_TIME
            )
            for name, read in days.items()
        },
        **{
            name: _method(
                _clock(name, unit, read), (1, 2), either, _INT, _PRICE_OF_TIME
            )
            for name, (unit, read) in hours.items()
        },
        "getMilliseconds": _method(_millis, (1, 2), either, _INT, _PRICE_OF_TIME),
    }


FUNCTIONS: Final[Mapping[str, Function]] = {
    "size": Function(
        values.size, (1,), True, True, frozenset({_TEXT, "a list", "a map"}), _INT
    ),
    "contains": _method(values.contains, (2,), _TEXT, _BOOL),
    "startsWith": _method(values.starts_with, (2,), _TEXT, _BOOL),
    "endsWith": _method(values.ends_with, (2,), _TEXT, _BOOL),
    "int": _conversion(
        values.to_int, "an integer or a double or a text or a timestamp", _INT
    ),
    "double": _conversion(
        values.to_double, "an integer or a double or a text", "a double"
    ),
    "string": _conversion(
        values.to_text,
        "a text or a boolean or an integer or a double or a timestamp or a duration",
        _TEXT,
    ),
    "bool": _conversion(values.to_bool, "a boolean or a text", _BOOL),
    "timestamp": _conversion(
        values.to_moment,
        "a timestamp or a text or an integer",
        "a timestamp",
        _PRICE_OF_TIME,
    ),
    "duration": _conversion(
        values.to_span, "a duration or a text", "a duration", _PRICE_OF_TIME
    ),
    "dyn": Function(values.unchanged),
    **_methods_of_time(),
}

ABSENT: Final[Mapping[str, str]] = {
    "uint": "JSON has no unsigned numbers; use int()",
    "bytes": "JSON has no bytes",
    "type": "compare with a value instead",
    "matches": "compare with ==, startsWith, endsWith or contains",
}
"""Functions of CEL that there are not here, and what to do instead."""

MACROS: Final = ("all", "exists", "exists_one", "filter", "map")


def check_function(at: int, name: str) -> None:
    """Refuse a function that there is not."""
    if name in FUNCTIONS:
        return
    message = f"there is no function {name[:60]!r}"
    if name in ABSENT:
        raise WrongCall(at, f"{message}; {ABSENT[name]}")
    known = [*FUNCTIONS, *MACROS, "has"]
    close = get_close_matches(name[:60], known, n=1, cutoff=0.6)
    raise WrongCall(at, message, close[0] if close else "")
