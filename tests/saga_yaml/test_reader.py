"""The reader: the same data as ruamel.yaml, and bounded on every text."""

import json
import math
import tracemalloc

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from coordinator.saga_yaml import check
from coordinator.saga_yaml.findings import Code, Findings, Halt
from coordinator.saga_yaml.reader import read
from coordinator.saga_yaml.tree import Broken, ListNode, MapNode, to_json
from tests.pace import seconds_here

KIB_256 = 256 * 1024


def value_of(text):
    """The value, or the findings when there are any."""
    findings = Findings(text)
    try:
        node = read(text, findings)
    except Halt:
        node = None
    if findings:
        return [str(finding) for finding in findings.placed("x")]
    return to_json(node) if node else None


def reference(text):
    """What ruamel.yaml makes of the text."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    return yaml.load(text)


TEXTS = [
    "a: b\n",
    "a:\n  b: 1\n  c: [x, {y: z}]\n",
    "a:\n- 1\n- 2\nb: 3\n",
    "a:\n  - 1\n  -\n    x: y\n  - - p\n    - q\n",
    "- a: 1\n  b: 2\n- c: 3\n",
    "a: 'it''s'\nb: \"x\\ty\\u00e9\\x41\"\n",
    "a: one\n  two\n\n  three\n",
    "a: 'one\n  two\n\n  three'\n",
    "a: 'one\\\n  two'\nb: one\\\n  two\n",
    'a: "one\n  two\\\n  three \\\n\n  four"\n',
    "a: |\n  one\n    two\n\n  three\n\nb: 1\n",
    "a: >\n  one\n  two\n\n  three\n    more\n    more\n  end\n",
    "a: |-\n  one\n\nb: >+\n  x\n\n\nc: 1\n",
    "a: |2\n    one\n  two\n",
    "a: >-\n\n  one\n   two\n\n   three\n  four\n",
    "# c\na: b # c\n# d\nc: d#e\n",
    "a: x:y\nb: http://u/v?w=1#z\n",
    "--- # start\na: 1\n...\n# end\n",
    "%YAML 1.2\n---\na: 1\n",
    "--- {a: 1}\n",
    "--- text\n",
    "'a b': 1\n\"c: d\": 2\n",
    "a: [b, c,\n  d\n  e,\n]\n",
    'a: {"b":1,"c":[true,null]}\n',
    "a: {b, c: , d: e}\n",
    "a: [x: y, z]\n",
    "a: 0o17\nb: 0x1F\nc: 1e3\nd: .5\ne: -7\nf: +1\ng: 1.\n",
    "a: yes\nb: on\nc: True\nd: ~\ne:\nf: NULL\n",
    "a: -b\nc: ?d\ne: :f\n",
    "a: b\n\n\n\n",
    "{}\n",
    "[]\n",
    "text\n",
    "a : b\n",
    "a: ${input.x}\nb: text ${input.x} more\n",
    "a: 'x'   # c\n",
    "é: ü\n",
    "a: |\n\n\n  x\n",
    "a: |+\n\n\nb: 1\n",
    "a:\n  # comment\n  b: c\n # odd comment\n  d: e\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_reads_what_ruamel_reads(text):
    """Written YAML means the same here as in the reference."""
    assert value_of(text) == reference(text)


@pytest.mark.parametrize("text", ["a:\tb\n", "a:\t b\t# c\n", "{a:\tb\t}\n"])
def test_a_tab_separates(text):
    """A tab does not indent, but it may stand where any blank may."""
    assert value_of(text) == {"a": "b"}


KEYS = st.text("abcé_-", min_size=1, max_size=6).filter(
    lambda key: not key.startswith("-")
)
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(
    allow_nan=False, allow_infinity=False
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=30)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(derandomize=True, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1, 4]))
def test_json_is_yaml(value, is_ascii, indent):
    """YAML 1.2 holds JSON: what JSON wrote is read back unchanged."""
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent) + "\n"
    assume(is_ascii or all(char.isprintable() or char == "\n" for char in text))

    assert value_of(text) == value


# No "b": ruamel.yaml reads 0b0 as a number, which YAML 1.2 does not.
WORDS = st.text("ag c:#-'\"é0.~\\\n", max_size=20)


@st.composite
def block_documents(draw):
    """Maps and lists in block style, with awkward plain and block scalars."""
    lines = []

    def write(indent, depth):
        pad = " " * indent
        for name in draw(st.lists(KEYS, min_size=1, max_size=3, unique=True)):
            match draw(st.integers(0, 4 if depth else 2)):
                case 0:
                    lines.append(f"{pad}{name}: {draw(WORDS)}")
                case 1:
                    style = draw(st.sampled_from("|>")) + draw(
                        st.sampled_from(["", "-", "+"])
                    )
                    lines.append(f"{pad}{name}: {style}")
                    lines.extend(
                        f"{pad}  {line}" if line else ""
                        for line in draw(WORDS).split("\n")
                    )
                case 2:
                    lines.append(f"{pad}{name}:")
                    lines.extend(f"{pad}- {draw(WORDS)}" for _ in range(2))
                case _:
                    lines.append(f"{pad}{name}:")
                    write(indent + draw(st.integers(1, 3)), depth - 1)

    write(0, 2)
    return "\n".join(lines) + "\n"


@settings(max_examples=300, derandomize=True, deadline=None)
@given(block_documents())
def test_accepts_nothing_that_ruamel_reads_otherwise(text):
    """A text that both readers accept means the same to both."""
    findings = Findings(text)
    try:
        node = read(text, findings)
    except Halt:
        node = None
    assume(node is not None and not findings)
    try:
        expected = reference(text)
    except (YAMLError, ValueError):
        assume(False)

    assert to_json(node) == expected


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: b: c\n", 1, 5, "a key is not possible here"),
        ("a: b\n  c: d\n", 2, 4, "a key is not possible here"),
        ("a:\n    b: 1\n  c: 2\n", 3, 3, "indentation"),
        ("a:\n\tb: 1\n", 2, 1, "tab"),
        ("a: 'x\n", 1, 4, "no closing '"),
        ('a: "x\n', 1, 4, 'no closing "'),
        ('a: "\\q"\n', 1, 4, "no such escape"),
        ('a: "\\ud800"\n', 1, 4, "surrogate"),
        ("a: [1, 2\n", 1, 4, "never closed"),
        ("a: {b: [}\n", 1, 9, "a value was expected here"),
        ("a: [1 2: 3}\n", 1, 11, "',' or ']' was expected"),
        ("a: - b\n", 1, 4, "a list begins on a line of its own"),
        ("a: @b\n", 1, 4, "quote it"),
        ("a: 'b' c\n", 1, 8, "follows a value"),
        ("? a\n: b\n", 1, 1, "'?' keys"),
        ("{[a]: b}\n", 1, 2, "a key is text"),
        ("a: b\n- c\n", 2, 1, "a key"),
        ("- a\nb: c\n", 2, 1, "indentation"),
        ("a: 1\n---\nb: 2\n", 2, 1, "one document"),
        ("%YAML 1.1\n---\na: 1\n", 1, 1, "%YAML 1.2"),
        ("%YAML 1.2\na: 1\n", 2, 1, "'---' was expected"),
        ("a: x\x07\n", 1, 5, "not allowed"),
        ("a: |x\n  b\n", 1, 4, "block of text"),
        ("--- a: b\n", 1, 6, "a key is not possible here"),
    ],
)
def test_an_error_of_syntax_has_its_place(text, line, column, words):
    """What is no YAML 1.2 is refused where it stands, with a way out."""
    findings = Findings(text)
    with pytest.raises(Halt):
        read(text, findings)
    (finding,) = findings.placed("x")

    assert (finding.code, finding.line, finding.column) == ("SAGA001", line, column)
    assert words in finding.message


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a: &x 1\nb: *x\n", [(1, 4), (2, 4)]),
        ("&x a: 1\n*x : 2\n", [(1, 1), (2, 1)]),
        ("a: &x\n  b: 1\n", [(1, 4)]),
        ("&x\na: 1\n", [(1, 1)]),
        ("*x\n", [(1, 1)]),
        ("a: !!str 1\nb: !t {c: 1}\n", [(1, 4), (2, 4)]),
        ("a: [&x 1, *x, !t [2]]\n", [(1, 5), (1, 11), (1, 15)]),
        ("- &x a: 1\n- !t\n  b\n", [(1, 3), (2, 3)]),
        ("a: !t |\n  x\n", [(1, 4)]),
        ("--- !t {a: 1}\n", [(1, 5)]),
        ("--- *x\n", [(1, 5)]),
        ("%TAG ! x\n---\na: 1\n", [(1, 1)]),
        ("a: {<<: {b: 1}}\n<<: x\n", [(1, 5), (2, 1)]),
    ],
)
def test_aliases_tags_and_merge_keys_are_noted_and_reading_goes_on(text, places):
    """Each is a finding of its own, and nothing is ever resolved."""
    findings = Findings(text)
    node = read(text, findings)

    assert node is not None
    found = findings.placed("x")
    assert [(f.line, f.column) for f in found] == places
    assert {f.code for f in found} == {"SAGA002"}


def test_a_duplicate_key_is_noted_at_its_second_place():
    """The first value stays."""
    findings = Findings("")
    node = read("a: 1\nb: {c: 1, c: 2}\na: 2\n", findings)

    assert to_json(node) == {"a": 1, "b": {"c": 1}}
    assert len(findings.placed("x")) == 2


@pytest.mark.parametrize(
    "word",
    [".inf", "-.INF", ".nan", "9" * 30, "9" * 60, "1e999", "-9223372036854775809"],
)
def test_a_number_that_json_cannot_hold_is_refused(word):
    """No number is changed in silence."""
    text = f"a: {word}\n"
    findings = Findings(text)
    node = read(text, findings)

    assert isinstance(node, MapNode)
    assert isinstance(node.entries["a"], Broken)
    assert [f.code for f in findings.placed("x")] == ["SAGA013"]


def test_a_key_is_text():
    """A number or truth value as a key is refused, quoted it is text."""
    findings = Findings("")
    read('1: a\ntrue: b\n"2": c\n', findings)

    assert [f.code for f in findings.placed("x")] == ["SAGA011"] * 2


def test_an_unquoted_expression_in_braces_is_explained_and_reading_goes_on():
    """The finding shows the quoted form, and the rest is still read."""
    text = "a: {b: ${input.x}, c: [x${steps['a'].output}], d: 1}\n"
    findings = Findings(text)
    node = read(text, findings)

    assert isinstance(node, MapNode)
    found = findings.placed("x")
    assert [(f.code, f.column) for f in found] == [("SAGA005", 8), ("SAGA005", 24)]
    assert '"${input.x}"' in found[0].message


def test_the_depth_limit_is_exact():
    """32 levels are read, 33 are not."""
    for depth, is_read in ((32, True), (33, False)):
        text = "[" * depth + "]" * depth + "\n"
        findings = Findings(text)
        try:
            node = read(text, findings)
        except Halt:
            node = None
        assert is_read is isinstance(node, ListNode)
        assert bool(findings) is not is_read


BOMBS = {
    "brackets": "[" * KIB_256,
    "braces": "{" * KIB_256,
    "keys of brackets": "{[" * (KIB_256 // 2),
    "dashes": "- " * (KIB_256 // 2),
    "lines of dashes": "-\n" * (KIB_256 // 2),
    "keys": "".join(f"k{number}: v\n" for number in range(9_900)),
    "same keys": "a: b\n" * 19_000,
    "keys in keys": "a: " * (KIB_256 // 3),
    "items": "[" + "1," * 19_900 + "]",
    "numbers": "[" + "1.5," * 19_900 + "]",
    "one word": "x" * KIB_256,
    "words": "a " * (KIB_256 // 2),
    "colons": "a:" * (KIB_256 // 2),
    "comments": "#\n" * (KIB_256 // 2),
    "one comment": "a: b " + "#" * KIB_256,
    "blanks": " " * KIB_256,
    "blank lines": " \n" * (KIB_256 // 2),
    "tabs": "\t" * KIB_256,
    "quotes": "'" * KIB_256,
    "open quote": '"' + "x" * KIB_256,
    "escapes": '"' + "\\a" * (KIB_256 // 2 - 2) + '"',
    "surrogates": '"' + "\\ud83d" * 40_000 + '"',
    "folded": "a: >\n" + " x\n" * 19_900,
    "literal": "a: |\n" + " x\n" * 19_900,
    "plain lines": "a:\n" + " x\n" * 19_900,
    "quoted lines": '"' + "a\\\n" * 19_900 + '"',
    "tags": "! " * (KIB_256 // 2),
    "anchors": "&a " * (KIB_256 // 3),
    "aliases": "[" + "*a," * (KIB_256 // 3),
    "laughs": "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in range(1, 3_000)),
    "questions": "? " * (KIB_256 // 2),
    "nothing printable": "\x00" * KIB_256,
    "surrogate characters": "\ud800" * 1000,
    "too large": "x" * (KIB_256 + 1),
    "long key": "k" * 200_000 + ": v",
}
CPU_SECONDS_MAX = 0.2
"""Promised are 100 ms; what runs beside a test may double it."""


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_long(name):
    """A hostile text of any size is answered within its time."""
    text = BOMBS[name]

    assert seconds_here(lambda: check(text)) < CPU_SECONDS_MAX


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_much_memory(name):
    """64 MB are enough for a hostile text of any size."""
    text = BOMBS[name]
    tracemalloc.start()
    try:
        check(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 64 * 1024 * 1024


def test_the_size_limit_counts_bytes():
    """256 KiB are read, one byte more is refused, also when characters are fewer."""
    comment = "# " + "é" * (KIB_256 // 2 - 2)
    assert [f.code for f in check(comment + "x")[1]] == [Code.MISSING_KEY]
    assert [f.code for f in check(comment + "éx")[1]] == [Code.OVER_LIMIT]


def test_line_breaks_of_all_systems_are_one_break():
    """Windows and old Mac texts have the same lines and columns."""
    assert value_of("a: b\n") == {"a": "b"}
    for text in ("\ufeffa: 1\r\n\r\nb: [\r\n", "a: 1\r\rb: [\r", "a: 1\n\nb: ["):
        (finding,) = check(text)[1]
        assert (finding.line, finding.column) == (3, 4)


def test_floats_are_finite():
    """The reference for what a float may be."""
    assert math.isclose(value_of("a: 1.5e+300\n")["a"], 1.5e300)
