"""How a finding is shown: the line of the text, and a caret under the column."""

import pytest

from coordinator.saga_yaml.findings import Code, Findings


def excerpt(text, at):
    findings = Findings(text)
    findings.add(at, Code.WRONG_VALUE, "wrong")
    (finding,) = findings.placed("a.yaml")
    return finding.excerpt.split("\n")


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("a: 1\nbc: d\ne: 2\n", "d", ["bc: d", "    ^"]),
        ("a: 1", "a", ["a: 1", "^"]),
        ("a: b   \n", "b", ["a: b", "   ^"]),
        ("a:\tb\n", "b", ["a: b", "   ^"]),
        ("漢字: b\n", "b", ["漢字: b", "      ^"]),
        ("e\u0301: b\n", "b", ["e\u0301: b", "   ^"]),
        ("\x1b[2J: b\n", "b", ["\ufffd[2J: b", "      ^"]),
        ("\n", "\n", ["", "^"]),
    ],
)
def test_the_caret_stands_under_the_column(text, word, expected):
    """As a terminal draws it, wide and unprintable characters included."""
    assert excerpt(text, text.index(word)) == expected


def test_a_long_line_is_cut_around_the_column():
    """Something before and behind is kept, and dots say that there is more."""
    text = "x" * 500 + "HERE" + "y" * 500
    line, caret = excerpt(text, 500)

    assert line.startswith("...x")
    assert line.endswith("y...")
    assert len(line) == 106
    assert line[caret.index("^") :].startswith("HERE")


def test_an_excerpt_at_the_end_of_the_text():
    """A finding behind the last character has a line too."""
    assert excerpt("a: 1\n", 5) == ["", "^"]
