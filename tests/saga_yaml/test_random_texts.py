"""Whatever is typed, the answer is a definition or findings with places."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.saga_yaml import SagaRefused, parse
from tests.saga_yaml.sagas import OPERATIONS, Published
from tests.saga_yaml.test_definition import HEADER, LOAN, STEP
from tests.saga_yaml.test_elements import CHILD

PUBLISHED = Published(CHILD)
ALL_ELEMENTS = """\
apiVersion: tercet/v1
kind: Saga
metadata: {name: loan, version: 1.0.0}
timeout: 1h
steps:
- id: reserve
  tcc: bank.hold
  expiresIn: 30m
  pendingTimeout: 5m
- id: each
  forEach: ${input.items}
  maxParallel: 3
  call: bank.debit
  input: {item: "${item}", at: "${index}"}
  compensate: {call: bank.refund, input: {x: "${steps.each.output.id}"}}
- id: ask
  if: ${input.big}
  await: approved
  timeout: 5m
  optional: true
- id: rest
  needs: [each, ask]
  wait: 5s
- {id: run, saga: child@1.0.0, input: "${input}"}
- id: pay
  pivot: true
  call: bank.debit
  fallback: {call: bank.refund, fallback: {call: mail.send}}
- {id: thank, optional: true, call: mail.send}
"""


def test_the_saga_that_is_mutated_is_right():
    """Else its mutations would prove little."""
    assert parsed(ALL_ELEMENTS)[1] == ()


def parsed(text, operations=None):
    """The definition or the findings; any other error comes through."""
    try:
        return parse(text, operations=operations, sagas=PUBLISHED), ()
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
        "- {id: y, wait: 1s}\n",
        "  await: it\n",
        "  tcc: bank.hold\n  expiresIn: 1s\n",
        "  saga: child@1.0.0\n",
        "  pivot: true\n",
        "  optional: true\n",
        "  if: ${input.a}\n",
        "  forEach: [1, 2]\n  maxParallel: 1\n",
        "  fallback: {call: a.b}\n",
        "${item.a}",
    ]
)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.lists(PIECES | st.text(max_size=5), max_size=60).map("".join))
def test_random_text_raises_nothing_but_a_refusal(text):
    """Whatever is typed, the answer is a definition or findings with places."""
    for candidate in (text, HEADER + STEP + "  input:\n    " + text):
        definition, findings = parsed(candidate, OPERATIONS)
        assert bool(findings) is (definition is None)
        assert all(f.line >= 1 and f.column >= 1 for f in findings)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.integers(0, 2**32), st.lists(PIECES, min_size=1, max_size=4))
def test_mutated_sagas_raise_nothing_but_a_refusal(seed, pieces):
    """A saga with parts cut out, doubled, moved or replaced is answered as well."""
    choose = random.Random(seed)
    text = choose.choice([LOAN, ALL_ELEMENTS])
    for piece in pieces:
        start = choose.randrange(len(text))
        end = min(len(text), start + choose.choice([0, 1, 2, 5, 40]))
        with_what = choose.choice([piece, "", text[start:end] * 2])
        text = text[:start] + with_what + text[end:]

    definition, findings = parsed(text)
    assert bool(findings) is (definition is None)
    assert parsed(text) == (definition, findings)
