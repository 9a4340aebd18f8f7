"""No expression crashes, hangs or eats memory, on no input of 256 KiB."""

import json
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.expressions import ExpressionFailed
from coordinator.saga_yaml.cel import Compiled, Mistake, compile_expression
from coordinator.saga_yaml.cel.values import BUDGET, Run, TooCostly

BYTES_MAX = 64 * 2**20
SECONDS_MAX = 0.5
"""Of the processor, and many times what it takes where nothing traces or shares it."""

INPUTS = {
    "ints": [1] * 120_000,
    "texts": ["abcdefghij" * 10] * 2500,
    "text": "a" * 250_000,
    "wide": "\U0001f600" * 60_000,
    "rows": [{"a": i, "b": "x"} for i in range(9000)],
    "map": {f"k{i}": i for i in range(20_000)},
    "nested": [[1] * 300] * 400,
    "deep": json.loads("[" * 400 + "]" * 400),
    "doubles": [1.5] * 60_000,
    "few": [1] * 1000,
    "longs": ["a" * 1000 + "b"] * 250,
    "same": {f"k{i}": 1 for i in range(9000)} | {"y": 1},
    "other": {f"k{i}": 1 for i in range(9000)} | {"z": 1},
    "numbers": [f"{'1' * 40}.{'1' * 40}e1111x"] * 2500,
    "spans": [f"{'1' * 18}.{'1' * 18}m" * 3 + "x"] * 2000,
}
VALUES = {
    "input": INPUTS,
    "steps": {},
    "index": 1,
    "saga": {"gid": "g", "startedAt": 1},
}

_TEN = "[1,1,1,1,1,1,1,1,1,1]"

BOMBS = [
    "input.ints.all(a, input.ints.all(b, true))",
    "input.ints.map(a, input.ints.map(b, 1))",
    "input.ints.map(a, a + 1)",
    "input.ints.map(a, [a, a, a, a, a, a, a, a])",
    "input.ints.map(a, {'a': a, 'b': a, 'c': a})",
    "input.ints.all(a, 2 in input.ints)",
    "input.ints.exists(a, input.nothing)",
    "input.ints.exists(a, input.nothing || input.nothing)",
    "input.ints.all(a, input.ints == input.ints)",
    "input.few.map(a, input.ints + input.ints)",
    "input.few.map(a, input.text + input.text)",
    "input.few.map(a, input.wide + input.wide)",
    "input.few.all(a, (input.text + 'b').contains(input.text))",
    "input.few.all(a, (input.text + 'a') < input.text)",
    "input.few.all(a, input.map == input.map)",
    "input.map.map(a, input.map[a])",
    "input.ints.all(a, input.same == input.other || true)",
    "input.ints.all(a, input.same in [input.other] || true)",
    "input.numbers.all(a, double(a) > 1.0 || true)",
    "input.spans.all(a, duration(a) > duration('1s') || true)",
    "input.few.all(a, input.text.contains('b' + string(index)) || true)",
    "input.map.all(a, a in input.map)",
    "input.rows.map(a, input.rows.filter(b, a.a == b.a))",
    "input.nested.all(a, a == input.nested[0])",
    "input.longs.map(a, input.text.contains(a))",
    "input.longs.all(a, input.longs.all(b, a.contains(b)))",
    "input.texts.all(a, a in input.texts)",
    "input.ints.all(a, input.text.startsWith(input.text))",
    "input.ints.map(a, string(timestamp('2026-11-25T12:00:00.123456789Z')))",
    "input.ints.map(a, timestamp(a).getHours('+02:00'))",
    "input.ints.map(a, duration('1h30m2.5s') > duration('1s'))",
    "input.ints.map(a, double('1.5'))",
    "input.doubles.map(a, string(a))",
    "[input.deep] == [input.deep]",
    "+".join(["input.text"] * 300),
    "+".join(["input.wide"] * 300),
    "+".join(["input.ints"] * 300),
    "".join(f"{_TEN}.map({name}, " for name in "abcdefg") + "1" + ")" * 7,
    "input.ints.all(a, " + "!" * 24 + "(a > 0))",
]


def compiled(source):
    """The compiled expression, or the mistake; its place is in the source."""
    try:
        return compile_expression(source)
    except Mistake as refused:
        mistake = refused
    assert 0 <= mistake.at <= len(source)
    return mistake


def evaluate(compiled):
    """The value or failure, with the processor's seconds that it took."""
    began = time.process_time()
    try:
        value = compiled.program(VALUES)
    except ExpressionFailed as failure:
        value = failure
    return value, time.process_time() - began


