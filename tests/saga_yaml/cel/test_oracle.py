"""Our evaluation agrees with Google's implementation of CEL, in C++.

Expressions are drawn from the grammar and evaluated by both on the same input. What
ours refuses before it runs, because it would fail for any value, is not compared, and
neither is what only ours has: a budget of steps, failures where a double becomes
infinite, and digits in the texts of doubles where Google's has an exponent.
"""

import dataclasses
import math

import pytest
from cel_expr_python import cel
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coordinator.core.expressions import ExpressionFailed
from coordinator.saga_yaml.cel import Mistake, compile_expression, programs
from coordinator.saga_yaml.cel.functions import FUNCTIONS
from coordinator.saga_yaml.cel.values import divide

VALUES = {
    "input": {
        "int": 7,
        "minus": -3,
        "large": 2**62,
        "zero": 0,
        "double": 2.5,
        "whole": 7.0,
        "text": "aé😀",
        "digits": "12",
        "time": "2026-11-25T23:30:05.125+02:00",
        "span": "1h30m",
        "yes": True,
        "no": False,
        "none": None,
        "ints": [3, 1, 2],
        "mixed": [1, 1.0, "1", True, None],
        "empty": [],
        "map": {"a": {"b": [1]}, "c": 2},
    },
    "steps": {"a": {"output": {"x": 1}}},
    "saga": {"gid": "g", "startedAt": 1_700_000_000_000},
    "index": 2,
}
FAILED = object()
ONLY_OURS = (
    "which JSON has not",
    "no finite number",
    "takes more than",
    "the result has more than",
)
"""Failures that Google's does not know."""

_ENV = cel.NewEnv(variables=dict.fromkeys(VALUES, cel.Type.DYN))


def google(source):
    """The value by Google's implementation, or ``FAILED``."""
    try:
        value = _ENV.compile(source, disable_check=True).eval(data=VALUES)
    except RuntimeError:
        return FAILED
    if value.type() == cel.Type.ERROR:
        return FAILED
    plain = value.plain_value()
    return plain if is_json(plain) else FAILED


def is_json(value):
    """Whether JSON can hold it, all the way down."""
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, dict):
        return all(map(is_json, value.values()))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int | bool)


@pytest.fixture(scope="module", autouse=True)
def _meant():
    """Nothing is said of an expression that makes a text of a double beyond 10^6, or
    that divides by a double of zero.
    """
    string = FUNCTIONS["string"]

    def written(run, value):
        assume(not (isinstance(value, float) and abs(value) >= 1e6))
        return string.run(run, value)

    def divided(run, left, right):
        assume(not (isinstance(right, float) and right == 0))
        return divide(run, left, right)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(programs._OPERATORS, "/", divided)
        patch.setitem(FUNCTIONS, "string", dataclasses.replace(string, run=written))
        yield


def ours(source):
    """The value by our implementation, or ``FAILED``."""
    try:
        program = compile_expression(source).program
    except Mistake:
        assume(False)
    try:
        return program(VALUES)
    except ExpressionFailed as failure:
        assume(not any(limit in str(failure) for limit in ONLY_OURS))
        return FAILED


def is_same(one, other):
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            is_same(one[k], other[k]) for k in one
        )
    return one == other


def _form(form, *parts):
    return st.tuples(*parts).map(lambda values: form.format(*values))


_CALENDAR = [
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek"),
    *("getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds"),
]
_METHODS = st.sampled_from(["contains", "startsWith", "endsWith"])
_ORDER = st.sampled_from(["<", "<=", ">", ">="])

