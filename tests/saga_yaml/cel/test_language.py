"""What expressions yield: CEL over JSON, and its few differences said aloud."""

import pytest

from coordinator.core.expressions import ExpressionFailed
from coordinator.saga_yaml.cel import compile_expression

VALUES = {
    "input": {
        "amount": 20_000,
        "rate": 1.5,
        "text": "aé😀",
        "none": None,
        "true": True,
        "large": 2**62,
        "beyond": 2**70,
        "list": [3, 1, 2],
        "empty": [],
        "items": [{"id": "a", "price": 5}, {"id": "b", "price": 7}],
        "map": {"x": {"y": [1, {"z": "deep"}]}},
        "with-hyphen": 1,
    },
    "steps": {"kyc": {"output": {"score": 7, "none": None}}},
    "saga": {"gid": "g-1", "startedAt": 1_700_000_000_000},
    "item": {"sku": "s"},
    "index": 4,
}


def value_of(source):
    return compile_expression(source).program(VALUES)


def assert_value(source, expected):
    value = value_of(source)

    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1", 1),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5e1", 5.0),
        ("1e3", 1000.0),
        ("-9223372036854775808", -(2**63)),
        ("true", True),
        ("null", None),
        ("'a\\n\\x41\\u00e9\\U0001F600\\101\\''", "a\nAé😀A'"),
        ('"it\'s"', "it's"),
        ("r'a\\d'", "a\\d"),
        ("'''two\n'lines'x'''", "two\n'lines'x"),
        ('""', ""),
        ("''''''", ""),
        ("[1, 'a', null,]", [1, "a", None]),
        ("{'a': 1, 'b': {'c': []}}", {"a": 1, "b": {"c": []}}),
        ("{}", {}),
        ("1 // a comment\n + 2", 3),
    ],
)
def test_literals(source, expected):
    """Every literal that JSON can hold, as CEL writes it."""
    assert_value(source, expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.amount", 20_000),
        ("input['with-hyphen']", 1),
        ("input.map.x.y[1].z", "deep"),
        ("input['map']['x'].y[input.list[1]]['z']", "deep"),
        ("steps.kyc.output.score", 7),
        ("steps['kyc'].output['score']", 7),
        ("saga.gid", "g-1"),
        ("item.sku + string(index)", "s4"),
        ("[1, 2][1]", 2),
        ("[1, 2][1.0]", 2),
        ("{'a': 3}.a", 3),
        ("has(input.amount)", True),
        ("has(input.none)", True),
        ("has(input.nothing)", False),
        ("has(input.nothing.below)", False),
        ("has(input.amount.below)", False),
        ("has(steps.other.output)", False),
        ("has(steps.other.output.score)", False),
        ("has(steps.kyc.output.score) ? steps.kyc.output.score : 0", 7),
    ],
)
def test_reading(source, expected):
    """Fields, indexes, and whether they are there."""
    assert_value(source, expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 + 2 * 3 - 4", 3),
        ("(1 + 2) * 3", 9),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("7.0 / 2.0", 3.5),
        ("-input.amount", -20_000),
        ("--1", 1),
        ("input.rate * double(input.amount)", 30_000.0),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("1 < 2", True),
        ("1 < 1.5", True),
        ("2 == 2.0", True),
        ("input.amount == 20000.0", True),
        ("'a' < 'b'", True),
        ("false < true", True),
        ("1 != 2", True),
        ("input.true == dyn(1)", False),
        ("input.list == [3, 1, 2]", True),
        ("input.map == {'x': {'y': [1, {'z': 'deep'}]}}", True),
        ("input.map == {'x': {'y': [1, {'z': 'other'}]}}", False),
        ("input.none == null", True),
        ("input.amount == null", False),
        ("1 in input.list", True),
        ("9 in input.list", False),
        ("'amount' in input", True),
        ("true && !false", True),
        ("input.amount > 10 ? 'much' : 'little'", "much"),
        ("false ? 1 : true ? 2 : 3", 2),
    ],
)
def test_operators(source, expected):
    """Arithmetic of 64 bits, order, equality, and choice."""
    assert_value(source, expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.nothing && false", False),
        ("false && input.nothing", False),
        ("input.nothing || true", True),
        ("true || 1 / 0 > 0", True),
        ("input.list.all(x, x > 2 && input.nothing)", False),
        ("input.list.exists(x, x == 2 || input.nothing)", True),
    ],
)
def test_what_decides_makes_failures_elsewhere_irrelevant(source, expected):
    """``&&``, ``||``, ``all`` and ``exists`` do not care about order."""
    assert_value(source, expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.list.all(x, x > 0)", True),
        ("input.empty.all(x, x > 0)", True),
        ("input.list.exists(x, x > 2)", True),
        ("input.list.exists_one(x, x > 1)", False),
        ("input.list.map(x, x * 2)", [6, 2, 4]),
        ("input.list.map(x, x > 1, x * 2)", [6, 4]),
        ("input.list.filter(x, x > 1)", [3, 2]),
        ("input.items.filter(i, i.price > 6)[0].id", "b"),
        ("input.items.map(input, input.price)", [5, 7]),
        ("{'a': 1, 'b': 2}.map(k, k)", ["a", "b"]),
        ("[1, 2].map(x, [10].map(y, x + y))", [[11], [12]]),
        ("[1, 2].map(x, [10].map(x, [x].map(y, x + y)))", [[[20]], [[20]]]),
    ],
)
def test_macros(source, expected):
    """Over the items of a list and the keys of a map, one inside the other too."""
    assert_value(source, expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("size(input.text)", 3),
        ("input.list.size()", 3),
        ("size(input.map)", 1),
        ("'hello'.contains('ell')", True),
        ("'hello'.startsWith('he')", True),
        ("'hello'.endsWith('lo')", True),
        ("int('-12')", -12),
        ("int(1.9)", 1),
        ("int(-1.9)", -1),
        ("double('1.5e3')", 1500.0),
        ("double(3)", 3.0),
        ("string(1.0)", "1"),
        ("string(0.1)", "0.1"),
        ("string(1250000.5)", "1250000.5"),
        ("string(true)", "true"),
        ("bool('true')", True),
    ],
)
def test_functions(source, expected):
    """Sizes, parts of texts, conversions."""
    assert_value(source, expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "string(timestamp('2026-11-25T23:30:00.25+02:00') + duration('1h30m'))",
            "2026-11-25T23:00:00.25Z",
        ),
        ("string(timestamp(0))", "1970-01-01T00:00:00Z"),
        ("timestamp(saga.startedAt / 1000) > timestamp('2023-01-01T00:00:00Z')", True),
        ("int(timestamp('1970-01-02T00:00:00Z'))", 86_400),
        ("string(timestamp(90) - timestamp(0))", "90s"),
        ("string(duration('-1.5s'))", "-1.5s"),
        ("duration('1m') == duration('60s')", True),
        ("duration('90m').getHours()", 1),
        ("timestamp('2026-11-25T23:30:05Z').getFullYear()", 2026),
        ("timestamp('2026-11-25T23:30:05Z').getMonth()", 10),
        ("timestamp('2026-11-25T23:30:05Z').getDate()", 25),
        ("timestamp('2026-11-25T23:30:05Z').getDayOfMonth()", 24),
        ("timestamp('2026-11-25T23:30:05Z').getDayOfWeek()", 3),
        ("timestamp('2026-01-25T23:30:05Z').getDayOfYear()", 24),
        ("timestamp('2026-11-25T23:30:05Z').getHours('+01:00')", 0),
        ("timestamp('2026-11-25T23:30:05.125Z').getMilliseconds()", 125),
    ],
)
def test_times(source, expected):
    """Timestamps and durations are computed with, and leave as text or numbers."""
    assert_value(source, expected)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("input.nothing", "input is a map without 'nothing'"),
        ("input.amount.x", "input.amount is an integer without 'x'"),
        ("input.list[3]", "input.list is a list without 3"),
        ("input.list[-index]", "input.list is a list without what its index names"),
        (
            "input.list[input.text]",
            "input.list is a list, and a text is no index",
        ),
        ("input.map[input.text]", "input.map is a map without what its index names"),
        ("input.rate * input.amount", r"convert one of them with double\(\) or int"),
        ("input.text + input.amount", r"'\+' does not take a text and an integer"),
        ("input.large * 4", "beyond 64 bits"),
        ("input.large + input.large", "beyond 64 bits"),
        ("-(-9223372036854775808)", "beyond 64 bits"),
        ("int(double(-9223372036854775808))", "the result of int is beyond 64 bits"),
        ("int(double(9223372036854775807))", "the result of int is beyond 64 bits"),
        ("input.beyond > 1", "an integer beyond 64 bits"),
        ("input.beyond", "an integer beyond 64 bits"),
        ("input.amount / 0", "a division by zero"),
        ("input.rate / 0.0", "a division by zero"),
        ("1e308 * 10.0", "no finite number"),
        ("int(1e30)", "beyond 64 bits"),
        ("int(input.text)", "int takes a text of digits"),
        ("double(input.text)", "double takes a text that is a number"),
        ("bool(input.text)", "bool takes 'true' or 'false'"),
        ("int(input.true)", "int does not take a boolean"),
        ("string(input.list)", "string does not take a list"),
        ("size(input.amount)", "size takes a text, a list or a map, not an integer"),
        ("input.list.contains('a')", "contains takes texts, not a list"),
        ("input.amount ? 1 : 2", r"'\?' takes a boolean, not an integer"),
        ("input.amount && true", "'&&' takes a boolean, not an integer"),
        ("!input.amount", "'!' takes a boolean"),
        ("-input.text", "'-' takes a number"),
        ("input.list < input.list", "'<' does not take a list and a list"),
        ("input.text < input.amount", "'<' does not take a text and an integer"),
        ("1 in input.text", "'in' takes a list or a map, not a text"),
        ("input.amount.all(x, true)", "all takes a list or a map, not an integer"),
        ("input.list.filter(x, x)", "filter needs a boolean for each item"),
        ("{input.amount: 1}", "a key of a map is an integer"),
        ("{input.text: 1, input.text: 2}", "a map has the same key twice"),
        ("[timestamp(index)]", "an item of a list is a timestamp, which JSON has not"),
        ("true ? dyn(timestamp(0)) : dyn(1)", "the result is a timestamp"),
        ("string(timestamp(input.text))", "timestamp takes RFC 3339"),
        ("string(timestamp('2026-02-30T00:00:00Z'))", "timestamp takes RFC 3339"),
        ("string(duration(input.text))", "duration takes text such as '1h30m'"),
        ("string(timestamp(253402300800))", "after year 9999"),
        ("string(duration('2562048h'))", "a duration beyond 292 years"),
        ("null in input.map", "looks for a key of a map, and null is none"),
        ("timestamp(0).getHours('Europe/Berlin')", "an offset such as"),
    ],
)
def test_failures_name_types_and_never_values(source, message):
    """A failure says which types were met; nothing of the values is in its text."""
    with pytest.raises(ExpressionFailed, match=message) as failed:
        value_of(source)

    assert VALUES["input"]["text"] not in str(failed.value)
    assert "20000" not in str(failed.value)


def test_a_program_changes_nothing_that_it_reads():
    """The same values can be evaluated again, with the same result."""
    program = compile_expression("input.list + input.list.map(x, x + 1)").program

    assert program(VALUES) == program(VALUES) == [3, 1, 2, 4, 2, 3]
    assert VALUES["input"]["list"] == [3, 1, 2]


def test_a_root_that_is_not_there_is_a_failure():
    """``item`` outside of a list."""
    program = compile_expression("item.x").program

    with pytest.raises(ExpressionFailed, match="there is no 'item' here"):
        program({"input": {}})