@pytest.mark.parametrize("source", BOMBS)
def test_bombs_end_soon(source):
    """Time is bounded by the budget, whatever is nested in whatever."""
    assert evaluate(compile_expression(source))[1] < SECONDS_MAX


@pytest.mark.parametrize("source", BOMBS)
def test_bombs_take_little_memory(source):
    """Memory is bounded by the budget too."""
    bomb = compile_expression(source)
    tracemalloc.start()
    try:
        evaluate(bomb)
        assert tracemalloc.get_traced_memory()[1] < BYTES_MAX
    finally:
        tracemalloc.stop()


def test_a_failure_of_the_budget_says_so_and_is_absorbed_by_nothing():
    """``||`` would otherwise turn a refusal into an answer."""
    source = "input.ints.all(a, input.ints.all(b, true)) || true"

    with pytest.raises(ExpressionFailed, match="takes more than 60,000 steps"):
        compile_expression(source).program(VALUES)


@pytest.mark.parametrize(
    "source",
    [
        "input.few.map(a, input)",
        "[input, input]",
        "{'a': input.text, 'b': input.text}",
        "[[input.text]] + [[input.text]]",
        "input.text + input.text",
        "[1]" + ".map(a, [a, a])" * 30,
    ],
)
def test_a_result_that_is_vast_when_written_out_is_refused(source):
    """One value held many times is small in memory only."""
    with pytest.raises(ExpressionFailed, match="more than 262,144 bytes"):
        compile_expression(source).program(VALUES)


def test_paying_beyond_the_budget_is_refused():
    """To the very step."""
    run = Run({}, 0)
    run.pay(BUDGET)

    with pytest.raises(TooCostly):
        run.pay(1)


_names = st.sampled_from([f"input.{name}" for name in INPUTS])
_leaves = (
    _names
    | st.sampled_from(["a", "b", "index", "saga.gid", "steps.x.output", "null", "true"])
    | st.integers(-3, 2**63).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.sampled_from(["'a'", "''", "'\U0001f600'", "'1h'", "'2026-11-25T12:00:00Z'"])
)
_BINARY = ("+", "-", "*", "/", "%", "==", "!=", "<", ">=", "in", "&&", "||")
_MACROS = ("all", "exists", "exists_one", "filter", "map")
_CALLS = ("size", "int", "double", "string", "bool", "timestamp", "duration", "dyn")
_METHODS = ("contains", "startsWith", "endsWith", "getHours", "size")


def _larger(inner):
    variables = st.sampled_from("ab")
    return st.one_of(
        st.tuples(inner, st.sampled_from(_BINARY), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(_MACROS), variables, inner).map(
            lambda parts: "({}).{}({}, {})".format(*parts)
        ),
        st.tuples(st.sampled_from(_CALLS), inner).map(lambda p: "{}({})".format(*p)),
        st.tuples(inner, st.sampled_from(_METHODS), inner).map(
            lambda parts: "({}).{}({})".format(*parts)
        ),
        st.tuples(inner, inner, inner).map(lambda p: "({} ? {} : {})".format(*p)),
        st.tuples(inner, inner).map(lambda p: "({})[{}]".format(*p)),
        st.tuples(inner, inner).map(lambda p: "[{}, {}]".format(*p)),
        st.tuples(inner, inner).map(lambda p: "{{'k': {}, {}: 1}}".format(*p)),
        inner.map(lambda p: f"!({p})"),
        inner.map(lambda p: f"-({p})"),
        inner.map(lambda p: f"has(({p}).x)"),
    )


expressions = st.recursive(_leaves, _larger, max_leaves=12)


def is_json(value):
    return isinstance(value, str | int | float | bool | list | dict | None)


@settings(max_examples=300, deadline=None)
@given(expressions)
def test_any_expression_is_refused_or_ends_soon_with_json(source):
    """From the grammar: a mistake, a failure or a JSON value, and soon."""
    expression = compiled(source)
    if not isinstance(expression, Mistake):
        value, seconds = evaluate(expression)

        assert seconds < SECONDS_MAX
        assert isinstance(value, ExpressionFailed) or is_json(value)


_SIGNS = [*"+-*/%<>=!?:.,()[]{}'\"\\&|$#\n a1", "input", "has(", "0x", "1e", "r'"]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(_SIGNS) | st.text(max_size=3), max_size=60).map("".join)
)
def test_any_text_is_compiled_or_refused(source):
    """Nothing but a mistake leaves the compiler."""
    expression = compiled(source)

    assert isinstance(expression, Compiled | Mistake)
