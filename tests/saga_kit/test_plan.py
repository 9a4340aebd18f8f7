"""What a saga would do: in waves, evaluated as far as it is known."""

from coordinator.saga_kit.plan import plan
from tests.saga_kit.sagas import saga, whole


def planned(saga_input):
    found = plan(whole(), saga_input)
    return found, {step.branch_id: step for step in found.steps}


GIVEN = {"parts": ["a", "b", "c"], "vip": True}


def test_waves_follow_the_needs():
    """What can run side by side has the same number."""
    found, _ = planned(GIVEN)

    assert [(step.wave, step.branch_id) for step in found.steps] == [
        (1, "reserve"),
        (1, "kyc"),
        (2, "parts"),
        (3, "cool"),
        (4, "approve"),
        (5, "book"),
        (5, "gift"),
        (6, "pay"),
        (7, "mail"),
        (7, "archive"),
    ]


def test_what_the_input_decides_is_decided():
    """Conditions, lists and inputs; a skipped step takes no time."""
    _, steps = planned({**GIVEN, "vip": False})

    assert steps["kyc"].is_skipped
    assert steps["kyc"].ends_ms == 0
    assert not planned(GIVEN)[1]["kyc"].is_skipped
    assert [item.value for item in steps["parts"].item_inputs] == [
        {"part": "a"},
        {"part": "b"},
        {"part": "c"},
    ]


def test_what_depends_on_an_output_stays_as_it_is_written():
    """Compensations too; and it is said which expressions are not known."""
    _, steps = planned(GIVEN)
    undo = steps["book"].calls[0].undo

    assert undo is not None
    assert undo.operation == "ledger.reverse"
    assert undo.input is not None
    assert undo.input.value == {"entry": "${steps.book.output.entry}"}
    assert undo.input.unknown == ("steps.book.output.entry",)


def test_a_child_saga_is_planned_with_what_it_is_given():
    """Of an item nothing is known but its name."""
    _, steps = planned(GIVEN)
    child = steps["parts"].child

    assert child is not None
    assert [step.branch_id for step in child.steps] == ["parts:hold", "parts:label"]
    assert child.steps[0].calls[0].input.value == {"part": "${item}"}
    assert child.steps[0].calls[0].input.unknown == ("item",)


def test_the_longest_path_counts_rounds_timers_and_waiting():
    """Each call is asked once and uses its timeout; two items at a time."""
    found, steps = planned(GIVEN)

    assert found.longest == (
        "reserve",
        "parts",
        "cool",
        "approve",
        "book",
        "pay",
        "mail",
    )
    per_item = steps["parts"].child.longest_ms
    assert steps["parts"].ends_ms - steps["parts"].starts_ms == 2 * per_item
    assert steps["cool"].ends_ms - steps["cool"].starts_ms == 30_000
    assert steps["approve"].ends_ms - steps["approve"].starts_ms == 120_000
    assert found.longest_ms == steps["mail"].ends_ms


def test_what_will_fail_is_told():
    """A value that is not there, and a list that is none."""
    found, _ = planned({"parts": "no list"})
    problems = list(found.problems())

    assert any(text.startswith("kyc: ") for text in problems)
    assert "parts: forEach is over a text, not a list" in problems


def test_a_condition_that_reads_an_output_is_left_open():
    """Nobody can know before the step has answered."""
    text = """
apiVersion: tercet/v1
kind: Saga
metadata: {name: c, version: 1.0.0}
timeout: 1m
steps:
- {id: score, call: risk.score, compensate: none, input: {on: "${saga.startedAt}"}}
- id: pay
  if: ${steps.score.output.points > 5}
  call: p.p
  input: {text: "points: ${steps.score.output.points} for ${input.who}"}
  compensate: none
"""
    first, second = plan(saga(text), {"who": "ann"}).steps

    assert first.calls[0].input.unknown == ("saga.startedAt",)
    assert second.condition is not None
    assert second.condition.unknown == ("steps.score.output.points > 5",)
    assert not second.is_skipped
    assert second.calls[0].input.value == {
        "text": "points: ${steps.score.output.points} for ann"
    }
