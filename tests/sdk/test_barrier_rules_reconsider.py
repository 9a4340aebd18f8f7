"""The barrier's rules where an action that was refused is asked anew."""

from itertools import product

from participant_sdk.barrier.rules import (
    Answer,
    Bury,
    Outcome,
    Phase,
    Record,
    Reject,
    Run,
    admit,
    admit_answer,
)

ROWS = [None, *(Record(p, o) for p, o in product(Phase, Outcome))]
REFUSED = Record(Phase.ACTION, Outcome.REFUSED, code="CLOSED", message="until Monday")


def test_only_a_recorded_refusal_of_an_action_is_reconsidered():
    """B4: over all rows and phases, the flag changes nothing else."""
    for phase, forward, second in product(Phase, ROWS, ROWS):
        plain = admit(phase, forward, second)
        asked_anew = admit(phase, forward, second, reconsider=True)
        if plain != asked_anew:
            assert phase is Phase.ACTION
            assert Answer(forward) == plain
            assert forward.outcome is Outcome.REFUSED
            assert Run(replaces=forward) == asked_anew


def test_a_compensation_buries_what_was_refused():
    """B3: else a reconsidering call that comes late would run an action for nobody."""
    assert Bury(replaces=REFUSED) == admit(Phase.COMPENSATION, REFUSED, None)
    tombstone = Record(Phase.COMPENSATION, Outcome.EMPTY)
    late = admit(Phase.ACTION, tombstone, None, reconsider=True)
    assert isinstance(late, Reject)
    assert (late.code, late.final) == ("BRANCH_CANCELLED", True)


def test_an_answer_from_outside_is_no_success_once_its_branch_is_buried():
    """B3, B9: two attempts ran outside; one refused, and that was undone."""
    tombstone = Record(Phase.COMPENSATION, Outcome.EMPTY)
    verdict = admit_answer(Phase.ACTION, tombstone, None)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.alarming) == ("BRANCH_CANCELLED", True)
