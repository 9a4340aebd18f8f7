"""Local transactions of one call each, whatever kind of engine runs them.

``SingleCall`` does the work, as plain functions of a connection. ``ThreadedCalls``
runs them in threads; ``participant_sdk.executor.aio`` runs the same ones on an
``AsyncEngine``.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from participant_sdk.executor.call import (
    ErrorSink,
    Job,
    Rejected,
    log_failure,
    run_sync,
)
from participant_sdk.executor.conflict import database_error, gave_way, poisoned_by
from participant_sdk.executor.local import CallScope, LocalDatabase, LocalTransaction
from participant_sdk.executor.outcome import CallOutcome, Failed
from participant_sdk.payload import Encoded

T = TypeVar("T")


class OpenCall(Protocol):
    """One call's local transaction, held open while its handler runs."""

    async def open(self) -> Encoded | None:
        """Begin and pass the barrier; what the try or action recorded.

        Raises:
            Rejected: with the answer, which is durable.
            Poisoned: the database failed.
        """

    async def finish(self, outcome: CallOutcome) -> CallOutcome:
        """Record the outcome and make it durable.

        Raises:
            Poisoned: the transaction was lost.
        """

    async def close(self) -> None:
        """Undo what was not committed, and give the connection back."""


class Calls(Protocol):
    """Where calls get their local transactions."""

    def call(self, job: Job) -> OpenCall:
        """One for a handler to work in."""

    async def transact(self, work: Callable[[LocalTransaction], T]) -> T:
        """Run ``work`` in one of its own, and commit it.

        Raises:
            Poisoned: the database failed; whether it was committed may be unknown.
        """


class SingleCall:
    """One call's local transaction, on a connection that is given to it."""

    def __init__(self, database: LocalDatabase, job: Job) -> None:
        self._database = database
        self._job = job
        self._transaction: LocalTransaction | None = None
        self._scope: CallScope | None = None

    @property
    def scope(self) -> CallScope:
        """Of the call that was let in."""
        if self._scope is None:
            raise AssertionError("a call is worked on that was never opened")
        return self._scope

    def open(self, connection: Connection) -> Encoded | None:
        """Begin and pass the barrier."""
        self._transaction = self._database.begin(connection)
        scope = CallScope(self._transaction, self._job)
        try:
            scope.enter()
        except Rejected as rejected:
            raise Rejected(self._commit(rejected.outcome)) from None
        self._scope = scope
        return scope.recorded

    def finish(self, outcome: CallOutcome) -> CallOutcome:
        """Record the outcome and make it durable."""
        return self._commit(self.scope.leave(outcome))

    def close(self) -> None:
        """Undo what was not committed."""
        if self._transaction is not None:
            self._transaction.roll_back()

    def _commit(self, outcome: CallOutcome) -> CallOutcome:
        if self._transaction is None:
            raise AssertionError("nothing was begun")
        try:
            self._transaction.commit()
        except Exception as error:  # a driver's error of any kind
            if gave_way(error):
                raise poisoned_by(error) from error
            failed = Failed("COMMIT_UNKNOWN", database_error(error).text)
            log_failure(self._job, failed)
            return failed
        self._transaction = None
        return outcome


def transact_on(
    connection: Connection,
    database: LocalDatabase,
    work: Callable[[LocalTransaction], T],
) -> T:
    """Run ``work`` in a transaction on ``connection``, and commit it."""
    transaction = database.begin(connection)
    try:
        result = work(transaction)
        transaction.commit()
    except Exception as error:
        transaction.roll_back()
        raise poisoned_by(error) from error
    return result


class ThreadedCalls:
    """On an ``Engine``: each piece of work in a thread of a bounded pool."""

    def __init__(self, database: LocalDatabase, threads: ThreadPoolExecutor) -> None:
        self.database = database
        self._threads = threads

    def call(self, job: Job) -> OpenCall:
        """One for a handler to work in."""
        return _ThreadedCall(self, job)

    async def answer(self, job: Job, sink: ErrorSink) -> CallOutcome:
        """Run a sync handler, with all that belongs to its transaction, in one thread.

        Raises:
            Rejected: the barrier did not let it in.
            Poisoned: the transaction was lost.
        """
        return await self.run(_answer, self.database, job, sink)

    async def transact(self, work: Callable[[LocalTransaction], T]) -> T:
        """Run ``work`` in one of its own, and commit it."""

        def do() -> T:
            with self.database.connect() as connection:
                return transact_on(connection, self.database, work)

        return await self.run(do)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run ``work`` in a thread; it has ended on return, also when cancelled."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            # Nobody hears of its error any more; closing follows.
            future.cancelled() or future.exception()
            raise


def _answer(database: LocalDatabase, job: Job, sink: ErrorSink) -> CallOutcome:
    with database.connect() as connection:
        single = SingleCall(database, job)
        try:
            recorded = single.open(connection)
            return single.finish(run_sync(job, recorded, sink))
        finally:
            single.close()


class _ThreadedCall:
    def __init__(self, calls: ThreadedCalls, job: Job) -> None:
        self._calls = calls
        self._single = SingleCall(calls.database, job)
        self._connection: Connection | None = None

    async def open(self) -> Encoded | None:
        return await self._calls.run(self._open)

    async def finish(self, outcome: CallOutcome) -> CallOutcome:
        return await self._calls.run(self._single.finish, outcome)

    async def close(self) -> None:
        await self._calls.run(self._close)

    def _open(self) -> Encoded | None:
        self._connection = self._calls.database.connect()
        return self._single.open(self._connection)

    def _close(self) -> None:
        self._single.close()
        if self._connection is not None:
            self._connection.close()