_ints = st.deferred(
    lambda: (
        st.sampled_from(["input.int", "input.minus", "input.large", "input.zero"])
        | st.sampled_from(["steps.a.output.x", "input.map.a.b[0]", "input['map']['c']"])
        | st.sampled_from(["9223372036854775807", "-9223372036854775808", "index", "v"])
        | st.integers(-5, 5).map(str)
        | _form("({} {} {})", _ints, st.sampled_from("+-*/%"), _ints)
        | _form("-({})", _ints)
        | _form("size({})", _texts | _lists)
        | _form("int({})", _ints | _doubles | st.just("input.digits") | _moments)
        | _form("({}).{}()", _moments, st.sampled_from(_CALENDAR))
        | _form("({}).getHours('{}')", _moments, st.sampled_from(["+02:00", "-11:30"]))
        | _form("({}).{}()", _spans, st.sampled_from(_CALENDAR[-4:]))
        | _form("({})[{}]", _lists, _ints)
        | _form("({} ? {} : {})", _bools, _ints, _ints)
    )
)
_doubles = st.deferred(
    lambda: (
        st.sampled_from(["input.double", "input.whole", "0.5", "-1.5", "1e3"])
        | _form("({} {} {})", _doubles, st.sampled_from("+-*/"), _doubles)
        | _form("double({})", _ints | _doubles | st.just("input.digits"))
        | _form("({} ? {} : {})", _bools, _doubles, _doubles)
    )
)
_texts = st.deferred(
    lambda: (
        st.sampled_from(["input.text", "input.digits", "saga.gid", "'a'", "''"])
        | st.sampled_from([r"r'\a'", r"'\u00e9'", "'''it's'''"])
        | _form("({} + {})", _texts, _texts)
        | _form("string({})", _ints | _texts | _bools)
        | _form("({} ? {} : {})", _bools, _texts, _texts)
    )
)
_bools = st.deferred(
    lambda: (
        st.sampled_from(["input.yes", "input.no", "true", "has(input.map.c)"])
        | _form("({} {} {})", _any, st.sampled_from(["==", "!="]), _any)
        | _form("({} {} {})", _ints, _ORDER, _ints | _doubles)
        | _form("({} {} {})", _texts, _ORDER, _texts)
        | _form("({} {} {})", _moments, _ORDER, _moments)
        | _form("({} {} {})", _spans, _ORDER, _spans)
        | _form("({} {} {})", _bools, st.sampled_from(["&&", "||"]), _bools)
        | _form("({} in {})", _any, _lists)
        | _form("({} in input.map)", _texts | _ints)
        | _form("({}).{}({})", _texts, _METHODS, _texts)
        | _form("({}).{}(v, {})", _lists, st.sampled_from(["all", "exists"]), _bools)
        | _form("({}).exists_one(v, {})", _lists, _bools)
        | _form("!({})", _bools)
        | _any
    )
)
# Google's goes through a map in another order in each process; ours is tested alone.
_MAP_OF_ONE = st.just("input.map.a")
_lists = st.deferred(
    lambda: (
        st.sampled_from(["input.ints", "input.mixed", "input.empty"])
        | _form("[{}, {}]", _any, _any)
        | _form("({} + {})", _lists, _lists)
        | _form("({}).filter(v, {})", _lists, _bools)
        | _form("({}).map(v, {})", _lists | _MAP_OF_ONE, _any)
        | _form("({}).map(v, {}, {})", _lists, _bools, _any)
    )
)
_maps = st.deferred(
    lambda: st.sampled_from(["input.map", "{}"]) | _form("{{'a': {}}}", _any)
)
_moments = st.deferred(
    lambda: (
        st.just("timestamp(input.time)")
        | _form("timestamp({})", st.integers(-(10**10), 10**10).map(str))
        | _form("({} {} {})", _moments, st.sampled_from("+-"), _spans)
    )
)
_spans = st.deferred(
    lambda: (
        st.sampled_from(["duration(input.span)", "duration('-2s')"])
        | _form("({} {} {})", _spans, st.sampled_from("+-"), _spans)
        | _form("({} - {})", _moments, _moments)
    )
)
_any = st.deferred(
    lambda: (
        st.sampled_from(["input.none", "null", "input.nothing", "v"])
        | st.one_of(_ints, _doubles, _texts, _bools, _lists, _maps)
        | _form("({}).a", _any)
        | _form("({})[{}]", _any, _any)
    )
)


@settings(max_examples=200, deadline=None)
@given(_any.map("input.ints.map(v, {})".format))
def test_expressions_yield_what_they_yield_in_google_s_cel(source):
    """The same value of the same type, or a failure in both."""
    mine, theirs = ours(source), google(source)

    assert is_same(mine, theirs), (mine, theirs)
