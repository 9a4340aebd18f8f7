"""Local transactions on an ``AsyncEngine``: the same work, awaited.

The handler's ``AsyncConnection`` and ``AsyncSession`` stand on the connection that
holds the barrier's row, so both are committed together or not at all (B1).
"""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from participant_sdk.executor.call import Job
from participant_sdk.executor.conflict import poisoned_by
from participant_sdk.executor.local import (
    CallScope,
    GuardedSession,
    LocalDatabase,
    LocalTransaction,
)
from participant_sdk.executor.outcome import CallOutcome
from participant_sdk.executor.single import OpenCall, SingleCall, transact_on
from participant_sdk.payload import Encoded
from participant_sdk.sqlite import IMMEDIATE

T = TypeVar("T")


class AsyncCalls:
    """Where calls get their local transactions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.database = LocalDatabase(engine.sync_engine)

    def call(self, job: Job) -> OpenCall:
        """One for a handler to work in."""
        return _AsyncCall(self, job)

    async def transact(self, work: Callable[[LocalTransaction], T]) -> T:
        """Run ``work`` in one of its own, and commit it."""
        connection = await self.connect()
        try:
            return await connection.run_sync(transact_on, self.database, work)
        finally:
            await connection.close()

    async def connect(self) -> AsyncConnection:
        """A connection; raises ``Poisoned`` where there is none to be had."""
        try:
            connection = await self._engine.connect()
            if self.database.is_sqlite:
                await connection.execution_options(**{IMMEDIATE: True})
        except Exception as error:
            raise poisoned_by(error) from error
        return connection


class _AsyncWork:
    """What the handler works with."""

    __slots__ = ("_scope", "_session", "connection")

    def __init__(self, scope: CallScope, connection: AsyncConnection) -> None:
        self._scope = scope
        self._session: AsyncSession | None = None
        self.connection = connection

    @property
    def session(self) -> AsyncSession:
        if self._session is None:
            self._session = AsyncSession(
                self.connection,
                sync_session_class=GuardedSession,
                join_transaction_mode="create_savepoint",
            )
            self._scope.adopt(self._session.sync_session)
        return self._session


class _AsyncCall:
    def __init__(self, calls: AsyncCalls, job: Job) -> None:
        self._calls = calls
        self._job = job
        self._single = SingleCall(calls.database, job)
        self._connection: AsyncConnection | None = None

    async def open(self) -> Encoded | None:
        self._connection = await self._calls.connect()
        recorded = await self._connection.run_sync(self._single.open)
        self._job.context._work = _AsyncWork(  # noqa: SLF001  # its other half
            self._single.scope, self._connection
        )
        return recorded

    async def finish(self, outcome: CallOutcome) -> CallOutcome:
        if self._connection is None:
            raise AssertionError("a call is finished that was never opened")
        return await self._connection.run_sync(
            lambda _: self._single.finish(outcome),
        )

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.run_sync(lambda _: self._single.close())
            await self._connection.close()
