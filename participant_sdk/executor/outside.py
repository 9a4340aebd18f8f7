"""Calls whose handlers work outside of any local transaction (B9).

Three steps instead of one: the intent is committed, the handler runs, its answer is
recorded. An attempt that dies in between leaves its intent, so that the next one
runs again with the same idempotency key, and a cancel runs instead of counting as
empty. What two transactions around a handler cannot give is exactly one run.
"""

from participant_sdk.barrier import rules
from participant_sdk.barrier.sql import slot_of
from participant_sdk.executor.call import Job, Rejected, log_failure
from participant_sdk.executor.local import LocalTransaction, read_verdict
from participant_sdk.executor.outcome import (
    CallOutcome,
    outcome_of_record,
    outcome_of_rejection,
    record_of,
)
from participant_sdk.payload import Encoded


class OutsideCall:
    """One call; each method is the work of one transaction.

    Attributes:
        recorded: what the try or action recorded, for the second side.
    """

    __slots__ = ("_job", "recorded")

    def __init__(self, job: Job) -> None:
        self._job = job
        self.recorded: Encoded | None = None

    def intend(self, transaction: LocalTransaction) -> CallOutcome | None:
        """Write the intent; an outcome instead when there is nothing to run."""
        job = self._job
        admission = transaction.barrier.admit(
            transaction.cursor,
            job.key,
            known_done=job.known_done,
            now_ms=transaction.now_ms,
            began_at_ms=job.began_at_ms,
            transactional=False,
            reconsider=job.reconsider,
        )
        try:
            let_in = read_verdict(admission.verdict, job)
        except Rejected as rejected:
            return rejected.outcome
        self.recorded = let_in.recorded
        return None

    def record(
        self, transaction: LocalTransaction, outcome: CallOutcome
    ) -> CallOutcome:
        """Record the answer, unless another attempt of the same call was first."""
        job, barrier, cursor = self._job, transaction.barrier, transaction.cursor
        record = record_of(job.key.phase, outcome)
        if record is None:
            return outcome
        verdict = rules.admit_answer(job.key.phase, *barrier.rows(cursor, job.key))
        match verdict:
            case rules.Answer(recorded):
                barrier.outlive_crash(cursor, job.key)
                return outcome_of_record(recorded)
            case rules.Reject():
                told = outcome_of_rejection(verdict)
                log_failure(job, told)
                return told
            case _:
                barrier.settle(cursor, job.key, slot_of(job.key.phase), record)
                return outcome
