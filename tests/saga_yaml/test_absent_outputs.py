"""Outputs that may not be there: of steps that are skipped, fail, or have none."""

import pytest

from tests.saga_yaml.sagas import codes, found, saga

SKIPPED = "id: a, if: '${input.x}', call: bank.debit"
OPTIONAL = "id: a, optional: true, call: bank.debit"
OPTIONAL_LIST = "id: a, optional: true, forEach: '${input.x}', call: bank.debit"
READS = 'id: b, call: bank.debit, input: {x: "%s"}'
QUIET = saga("id: q, call: bank.debit", name="quiet")
LOUD = saga("id: q, call: bank.debit", name="loud", rest="output: {x: 1}\n")

BARE = "${steps.a.output.y}"
GUARDED = "${has(steps.a.output) ? steps.a.output.y : 0}"


@pytest.mark.parametrize(
    "first", [SKIPPED, OPTIONAL, OPTIONAL_LIST, "id: a, optional: true, await: s"]
)
@pytest.mark.parametrize(
    ("read", "expected"),
    [(BARE, ["SAGA043"]), (GUARDED, []), (f"x {BARE}", ["SAGA043"])],
)
def test_an_output_that_may_be_absent_needs_a_word_for_that(first, read, expected):
    """In the input of a later step and in the output of the saga alike."""
    assert codes(saga(first, READS % read)) == expected
    assert codes(saga(first, rest=f'output: "{read}"\n')) == expected


@pytest.mark.parametrize(
    "first",
    [
        "id: a, call: bank.debit",
        "id: a, if: true, call: bank.debit",
        "id: a, optional: false, call: bank.debit",
        "id: a, forEach: [1], call: bank.debit",
        "id: a, saga: loud@1.0.0",
        "id: a, await: it",
    ],
)
def test_what_always_has_an_output_may_be_read(first):
    """Calls, lists, signals, and child sagas with an ``output``."""
    assert codes(saga(first, READS % "${steps.a.output}"), LOUD) == []


def test_a_condition_that_asks_for_an_output_proves_it():
    """For whatever is evaluated after it in the same step, and nowhere else."""
    asked = "id: b, if: '${input.z && has(steps.a.output)}', "
    item = f"forEach: ['{BARE}'], call: bank.debit, input: {{x: '{BARE}'}}, "
    undo = f"compensate: {{input: {{x: '{BARE}'}}}}"
    later = (READS % BARE).replace("id: b", "id: c")

    assert codes(saga(SKIPPED, asked + item + undo)) == []
    assert codes(saga(SKIPPED, f"{asked}wait: '{BARE}'")) == []
    assert codes(saga(SKIPPED, f"{asked}wait: 1s", later)) == ["SAGA043"]
    either = asked.replace("&&", "||")
    assert codes(saga(SKIPPED, f"{either}wait: '{BARE}'")) == ["SAGA043"]


@pytest.mark.parametrize("first", [SKIPPED, OPTIONAL])
def test_s10_a_compensation_reads_its_own_output(first):
    """It is called only when there is something to undo."""
    assert codes(saga(f"{first}, compensate: {{input: {{x: '{BARE}'}}}}")) == []


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("id: a, wait: 1s", "it is a timer"),
        ("id: a, saga: quiet@1.0.0", "the saga quiet has no 'output'"),
    ],
)
def test_steps_without_any_output_are_not_read(first, why):
    """Guarded or not: there is nothing to have."""
    for read in (BARE, GUARDED):
        findings = found(saga(first, READS % read), QUIET)
        assert {finding.code for finding in findings} == {"SAGA041"}
        assert findings[0].message == f"step 'a' has no output: {why}"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("if: '${1 + 1}'", "a boolean is needed here, and this yields an integer"),
        ("forEach: '${input.x == 1}'", "a list is needed here"),
        ("input: '${[1]}'", "a map is needed here, and this yields a list"),
        ("compensate: {input: \"${'x'}\"}", "a map is needed here"),
        ("fallback: {call: bank.debit, input: '${1}'}", "a map is needed here"),
    ],
)
def test_an_expression_yields_what_is_needed(step, message):
    """As far as its type is known."""
    (finding,) = found(saga(f"id: a, call: bank.debit, {step}"))

    assert finding.code == "SAGA045"
    assert finding.message.startswith(message)


def test_a_timer_needs_text():
    """A bare number is no duration, not even a computed one."""
    assert codes(saga("id: a, wait: '${5 * 60}'")) == ["SAGA045"]
    assert codes(saga("id: a, wait: \"${input.minutes + 'm'}\"")) == []
