"""Bugs to plant in the participant's barrier."""

from tests.simulation.mutant import bug

RULES = "participant_sdk.barrier.rules"
SQL = "participant_sdk.barrier.sql"
OUTCOME = "participant_sdk.executor.outcome"

BARRIER_MUTANTS = (
    bug(
        "tombstone_skipped",
        "an empty cancel leaves nothing behind for the late try",
        RULES,
        "return Slot.FORWARD, Outcome.EMPTY",
        "return Slot.SECOND, Outcome.EMPTY",
        RULES,
        "    if second is not None and second.phase.is_backward:\n"
        "        return _LATE\n    if forward is None:\n        return Run()",
        "    if forward is None:\n        return Run()",
    ),
    bug(
        "late_try_told_ok",
        "a try after its cancel does nothing and answers success (P7)",
        RULES,
        "    if forward.outcome is Outcome.EMPTY:\n        return _LATE",
        "    if forward.outcome is Outcome.EMPTY:\n        return Answer(forward)",
    ),
    bug(
        "late_duplicate_told_ok",
        "a try that is repeated after its cancel is told its old success",
        RULES,
        "    if second is not None and second.phase.is_backward:\n        return _LATE",
        "    if False:\n        return _LATE",
    ),
    bug(
        "duplicate_runs_again",
        "a repeated try runs the business code once more",
        RULES,
        "    return Answer(forward)\n\n\ndef _is_refused_action",
        "    return Run(resumes=True)\n\n\ndef _is_refused_action",
    ),
    bug(
        "duplicate_confirm_runs_again",
        "a repeated confirm runs the business code once more",
        RULES,
        "        return Run(forward, resumes=True)\n    return Answer(second)\n\n\n"
        "def admit_answer",
        "        return Run(forward, resumes=True)\n"
        "    return Run(forward, resumes=True)\n\n\ndef admit_answer",
        SQL,
        "if verdict.resumes:",
        "if True:",
    ),
    bug(
        "cancel_after_confirm",
        "a cancel of a confirmed branch is told success",
        RULES,
        "if second.phase is Phase.CONFIRM:",
        "if False:",
    ),
    bug(
        "confirm_after_cancel",
        "a confirm of a cancelled branch is told success",
        RULES,
        "if second.phase is not Phase.CONFIRM:",
        "if False:",
    ),
    bug(
        "confirm_of_tombstone_runs",
        "a confirm of a branch that was never tried runs",
        RULES,
        "    if forward.outcome is Outcome.EMPTY:\n        return _wrong_order(",
        "    if forward.outcome is Outcome.EMPTY:\n"
        "        return Run(forward) if second is None else _wrong_order(",
    ),
    bug(
        "refused_try_cancelled",
        "the cancel of a refused try undoes what was never done",
        RULES,
        "if forward.outcome in (Outcome.EMPTY, Outcome.REFUSED):",
        "if forward.outcome is Outcome.EMPTY:",
    ),
    bug(
        "empty_cancel_runs",
        "a cancel without a try runs the business code",
        RULES,
        "    if forward is None:\n        return Bury()",
        "    if forward is None:\n        return Run()",
    ),
    bug(
        "row_removed_by_duplicate",
        "a duplicate try removes the first one's row (P1, Seata's fence)",
        SQL,
        "        if isinstance(verdict, rules.Run | rules.Bury) and own is None",
        "        if isinstance(verdict, rules.Answer) and key.phase.is_forward:"
        " self.drop(cursor, key, Slot.FORWARD)\n"
        "        if isinstance(verdict, rules.Run | rules.Bury) and own is None",
    ),
    bug(
        "refusal_not_recorded",
        "a refused try leaves no row, and its duplicate may pass",
        OUTCOME,
        "return Record(phase, Outcome.REFUSED, code=code, message=text)",
        "return None",
    ),
    bug(
        "failure_recorded_as_success",
        "a handler that failed is recorded as done",
        OUTCOME,
        "            return None",
        "            return Record(phase, Outcome.SUCCEEDED)",
    ),
)
