"""The barrier's rules at their limits, and the answers that must never be silent."""

from itertools import product

import pytest

from participant_sdk.barrier.rules import (
    DAY_MS,
    KEEP_MS_MIN,
    Answer,
    Bury,
    Outcome,
    Phase,
    Record,
    Reject,
    Run,
    Slot,
    admit,
    admit_answer,
    is_expired,
    is_removable,
    is_surely_young,
)

ROWS = [None, *(Record(p, o) for p, o in product(Phase, Outcome))]


def test_slots_are_stored_as_these_numbers():
    """B6: they are part of the key in every participant's database."""
    assert {slot.name: slot.value for slot in Slot} == {"FORWARD": 1, "SECOND": 2}


@pytest.mark.parametrize("phase", Phase)
def test_there_is_always_a_verdict(phase):
    """B5: over all rows; nothing is ever passed over in silence."""
    for forward, second, known, old in product(ROWS, ROWS, [0, 1], [0, 1]):
        verdict = admit(
            phase, forward, second, known_done=bool(known), expired=bool(old)
        )
        assert isinstance(verdict, Run | Answer | Bury | Reject)


@pytest.mark.parametrize(
    ("asked", "began"),
    [
        (Phase.CONFIRM, Phase.ACTION),
        (Phase.CANCEL, Phase.ACTION),
        (Phase.COMPENSATION, Phase.TRY),
        (Phase.TRY, Phase.ACTION),
        (Phase.ACTION, Phase.TRY),
    ],
)
def test_a_side_of_another_kind_of_branch_is_loud(asked, began):
    """B5: the message names both, for whoever has to look."""
    verdict = admit(asked, Record(began, Outcome.SUCCEEDED), None)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.alarming) == ("WRONG_ORDER", True)
    assert verdict.message == f"{asked} was asked of a branch that began with {began}"


def test_a_confirm_whose_answer_is_not_known_runs_again():
    """B9: it may have been cut off in the middle."""
    tried = Record(Phase.TRY, Outcome.SUCCEEDED, b"7")
    begun = Record(Phase.CONFIRM, Outcome.INTENT)
    assert Run(tried, resumes=True) == admit(Phase.CONFIRM, tried, begun)


@pytest.mark.parametrize("phase", [Phase.TRY, Phase.ACTION])
def test_an_overtaken_handler_is_told_for_good_and_loudly(phase):
    """B3, B9: it may have left something behind its cancel; a person should look."""
    backward = Phase.CANCEL if phase is Phase.TRY else Phase.COMPENSATION
    mine = Record(phase, Outcome.INTENT)
    verdict = admit_answer(phase, mine, Record(backward, Outcome.SUCCEEDED))
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.final) == ("BRANCH_CANCELLED", True)
    assert verdict.alarming


@pytest.mark.parametrize("phase", Phase)
def test_a_first_answer_from_outside_resumes_its_intent(phase):
    """B9: the row that it left before it worked becomes the record."""
    forward = Record(Phase.TRY, Outcome.INTENT)
    second = Record(phase, Outcome.INTENT)
    rows = (forward, None) if phase in (Phase.TRY, Phase.ACTION) else (forward, second)
    assert Run(forward, resumes=True) == admit_answer(phase, *rows)


def test_rows_are_kept_for_31_days():
    """B3: longer than the longest transaction and the longest call."""
    assert DAY_MS == 86_400_000
    assert KEEP_MS_MIN == 2_678_400_000


def test_age_is_compared_to_the_millisecond():
    """B3: at the horizon itself nothing has been removed; a day is surely young."""
    assert is_expired(6, 7)
    assert not is_expired(7, 7)
    now = 2 * 10**12
    assert is_surely_young(now - DAY_MS, now)
    assert not is_surely_young(now - DAY_MS - 1, now)


def test_whether_a_row_may_go_is_always_said():
    """B3: yes or no, over all rows; an answer that is missing would keep them."""
    said = {
        is_removable(forward, second) for forward, second in product(ROWS[1:], ROWS)
    }
    assert said == {True, False}
    old = Record(Phase.TRY, Outcome.SUCCEEDED)
    assert is_removable(old, Record(Phase.CONFIRM, Outcome.SUCCEEDED)) is True
    assert is_removable(Record(Phase.ACTION, Outcome.SUCCEEDED), None) is True
    assert is_removable(Record(Phase.TRY, Outcome.INTENT), None) is False
