"""The barrier's rules, over every combination of call and recorded rows."""

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
    first_claim,
    horizon_of,
    is_expired,
    is_identifier,
    is_removable,
    is_surely_young,
    recorded_at,
)

ROWS = [None, *(Record(p, o) for p, o in product(Phase, Outcome))]
FORWARD = {
    Phase.TRY: Phase.TRY,
    Phase.CONFIRM: Phase.TRY,
    Phase.CANCEL: Phase.TRY,
    Phase.ACTION: Phase.ACTION,
    Phase.COMPENSATION: Phase.ACTION,
}
BACKWARD = {Phase.CANCEL, Phase.COMPENSATION}


def done(phase: Phase) -> Record:
    return Record(phase, Outcome.SUCCEEDED, b'{"id":7}', "application/json")


@pytest.mark.parametrize("phase", [Phase.TRY, Phase.ACTION])
def test_the_first_forward_call_runs(phase):
    """F-1, B1: nothing is recorded, so the business code is called."""
    assert Run() == admit(phase, None, None)


@pytest.mark.parametrize("phase", [Phase.TRY, Phase.ACTION])
@pytest.mark.parametrize(
    "outcome", [Outcome.SUCCEEDED, Outcome.REFUSED, Outcome.PENDING]
)
def test_a_duplicate_gets_the_recorded_answer(phase, outcome):
    """F-7, B4: also a recorded refusal, and the output of a success."""
    record = Record(phase, outcome, b"1", "application/json", "CODE", "text")
    assert Answer(record) == admit(phase, record, None)


def test_a_duplicate_try_after_confirm_gets_the_recorded_answer():
    """F-7, B4: the try's own answer stays true once it is confirmed."""
    verdict = admit(Phase.TRY, done(Phase.TRY), done(Phase.CONFIRM))
    assert Answer(done(Phase.TRY)) == verdict


@pytest.mark.parametrize(
    ("phase", "backward"),
    [(Phase.TRY, Phase.CANCEL), (Phase.ACTION, Phase.COMPENSATION)],
)
@pytest.mark.parametrize("tried_before", [False, True])
def test_a_late_try_is_refused_for_good(phase, backward, tried_before):
    """F-5, B3, B4, L5: after a cancel a try is never answered OK, whoever sends it."""
    if tried_before:
        verdict = admit(phase, done(phase), done(backward))
    else:
        verdict = admit(phase, Record(backward, Outcome.EMPTY), None)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.final) == ("BRANCH_CANCELLED", True)


@pytest.mark.parametrize("phase", sorted(BACKWARD))
def test_a_cancel_without_a_try_leaves_a_tombstone(phase):
    """F-4, B2: nothing is recorded, so nothing is called."""
    assert Bury() == admit(phase, None, None)


@pytest.mark.parametrize("phase", sorted(BACKWARD))
def test_a_missing_row_of_a_known_answer_is_loud(phase):
    """B2: where the coordinator has the answer, a cancel cannot be empty."""
    verdict = admit(phase, None, None, known_done=True)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.alarming) == ("BARRIER_ROW_MISSING", True)


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [
        (Phase.CANCEL, Outcome.EMPTY),
        (Phase.CANCEL, Outcome.REFUSED),
        (Phase.COMPENSATION, Outcome.EMPTY),
    ],
)
def test_a_cancel_of_nothing_succeeds_and_does_nothing(phase, outcome):
    """F-3, B2: a second empty cancel, and the cancel of a refused try."""
    verdict = admit(phase, Record(FORWARD[phase], outcome), None)
    assert isinstance(verdict, Answer)
    assert Outcome.SUCCEEDED is verdict.record.outcome


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.PENDING])
@pytest.mark.parametrize("phase", [Phase.CONFIRM, Phase.CANCEL, Phase.COMPENSATION])
def test_the_second_side_runs_after_the_first(phase, outcome):
    """F-1: with the record of the first side, for its output."""
    forward = Record(FORWARD[phase], outcome, b"1")
    assert Run(forward) == admit(phase, forward, None)


@pytest.mark.parametrize("phase", [Phase.CONFIRM, Phase.CANCEL, Phase.COMPENSATION])
def test_the_second_side_runs_once(phase):
    """F-2, F-3: a duplicate is answered from the record."""
    verdict = admit(phase, done(FORWARD[phase]), done(phase))
    assert Answer(done(phase)) == verdict


@pytest.mark.parametrize(
    "forward",
    [None, Record(Phase.CANCEL, Outcome.EMPTY), Record(Phase.TRY, Outcome.REFUSED)],
)
def test_a_confirm_without_a_successful_try_is_loud(forward):
    """F-8, F-9, B5: never tried, cancelled first, or refused."""
    verdict = admit(Phase.CONFIRM, forward, None)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.alarming) == ("WRONG_ORDER", True)


