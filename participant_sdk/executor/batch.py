"""Sync handlers on one database connection: many calls, one commit.

The savepoint of each call keeps B1 for it alone; the commit that they share makes
all of them durable at the price of one, and only then their answers leave. A call
that poisons the transaction is answered as failed, and the others are run again:
they left nothing behind.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from sqlalchemy import Connection

from participant_sdk.executor.call import (
    ErrorSink,
    Job,
    Rejected,
    log_failure,
    run_sync,
)
from participant_sdk.executor.conflict import Poisoned, database_error
from participant_sdk.executor.local import CallScope, LocalDatabase, LocalTransaction
from participant_sdk.executor.outcome import CallOutcome, Failed

BATCH_CALLS_MAX = 128
"""One frame's worth; more would only make the first answers wait."""
BATCH_SECONDS_MAX = 0.05
"""After which a batch commits even if more calls wait: slow handlers must not keep
the answers of the ones before them."""

Answered: TypeAlias = list[tuple[Job, CallOutcome]]


class BatchRunner:
    """Runs sync jobs; used by one thread at a time."""

    def __init__(self, database: LocalDatabase, sink: ErrorSink) -> None:
        self._database = database
        self._sink = sink
        self._connection: Connection | None = None

    def run(self, jobs: list[Job], answered: Callable[[Answered], None]) -> None:
        """Answer every job; ``answered`` is called after each commit."""
        waiting = deque(jobs)
        while waiting:
            answered(self._transaction(waiting))

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _transaction(self, waiting: deque[Job]) -> Answered:
        """One commit's worth of ``waiting``, which it takes from."""
        try:
            transaction = self._begin()
        except Poisoned as poisoned:
            self.close()
            return self._all(list(waiting), waiting, poisoned.outcome)
        done: Answered = []
        until = time.monotonic() + BATCH_SECONDS_MAX
        while waiting and len(done) < BATCH_CALLS_MAX:
            job = waiting.popleft()
            try:
                done.append((job, self._call(transaction, job)))
            except Poisoned as poisoned:
                log_failure(job, poisoned.outcome)
                self._give_up(transaction)
                waiting.extendleft(job for job, _ in reversed(done))
                return [(job, poisoned.outcome)]
            if time.monotonic() >= until:
                break
        try:
            transaction.commit()
        except Exception as error:  # noqa: BLE001  # a driver's error of any kind
            self._give_up(transaction)
            failed = Failed("COMMIT_UNKNOWN", database_error(error).text)
            return self._all([job for job, _ in done], deque(), failed)
        return done

    def _begin(self) -> LocalTransaction:
        if self._connection is None:
            self._connection = self._database.connect()
        return self._database.begin(self._connection)

    def _call(self, transaction: LocalTransaction, job: Job) -> CallOutcome:
        scope = CallScope(transaction, job)
        try:
            job.check_time()
            scope.enter()
        except Rejected as rejected:
            return rejected.outcome
        return scope.leave(run_sync(job, scope.recorded, self._sink))

    def _give_up(self, transaction: LocalTransaction) -> None:
        transaction.roll_back()
        self._connection = None

    def _all(self, jobs: list[Job], waiting: deque[Job], failed: Failed) -> Answered:
        waiting.clear()
        for job in jobs:
            log_failure(job, failed)
        return [(job, failed) for job in jobs]
