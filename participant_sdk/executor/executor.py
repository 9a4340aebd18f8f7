"""Takes calls from the session, runs their handlers, gives the answers back.

Which way a call goes depends on its handler and on the database:

==========  =====================  ===============================================
handler     database               way
==========  =====================  ===============================================
``def``     SQLite                 one thread, many calls in one commit
``def``     another                a bounded pool of threads, a commit each
``async``   ``Engine``             a task each; the database's part in a thread
``async``   ``AsyncEngine``        a task each, and the database's part in it too
either      none                   no barrier; ``def`` in a pool of threads
==========  =====================  ===============================================

An operation that is ``transactional=False`` goes its own way: its handler runs
between two short transactions, see ``outside``. SQLite has one writer, so there
everything that holds its write lock takes turns.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Engine

from participant_sdk.context import enter, leave
from participant_sdk.executor.batch import (
    BATCH_CALLS_MAX,
    Answered,
    BatchRunner,
)
from participant_sdk.executor.call import (
    Deliver,
    Job,
    Rejected,
    accept,
    error_sink,
    log_failure,
    run_sync,
)
from participant_sdk.executor.conflict import Poisoned, again_while_giving_way
from participant_sdk.executor.local import LocalDatabase, LocalTransaction
from participant_sdk.executor.outcome import (
    CallOutcome,
    Failed,
    outcome_of_value,
    to_reply,
)
from participant_sdk.executor.outside import OutsideCall
from participant_sdk.executor.single import Calls, ThreadedCalls
from participant_sdk.operations import Registry
from participant_sdk.payload import Encoded
from protos.v1.participant_pb2 import BranchCall, BranchReply

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

POOL_THREADS = 16
"""Sync handlers without a transaction that may block at the same time."""
CONNECTIONS_MAX = 15
"""Local transactions at the same time: what an engine's pool opens by default. There
is one thread more, so that one is always free to end a transaction."""


class Executor:
    """Answers calls; belongs to one event loop, from ``submit`` to ``close``.

    The number of calls in it is bounded by the credits that the session grants.
    """

    def __init__(
        self,
        registry: Registry,
        engine: "Engine | AsyncEngine | None",
        *,
        debug: bool = False,
    ) -> None:
        self._registry = registry
        self._sink = error_sink(debug=debug)
        is_sqlite = engine is not None and engine.dialect.name == "sqlite"
        # Handlers that hold no transaction: they may block, and hold up nobody else.
        self._threads = ThreadPoolExecutor(POOL_THREADS, "tercet-handler")
        self._database_threads = ThreadPoolExecutor(
            1 if is_sqlite else CONNECTIONS_MAX + 1, "tercet-database"
        )
        self._runner: BatchRunner | None = None
        self._calls: Calls | None = None
        if isinstance(engine, Engine):
            database = LocalDatabase(engine)
            if is_sqlite:
                self._runner = BatchRunner(database, self._sink)
            self._calls = ThreadedCalls(database, self._database_threads)
        elif engine is not None:
            self._calls = _async_calls(engine)
        self._turn: AbstractAsyncContextManager[None] = (
            asyncio.Lock() if is_sqlite else asyncio.Semaphore(CONNECTIONS_MAX)
        )
        self._outside: set[tuple[str, str]] = set()
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
            handler = job.handler
            if self._outside and self._is_busy(job):
                at_once.append(job.reply(_BUSY))
                continue
            if self._runner and handler.transactional and not handler.is_async:
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
                self._database_threads, self._runner.close
            )
        self._database_threads.shutdown(wait=False)
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
                        self._database_threads, runner.run, jobs, answered
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
            if self._calls is None:
                outcome = await self._call_handler(job, None)
            elif job.handler.transactional:
                outcome = await again_while_giving_way(
                    partial(self._call_in_turn, job, self._calls)
                )
            else:
                outcome = await self._call_outside(job, self._calls)
        except Rejected as rejected:
            outcome = rejected.outcome
        except Poisoned as poisoned:
            outcome = poisoned.outcome
            log_failure(job, poisoned.outcome)
        job.settle([job.reply(outcome)])

    async def _call_in_turn(self, job: Job, calls: Calls) -> CallOutcome:
        async with self._turn:
            job.check_time()
            if not job.handler.is_async and isinstance(calls, ThreadedCalls):
                return await calls.answer(job, self._sink)
            return await self._call_awaited(job, calls)

    async def _call_awaited(self, job: Job, calls: Calls) -> CallOutcome:
        work = calls.call(job)
        try:
            recorded = await work.open()
            return await work.finish(await self._call_handler(job, recorded))
        finally:
            await work.close()

    async def _call_outside(self, job: Job, calls: Calls) -> CallOutcome:
        """Intent, handler, answer (B9); the handler holds neither lock nor turn."""
        if self._is_busy(job):
            return _BUSY
        branch = (job.key.gid, job.key.branch_id)
        self._outside.add(branch)
        try:
            call = OutsideCall(job)
            answer = await self._transact(job, calls, call.intend)
            if answer is not None:
                return answer
            outcome = await self._call_handler(job, call.recorded)
            record = partial(call.record, outcome=outcome)
            return await self._transact(None, calls, record)
        finally:
            self._outside.discard(branch)

    async def _transact(
        self, job: Job | None, calls: Calls, work: Callable[[LocalTransaction], T]
    ) -> T:
        """Run ``work`` in a short transaction; for ``job`` only while it has time."""

        async def attempt() -> T:
            async with self._turn:
                if job is not None:
                    job.check_time()
                return await calls.transact(work)

        return await again_while_giving_way(attempt)

    def _is_busy(self, job: Job) -> bool:
        """A call of the same branch works outside of the database here.

        A cancel must not overtake the try that it undoes, as far as we can see it.
        """
        return (job.key.gid, job.key.branch_id) in self._outside

    async def _call_handler(self, job: Job, recorded: Encoded | None) -> CallOutcome:
        if not job.handler.is_async:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, run_sync, job, recorded, self._sink
            )
        arguments = job.arguments(recorded)
        entered = enter(job.context)
        limit = asyncio.timeout(_seconds_left(job))
        try:
            async with limit:
                value = await job.handler.function(*arguments)
        except Exception as error:  # noqa: BLE001  # the edge of the application
            return _TIMED_OUT if limit.expired() else self._sink(job, error)
        finally:
            leave(entered)
        return outcome_of_value(value, job.key.phase)


_BUSY = Failed("BARRIER_BUSY", "an earlier call of this branch still runs here")
_TIMED_OUT = Failed(
    "TIMEOUT", "the handler took longer than the call may; it was ended"
)


def _async_calls(engine: "AsyncEngine") -> Calls:
    # Imported for whoever has such an engine: it needs a package that others do not.
    from participant_sdk.executor.aio import AsyncCalls  # noqa: PLC0415

    return AsyncCalls(engine)


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
