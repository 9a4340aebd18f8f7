"""Whatever is typed, the answer is a definition or findings with places."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.saga_yaml import SagaRefused, parse
from tests.saga_yaml.test_definition import CATALOGUE, HEADER, LOAN, STEP


def parsed(text, operations=None):
    """The definition or the findings; any other error comes through."""
    try:
        return parse(text, operations=operations), ()
    except SagaRefused as refusal:
        return None, refusal.findings


PIECES = st.sampled_from(
    [
        *"{}[]:,-#&*!|>'\"%@`?\\\t\n ~$.",
        "- ",
        ": ",
        "\n  ",
        "${",
        "}",
        "${input.a}",
        "<<: ",
        "*a",
        "&a ",
        "!!str ",
        "---\n",
        "...\n",
        "needs: []",
        "compensate: none\n",
        "steps:",
        "null",
        "1e99",
        "\r",
        "\ufeff",
        "\ud800",
        "\x00",
        "é",
        "- id: x\n  call: a.b\n",
    ]
)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.lists(PIECES | st.text(max_size=5), max_size=60).map("".join))
def test_random_text_raises_nothing_but_a_refusal(text):
    """Whatever is typed, the answer is a definition or findings with places."""
    for candidate in (text, HEADER + STEP + "  input:\n    " + text):
        definition, findings = parsed(candidate, CATALOGUE)
        assert bool(findings) is (definition is None)
        assert all(f.line >= 1 and f.column >= 1 for f in findings)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.integers(0, 2**32), st.lists(PIECES, min_size=1, max_size=4))
def test_mutated_sagas_raise_nothing_but_a_refusal(seed, pieces):
    """A saga with parts cut out, doubled, moved or replaced is answered as well."""
    choose = random.Random(seed)
    text = LOAN
    for piece in pieces:
        start = choose.randrange(len(text))
        end = min(len(text), start + choose.choice([0, 1, 2, 5, 40]))
        with_what = choose.choice([piece, "", text[start:end] * 2])
        text = text[:start] + with_what + text[end:]

    definition, findings = parsed(text)
    assert bool(findings) is (definition is None)
    assert parsed(text) == (definition, findings)
