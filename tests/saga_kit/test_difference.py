"""Two versions compared by what they mean."""

from coordinator.saga_kit.difference import Difference, differences
from coordinator.saga_yaml import normal_form
from tests.saga_kit.sagas import CHAIN, saga


def compared(old, new):
    before, after = normal_form(saga(CHAIN)), normal_form(saga(CHAIN.replace(old, new)))
    return differences(before, after)


def test_spelling_comments_and_defaults_are_no_difference():
    """Only what a saga does counts; the version itself is none either."""
    assert compared("timeout: 5m", "timeout: 300s  # five minutes") == ()
    assert compared("version: 1.0.0", "version: 1.1.0") == ()
    assert compared("  tcc: b.reserve", "  tcc: b.reserve\n  needs: [first]") == ()


def test_a_difference_names_step_and_path():
    """With both values, as they would be written."""
    assert compared("timeout: 5m", "timeout: 6m") == (
        Difference("saga", "timeout", 300_000, 360_000),
    )
    assert compared(
        '${steps.first.output.id}"}\n  compensate: {call: c',
        '${steps.first.output.key}"}\n  compensate: {call: c',
    ) == (
        Difference(
            "third",
            "input.id",
            "${steps.first.output.id}",
            "${steps.first.output.key}",
        ),
    )


def test_steps_that_come_and_go_are_named():
    """What is new has no before, what is gone no after."""
    (gone, other_needs) = compared("- id: second\n  tcc: b.reserve\n", "")

    assert (gone.where, gone.what, gone.after) == ("second", "", None)
    assert other_needs == Difference("third", "needs", ["second"], ["first"])