@pytest.mark.parametrize(
    ("asked", "recorded"),
    [(Phase.CONFIRM, Phase.CANCEL), (Phase.CANCEL, Phase.CONFIRM)],
)
def test_confirm_and_cancel_exclude_each_other(asked, recorded):
    """F-9, F-10, B5, T5: whichever was first stays the only one."""
    verdict = admit(asked, done(Phase.TRY), done(recorded))
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.alarming) == ("WRONG_ORDER", True)


@pytest.mark.parametrize("phase", Phase)
def test_every_combination_is_safe(phase):
    """B2 to B5 over all rows there could be, also those that never should be."""
    for forward, second, flags in product(ROWS, ROWS, product([False, True], repeat=3)):
        check_safe(phase, forward, second, *flags)


def check_safe(phase, forward, second, known, expired, reconsider):
    verdict = admit(
        phase,
        forward,
        second,
        known_done=known,
        expired=expired,
        reconsider=reconsider,
    )
    rows = [row for row in (forward, second) if row is not None]
    if any(row.outcome is Outcome.RUNNING for row in rows):
        assert isinstance(verdict, Reject), "a split transaction is never trusted"
        assert verdict.alarming
    if isinstance(verdict, Run):
        # A side runs only when its own slot is free, holds an intent without an
        # answer, or a refusal that is taken over: at most one recorded effect a slot.
        own = forward if phase in (Phase.TRY, Phase.ACTION) else second
        if verdict.replaces is not None:
            assert (reconsider, phase) == (True, Phase.ACTION)
            assert verdict.replaces is own
            assert own.outcome is Outcome.REFUSED
        else:
            assert (own is not None) is verdict.resumes
            assert own is None or own.outcome is Outcome.INTENT
        if phase in (Phase.TRY, Phase.ACTION):
            assert not (forward is None and expired), "it may be a late one"
            assert second is None or second.phase not in BACKWARD
        else:
            assert forward is not None
            assert FORWARD[phase] is forward.phase
            ran = {Outcome.SUCCEEDED, Outcome.PENDING}
            if phase in BACKWARD:
                ran.add(Outcome.INTENT)
            assert forward.outcome in ran
            # An intent of the other side is no leave to run this one.
            other = BACKWARD if phase is Phase.CONFIRM else {Phase.CONFIRM}
            assert second is None or second.phase not in other
    if isinstance(verdict, Bury):
        assert phase in BACKWARD
        assert verdict.replaces is forward
        assert forward is None or forward.outcome is Outcome.REFUSED
    if isinstance(verdict, Reject):
        final = {"BRANCH_CANCELLED", "BRANCH_EXPIRED"}
        assert verdict.final is (verdict.code in final)
        assert verdict.final is not verdict.alarming


def test_an_empty_cancel_claims_the_slot_of_the_try():
    """B3, B6: so that the database's key, not a look, excludes the late try."""
    for phase in BACKWARD:
        assert first_claim(phase) == (Slot.FORWARD, Outcome.EMPTY)
    for phase in (Phase.TRY, Phase.ACTION):
        assert first_claim(phase) == (Slot.FORWARD, Outcome.RUNNING)
    assert first_claim(Phase.CONFIRM) == (Slot.SECOND, Outcome.RUNNING)


@pytest.mark.parametrize("text", ["a", "A.b_c:d-1", "x" * 128])
def test_identifiers_of_the_alphabet_are_taken(text):
    """B7: up to 128 bytes of a plain alphabet."""
    assert is_identifier(text)


@pytest.mark.parametrize(
    "text", ["", "x" * 129, "a b", "a ", "é", "a\n", "a\x00", "a/b", "\uff41", "\u0661"]
)
def test_everything_else_is_no_identifier(text):
    """B7: nothing that a collation, padding or a cut could make equal."""
    assert not is_identifier(text)


# ---- Retention ----------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.TRY, Phase.ACTION])
def test_a_forward_call_beyond_the_horizon_is_refused_for_good(phase):
    """F-13, B3: its row may have been removed."""
    verdict = admit(phase, None, None, expired=True)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.final) == ("BRANCH_EXPIRED", True)


@pytest.mark.parametrize("phase", Phase)
def test_a_row_that_is_there_counts_however_old_it_is(phase):
    """F-13, B4: the horizon only speaks for rows that are missing."""
    for forward, second in product(ROWS[1:], ROWS):
        plain = admit(phase, forward, second)
        assert plain == admit(phase, forward, second, expired=True)


