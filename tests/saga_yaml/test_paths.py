"""The fast way for plain paths reads what the parser of CEL reads, or nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.saga_yaml.cel import Mistake, facts_of, parse, path_of
from coordinator.saga_yaml.paths import plain_path

WORDS = st.sampled_from(
    [
        *("input", "steps", "saga", "item", "index", "output", "gid", "startedAt"),
        *("a", "in", "true", "null", "for", "_", "é", "pay-out", "x1"),
    ]
)
PARTS = st.one_of(
    WORDS.map(lambda word: f".{word}"),
    WORDS.map(lambda word: f"['{word}']"),
    WORDS.map(lambda word: f'["{word}"]'),
    st.sampled_from(
        [
            *("[0]", "[007]", "[999999999]", "[-1]", "[0x1]", "[1.0]", "[true]"),
            *("['']", "['a\"b']", '["a\'b"]', "['}']", "['\\n']", "[r'a']", "[a]"),
            *("[ 'a' ]", ".a()", " .a", "[''' ''']", "['a' + 'b']", "['\t']"),
            ".a.a.a.a.a.a.a.a",
        ]
    ),
)
BLANKS = st.sampled_from(["", " ", "\n ", "\t", "//x\n", "\r"])
PATHS = st.builds(
    lambda before, root, parts, behind: f"${{{before}{root}{''.join(parts)}{behind}}}",
    BLANKS,
    WORDS,
    st.lists(PARTS, max_size=8),
    BLANKS,
)


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(st.text(alphabet="a ${}'", max_size=5), PATHS)
def test_the_fast_way_agrees_with_the_parser(before, text):
    """Whatever it reads, the parser reads with the same path, facts and end."""
    start = len(before)
    plain = plain_path(before + text + "} tail", start)
    if plain is None:
        return
    tree, end = parse(before + text + "} tail", start + 2, "}")

    assert plain.path == path_of(tree)
    assert plain.facts == facts_of(tree)
    assert plain.end == end
    assert plain.source == (before + text)[start + 2 : end - 1].strip(" \t\n")


@pytest.mark.parametrize(
    "text",
    [
        "${input}",
        "${ input.a }",
        "${input['a b'][0].c}",
        '${steps["pay-out"].output.items[12].id}',
        "${steps.pay.output}",
        "${saga.gid}",
        "${saga['startedAt']}",
        "${item.x}",
        "${index}",
    ],
)
def test_usual_paths_take_the_fast_way(text):
    """Else it would be there for nothing."""
    assert plain_path(text, 0) is not None


@pytest.mark.parametrize(
    "text",
    [
        *("${steps.pay}", "${saga}", "${saga.git}", "${steps[0].output}"),
        *("${other.x}", "${input.a", "${}"),
        "${input" + ".a" * 40 + "}",
        "${input." + "a" * 5000 + "}",
    ],
)
def test_what_may_not_stand_there_is_left_to_the_parser(text):
    """It knows what to say about it."""
    assert plain_path(text, 0) is None
    try:
        facts_of(parse(text, 2, "}")[0])
    except Mistake:
        pass
    else:
        pytest.fail("the parser has nothing against it")
