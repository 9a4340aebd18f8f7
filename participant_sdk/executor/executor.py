"""Takes calls from the session, runs their handlers, gives the answers back.

Which way a call goes depends on its handler and on the database:

==========  =====================  ===============================================
handler     database               way
==========  =====================  ===============================================
``def``     SQLite                 one thread, many calls in one commit
``def``     another                a bounded pool of threads, a commit each
``def``     none                   a bounded pool of threads, no barrier
``async``   any or none            a task each; the database's part in a thread
==========  =====================  ===============================================

SQLite has one writer, so there everything that holds its write lock takes turns.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext

from sqlalchemy import Connection, Engine

from participant_sdk.context import _current
from participant_sdk.executor.batch import (
    BATCH_CALLS_MAX,
    Answered,
    BatchRunner,
    run_sync,
)
from participant_sdk.executor.call import (
    Deliver,
    ErrorSink,
    Job,
    Rejected,
    accept,
    error_sink,
    log_failure,
)
from participant_sdk.executor.local import (
    CallScope,
    LocalDatabase,
    LocalTransaction,
    Poisoned,
    database_error,
)
from participant_sdk.executor.outcome import (
    CallOutcome,
    Failed,
    outcome_of_value,
    to_reply,
)
from participant_sdk.operations import Registry
from participant_sdk.payload import Encoded
from protos.v1.participant_pb2 import BranchCall, BranchReply

POOL_THREADS = 16
"""Sync handlers that may block at the same time."""


class Executor:
    """Answers calls; belongs to one event loop, from ``submit`` to ``close``.

    The number of calls in it is bounded by the credits that the session grants.
    """

    def __init__(
        self, registry: Registry, engine: Engine | None, *, debug: bool = False
    ) -> None:
        self._registry = registry
        self._sink = error_sink(debug=debug)
        self._database = None if engine is None else LocalDatabase(engine)
        self._batched = self._database is not None and self._database.is_sqlite
        self._threads = ThreadPoolExecutor(
            1 if self._batched else POOL_THREADS, "tercet-handler"
        )
        self._turn: AbstractAsyncContextManager[object] = (
            asyncio.Lock() if self._batched else nullcontext()
        )
        self._runner = (
            BatchRunner(self._database, self._sink)
            if self._database is not None and self._batched
            else None
        )
        self._waiting: deque[Job] = deque()
        self._committer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, calls: Iterable[BranchCall], deliver: Deliver) -> None:
        """Run ``calls``; ``deliver`` gets the replies, batch by batch.

        Called on the event loop, and so is ``deliver``.
        """
        at_once: list[BranchReply] = []
        for call in calls:
            try:
                job = accept(call, self._registry, deliver)
            except Rejected as rejected:
                at_once.append(to_reply(call.call_id, rejected.outcome))
                continue
            if self._runner is not None and not job.handler.is_async:
                self._waiting.append(job)
            else:
                self._start(self._answer(job))
        if at_once:
            deliver(at_once)
        if self._waiting and self._committer is None:
            self._committer = asyncio.create_task(self._commit_batches())

    async def drain(self) -> None:
        """Return when every submitted call has been answered."""
        while self._committer is not None or self._tasks:
            running = set(self._tasks)
            if self._committer is not None:
                running.add(self._committer)
            await asyncio.wait(running)

    async def close(self) -> None:
        """Let running handlers go, and give threads and connections back.

        A call without an answer is asked again by the coordinator.
        """
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await self.drain()
        if self._runner is not None:
            await asyncio.get_running_loop().run_in_executor(
                self._threads, self._runner.close
            )
        self._threads.shutdown(wait=False)

    # ---- many sync calls, one commit ---------------------------------------------

    async def _commit_batches(self) -> None:
        loop = asyncio.get_running_loop()
        runner = self._runner
        if runner is None:
            raise AssertionError("calls were queued for a batch without a runner")

        def answered(batch: Answered) -> None:
            loop.call_soon_threadsafe(_deliver, batch)

        try:
            while self._waiting:
                async with self._turn:
                    count = min(len(self._waiting), BATCH_CALLS_MAX)
                    jobs = [self._waiting.popleft() for _ in range(count)]
                    await loop.run_in_executor(
                        self._threads, runner.run, jobs, answered
                    )
        finally:
            self._committer = None

    # ---- one call by itself ------------------------------------------------------

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, job: Job) -> None:
        try:
            if self._database is None:
                outcome = await self._call_handler(job, None)
            else:
                async with self._turn:
                    outcome = await self._call_in_transaction(job, self._database)
        except Rejected as rejected:
            outcome = rejected.outcome
        except Poisoned as poisoned:
            outcome = poisoned.outcome
            log_failure(job, poisoned.outcome)
        job.settle([job.reply(outcome)])

    async def _call_in_transaction(
        self, job: Job, database: LocalDatabase
    ) -> CallOutcome:
        loop = asyncio.get_running_loop()
        if not job.handler.is_async:
            return await loop.run_in_executor(
                self._threads, _run_alone, database, job, self._sink
            )
        job.check_time()
        work = SingleCall(database, job)
        try:
            recorded = await loop.run_in_executor(self._threads, work.open)
            outcome = await self._call_handler(job, recorded)
            return await loop.run_in_executor(self._threads, work.finish, outcome)
        finally:
            await loop.run_in_executor(self._threads, work.close)

    async def _call_handler(self, job: Job, recorded: Encoded | None) -> CallOutcome:
        if not job.handler.is_async:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, run_sync, job, recorded, self._sink
            )
        arguments = job.arguments(recorded)
        token = _current.set(job.context)
        limit = asyncio.timeout(_seconds_left(job))
        try:
            async with limit:
                value = await job.handler.function(*arguments)
        except Exception as error:  # noqa: BLE001  # the edge of the application
            return _TIMED_OUT if limit.expired() else self._sink(job, error)
        finally:
            _current.reset(token)
        return outcome_of_value(value, job.key.phase)


class SingleCall:
    """One async handler's local transaction; each method is called in a thread."""

    def __init__(self, database: LocalDatabase, job: Job) -> None:
        self._database = database
        self._job = job
        self._connection: Connection | None = None
        self._transaction: LocalTransaction | None = None
        self._scope: CallScope | None = None

    def open(self) -> Encoded | None:
        """Begin and pass the barrier; what the try or action recorded.

        Raises:
            Rejected: with the answer, which is durable.
            Poisoned: the database failed.
        """
        try:
            self._connection = self._database.connect()
            self._transaction = self._database.begin(self._connection)
        except Exception as error:
            raise Poisoned(database_error(error)) from error
        scope = CallScope(self._transaction, self._job)
        try:
            scope.enter()
        except Rejected as rejected:
            raise Rejected(self._commit(rejected.outcome)) from None
        self._scope = scope
        return scope.recorded

    def finish(self, outcome: CallOutcome) -> CallOutcome:
        """Record the outcome and make it durable.

        Raises:
            Poisoned: the transaction was lost.
        """
        if self._scope is None:
            raise AssertionError("a call is finished that was never opened")
        return self._commit(self._scope.leave(outcome))

    def close(self) -> None:
        """Undo what was not committed, and give the connection back."""
        if self._transaction is not None:
            self._transaction.roll_back()
        elif self._connection is not None:
            self._connection.close()

    def _commit(self, outcome: CallOutcome) -> CallOutcome:
        if self._transaction is None or self._connection is None:
            raise AssertionError("nothing was begun")
        try:
            self._transaction.commit()
        except Exception as error:  # noqa: BLE001  # a driver's error of any kind
            failed = Failed("COMMIT_UNKNOWN", database_error(error).text)
            log_failure(self._job, failed)
            return failed
        self._transaction = None
        return outcome


_TIMED_OUT = Failed(
    "TIMEOUT", "the handler took longer than the call may; it is undone"
)


def _run_alone(database: LocalDatabase, job: Job, sink: ErrorSink) -> CallOutcome:
    """A batch of one, on a connection of its own."""
    runner = BatchRunner(database, sink)
    answers: Answered = []
    try:
        runner.run([job], answers.extend)
    finally:
        runner.close()
    return answers[0][1]


def _seconds_left(job: Job) -> float | None:
    deadline = job.context.deadline
    return None if deadline == float("inf") else max(0.0, deadline - time.monotonic())


def _deliver(batch: Answered) -> None:
    """One call of each session's ``deliver``, however many replies it gets."""
    by_session: dict[Deliver, list[BranchReply]] = {}
    for job, outcome in batch:
        by_session.setdefault(job.settle, []).append(job.reply(outcome))
    for deliver, replies in by_session.items():
        deliver(replies)