def test_beyond_the_horizon_a_cancel_is_empty_but_a_compensation_is_loud():
    """F-13, B2: the row of an open try is never removed, that of an action is."""
    assert Bury() == admit(Phase.CANCEL, None, None, expired=True)
    verdict = admit(Phase.COMPENSATION, None, None, expired=True)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.alarming) == ("BARRIER_ROW_EXPIRED", True)


@pytest.mark.parametrize("now", [0, 10**12, 2 * 10**12])
@pytest.mark.parametrize("began", [0, 10**12, 2 * 10**12])
def test_what_is_removed_by_age_is_expired(began, now):
    """F-13, B3: whichever clock is ahead, a removed row's transaction is refused."""
    recorded = recorded_at(began, now)
    assert is_expired(began, recorded + 1), "the horizon that lets the row go"


def test_a_young_transaction_needs_no_look_at_the_horizon():
    """B3: no allowed horizon lies after it, with a month for clocks that differ."""
    now = 2 * 10**12
    for purger_now in (now - 29 * DAY_MS, now, now + 29 * DAY_MS):
        horizon = horizon_of(purger_now, KEEP_MS_MIN)
        for age in (0, 1, DAY_MS, DAY_MS + 1, 40 * DAY_MS):
            if is_surely_young(now - age, now):
                assert not is_expired(now - age, horizon)
    assert is_surely_young(now, now)
    assert not is_surely_young(0, now)


def test_rows_that_somebody_needs_are_never_removed():
    """F-13, B3: an open try waits for its second side, a broken row for a person."""
    for forward, second in product(ROWS[1:], ROWS):
        rows = [row for row in (forward, second) if row is not None]
        broken = any(row.outcome is Outcome.RUNNING for row in rows)
        last = rows[-1]
        waits = last.outcome is Outcome.INTENT or (
            second is None
            and forward.phase is Phase.TRY
            and forward.outcome is not Outcome.REFUSED
        )
        assert is_removable(forward, second) is not (broken or waits)


# ---- Handlers outside of a transaction ----------------------------------------------


@pytest.mark.parametrize("phase", [Phase.TRY, Phase.ACTION])
def test_after_an_attempt_without_an_answer_the_next_one_runs(phase):
    """F-15, B9: its intent stands, and nobody knows how it ended."""
    assert Run(resumes=True) == admit(phase, Record(phase, Outcome.INTENT), None)


@pytest.mark.parametrize("phase", sorted(BACKWARD))
def test_a_cancel_after_an_attempt_without_an_answer_runs(phase):
    """F-15, B9, P10: an unknown try may have left something; it is not empty."""
    forward = Record(FORWARD[phase], Outcome.INTENT)
    assert Run(forward) == admit(phase, forward, None)
    begun = Record(phase, Outcome.INTENT)
    assert Run(forward, resumes=True) == admit(phase, forward, begun)


def test_a_confirm_of_a_try_without_an_answer_is_loud():
    """B5, B9: a coordinator that keeps the rules has no answer to confirm."""
    verdict = admit(Phase.CONFIRM, Record(Phase.TRY, Outcome.INTENT), None)
    assert isinstance(verdict, Reject)
    assert (verdict.code, verdict.alarming) == ("WRONG_ORDER", True)


def test_a_late_try_is_refused_from_the_moment_its_cancel_begins():
    """F-5, B3, B9: also while the cancel's own answer is not known."""
    forward = Record(Phase.TRY, Outcome.INTENT)
    verdict = admit(Phase.TRY, forward, Record(Phase.CANCEL, Outcome.INTENT))
    assert isinstance(verdict, Reject)
    assert verdict.code == "BRANCH_CANCELLED"


def test_an_intent_claims_the_same_slots():
    """B9: only what the row says differs, so both kinds exclude each other."""
    for phase in Phase:
        slot, outcome = first_claim(phase)
        expected = Outcome.INTENT if outcome is Outcome.RUNNING else outcome
        assert first_claim(phase, transactional=False) == (slot, expected)


@pytest.mark.parametrize("phase", Phase)
def test_an_answer_is_recorded_once_and_never_after_a_cancel(phase):
    """B9: over all rows; a first answer counts, an overtaken one is loud."""
    for forward, second in product(ROWS, ROWS):
        own = forward if phase in (Phase.TRY, Phase.ACTION) else second
        verdict = admit_answer(phase, forward, second)
        match verdict:
            case Run():
                assert own.outcome is Outcome.INTENT
            case Answer(record):
                assert record is own
                assert own.outcome is not Outcome.INTENT
            case Reject():
                assert verdict.alarming
                buried = own is not None and own.outcome is Outcome.EMPTY
                assert own is None or buried or second.phase in BACKWARD
            case _:
                raise AssertionError(verdict)
