"""Declaring a participant's operations, and serving them."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from importlib import import_module

import structlog
from sqlalchemy import Engine

from participant_sdk.barrier.table import TABLE_NAME, has_barrier_table
from participant_sdk.errors import PreconditionFailed
from participant_sdk.executor.executor import Executor
from participant_sdk.operations import (
    ActionDecorator,
    Kind,
    Operation,
    Registry,
    TccDecorator,
)
from participant_sdk.session import SDK_VERSION, Session
from participant_sdk.sqlite import prepare_sqlite
from protos.v1 import types_pb2
from protos.v1.coordinator_pb2 import Hello

log = structlog.get_logger("participant_sdk")

CALL_CREDITS = 512
"""Calls that the coordinator may have outstanding here: some batches' worth, so that
one fills while another commits, and a bound on the memory of both."""
GRACE_SECONDS = 10.0
"""How long ``stop`` waits for handlers that run."""


class Participant:
    """A service that takes part in transactions.

    Args:
        name: first part of the names of its operations.
        database: its own database, where the barrier's row is committed together
            with what a handler changes. Without one there is *no barrier*: a handler
            may be called more than once, late, or to cancel what never ran, and has
            to bear it by itself (``ctx.idempotency_key``).
        debug: log tracebacks of handlers; they may hold payloads.

    Raises:
        InvalidRequest: the name or the database cannot be used.
    """

    def __init__(
        self, name: str, *, database: Engine | None = None, debug: bool = False
    ) -> None:
        self._registry = Registry(name)
        self._engine = database
        self._debug = debug
        self._stopped: asyncio.Event | None = None
        self._attached: asyncio.Event | None = None
        if database is not None and database.dialect.name == "sqlite":
            prepare_sqlite(database)

    @property
    def name(self) -> str:
        """First part of the names of its operations."""
        return self._registry.participant

    def tcc(self, name: str) -> TccDecorator:
        """Declare ``<participant>.<name>`` with the decorated function as its try.

        The function stays what it is, with two decorators added: ``.confirm`` and
        ``.cancel``. A try takes ``(ctx, request)``, the others
        ``(ctx, request, output)``, each ``def`` or ``async def``.
        """
        return TccDecorator(self._registry, name)

    def action(self, name: str) -> ActionDecorator:
        """Declare ``<participant>.<name>`` with the decorated function as a saga
        step's action. ``.compensate`` is added to it.
        """
        return ActionDecorator(self._registry, name)

    async def serve(self, target: str | Sequence[str]) -> None:
        """Attach to the coordinator and answer its calls until ``stop``.

        Needs no inbound port. Reconnects by itself, with jittered back-off.

        Raises:
            InvalidRequest: an operation is not complete.
            PreconditionFailed: the barrier's table is missing.
        """
        self._registry.check_complete()
        await self._check_database()
        executor = Executor(self._registry, self._engine, debug=self._debug)
        stopped = self._stopped = asyncio.Event()
        attached = self._attached = asyncio.Event()
        session = Session(
            target, self._hello, on_calls=executor.submit, on_welcome=attached.set
        )
        session.start()
        try:
            await stopped.wait()
            session.drain()
            async with asyncio.timeout(GRACE_SECONDS):
                await executor.drain()
        except TimeoutError:
            log.warning("participant_stopped_with_running_calls", name=self.name)
        finally:
            await session.finish()
            await executor.close()
            self._stopped = self._attached = None

    def stop(self) -> None:
        """Make ``serve`` finish what runs, and return. May be called again."""
        if self._stopped is not None:
            self._stopped.set()

    def run(self, target: str | Sequence[str]) -> None:
        """``serve`` as a program: SIGTERM and SIGINT finish what runs, then return."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            await self.serve(target)

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main())

    def _hello(self) -> Hello:
        return Hello(
            client=self.name,
            participant=self.name,
            operations=[
                _describe(self.name, operation) for operation in self._registry
            ],
            call_credits=CALL_CREDITS,
            sdk_version=SDK_VERSION,
        )

    async def _check_database(self) -> None:
        engine = self._engine
        if engine is None:
            return
        if not await asyncio.to_thread(has_barrier_table, engine):
            raise PreconditionFailed(
                f"the database of participant {self.name} has no table {TABLE_NAME}: "
                "call create_barrier_table(engine), or add barrier_table(metadata) "
                "to your migrations",
                field="database",
            )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop, where there is one."""
    try:
        uvloop = import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _describe(participant: str, operation: Operation) -> types_pb2.Operation:
    return types_pb2.Operation(
        name=operation.name,
        kind=(
            types_pb2.OPERATION_TCC
            if operation.kind is Kind.TCC
            else types_pb2.OPERATION_ACTION
        ),
        participant=participant,
        compensable=operation.compensable,
        input_schema=operation.first.input.schema,
        output_schema=operation.first.result_schema,
    )
