"""Declaring a participant's operations, and serving them."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from participant_sdk.attachments import Attachments
from participant_sdk.barrier.table import TABLE_NAME, has_barrier_table
from participant_sdk.errors import InvalidRequest, PreconditionFailed
from participant_sdk.executor.executor import Executor
from participant_sdk.log import log
from participant_sdk.operations import (
    ActionDecorator,
    Kind,
    Operation,
    Registry,
    TccDecorator,
)
from participant_sdk.push.listener import Listener
from participant_sdk.push.server import PushServer
from participant_sdk.server import SERVERS, commits_by_itself, prepare_server
from participant_sdk.session import SDK_VERSION, Session
from participant_sdk.sqlite import prepare_async_sqlite, prepare_sqlite
from participant_sdk.targets import targets_of
from protos.v1 import types_pb2
from protos.v1.coordinator_pb2 import Hello
from protos.v1.participant_pb2 import DescribeReply

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

CALL_CREDITS = 512
"""Calls that the coordinator may have outstanding here: some batches' worth, so that
one fills while another commits, and a bound on the memory of both."""
OWNER_CHARS_MAX = 128
"""As the coordinator has it."""

DESCRIPTION_CHARS_MAX = 1_000
"""As the coordinator has it; a longer first line of a docstring is cut."""

GRACE_SECONDS = 10.0
"""How long ``stop`` waits for handlers that run."""


class Participant:
    """A service that takes part in transactions.

    Args:
        name: first part of the names of its operations.
        database: its own database, where the barrier's row is committed together
            with what a handler changes. With an ``AsyncEngine`` all handlers are
            ``async def``. Without a database there is *no barrier*: a handler may be
            called more than once, late, or to cancel what never ran, and has to bear
            it by itself (``ctx.idempotency_key``).
        owner: the team that answers for its operations, for the catalogue.
        debug: log tracebacks of handlers; they may hold payloads.

    Raises:
        InvalidRequest: the name or the database cannot be used.
    """

    def __init__(
        self,
        name: str,
        *,
        database: "Engine | AsyncEngine | None" = None,
        owner: str = "",
        debug: bool = False,
    ) -> None:
        if len(owner) > OWNER_CHARS_MAX or not owner.isprintable():
            raise InvalidRequest(
                f"owner: expected at most {OWNER_CHARS_MAX} printable characters, the "
                "name of a team",
                field="owner",
            )
        self._owner = owner
        self._engine = database
        self._debug = debug
        self._stopped: asyncio.Event | None = None
        self._attached: asyncio.Event | None = None
        is_async = _prepare(database)
        self._registry = Registry(
            name, has_database=database is not None, async_only=is_async
        )

    @property
    def name(self) -> str:
        """First part of the names of its operations."""
        return self._registry.participant

    def tcc(self, name: str, *, transactional: bool = True) -> TccDecorator:
        """Declare ``<participant>.<name>`` with the decorated function as its try.

        The function stays what it is, with two decorators added: ``.confirm`` and
        ``.cancel``. A try takes ``(ctx, request)``, the others
        ``(ctx, request, output)``, each ``def`` or ``async def``.

        Args:
            name: second part of the operation's name.
            transactional: ``False`` where the effect is not in the participant's
                database: the handlers run outside of any transaction, after their
                intent was committed. Then a handler may run *more than once*, with
                the same ``ctx.idempotency_key``; and a cancel runs even if the try's
                end is unknown.
        """
        return TccDecorator(self._registry, name, transactional=transactional)

    def action(
        self, name: str, *, transactional: bool = True, compensation: str = ""
    ) -> ActionDecorator:
        """Declare ``<participant>.<name>`` with the decorated function as a saga
        step's action. ``.compensate`` is added to it.

        Args:
            name: second part of the operation's name.
            transactional: as for ``tcc``.
            compensation: another action of this participant that undoes it, by the
                second part of its name, where there is one; it is what the catalogue
                tells the authors of sagas to write after ``compensate:``.
        """
        return ActionDecorator(
            self._registry,
            name,
            transactional=transactional,
            compensation=compensation,
        )

    async def serve(
        self,
        target: str | Sequence[str] | None = None,
        *,
        listen: str | Listener | None = None,
    ) -> None:
        """Answer the coordinator's calls until ``stop``.

        With ``target``, attach to all nodes of the coordinator. Needs no inbound port.
        Reconnects by itself, with jittered back-off. Nodes that come and go meanwhile
        are learned from the others. With ``listen``, take calls of nodes whose settings
        name this participant's address. With both, do both.

        Args:
            target: ``host:port`` of a node, or of several with commas between.
            listen: ``host:port`` on loopback, or a ``Listener`` with more to say.

        Raises:
            InvalidRequest: an operation is not complete, ``target`` names nobody,
                ``listen`` is not safe, or there is neither.
            PreconditionFailed: the barrier's table is missing, or ``listen`` is taken.
        """
        self._registry.check_complete()
        targets = _targets(target, listen)
        await self._check_database()
        executor = Executor(self._registry, self._engine, debug=self._debug)
        pushed = self._pushed(listen, executor)
        stopped = self._stopped = asyncio.Event()
        attached = self._attached = asyncio.Event()

        def open_session(node: str, on_view: Callable[[], None]) -> Session:
            return Session(
                node,
                self._hello,
                on_calls=executor.submit,
                on_welcome=attached.set,
                on_view=on_view,
                roams=False,
            )

        attachments = Attachments(targets, open_session)
        try:
            await pushed.start()
            attachments.start()
            await stopped.wait()
            attachments.drain()
            async with asyncio.timeout(GRACE_SECONDS):
                await pushed.stop(GRACE_SECONDS)
                await executor.drain()
        except TimeoutError:
            log().warning("participant_stopped_with_running_calls", name=self.name)
        finally:
            await attachments.finish()
            await pushed.stop(0)
            await executor.close()
            self._stopped = self._attached = None

    def stop(self) -> None:
        """Make ``serve`` finish what runs, and return. May be called again."""
        if self._stopped is not None:
            self._stopped.set()

    def run(
        self,
        target: str | Sequence[str] | None = None,
        *,
        listen: str | Listener | None = None,
    ) -> None:
        """``serve`` as a program: SIGTERM and SIGINT finish what runs, then return."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            await self.serve(target, listen=listen)

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main())

    def _pushed(self, listen: str | Listener | None, executor: Executor) -> PushServer:
        listener = Listener(listen) if isinstance(listen, str) else listen
        return PushServer(listener, self._description, on_calls=executor.submit)

    def _hello(self) -> Hello:
        return Hello(
            client=self.name,
            participant=self.name,
            operations=self._operations(),
            call_credits=CALL_CREDITS,
            sdk_version=SDK_VERSION,
        )

    def _description(self) -> DescribeReply:
        return DescribeReply(
            participant=self.name,
            operations=self._operations(),
            call_credits=CALL_CREDITS,
            sdk_version=SDK_VERSION,
        )

    def _operations(self) -> list[types_pb2.Operation]:
        return [
            _describe(self.name, self._owner, operation) for operation in self._registry
        ]

    async def _check_database(self) -> None:
        if self._engine is not None:
            await _on_connection(self._engine, self._check_connection)

    def _check_connection(self, connection: Connection) -> None:
        if commits_by_itself(connection):
            raise PreconditionFailed(
                f"the database of participant {self.name} is in autocommit, and keeps "
                "no two statements together: make the engine without "
                "isolation_level='AUTOCOMMIT'",
                field="database",
            )
        if not has_barrier_table(connection):
            raise PreconditionFailed(
                f"the database of participant {self.name} has no table {TABLE_NAME}: "
                "call create_barrier_table(engine), or add barrier_table(metadata) "
                "to your migrations",
                field="database",
            )


def _targets(
    target: str | Sequence[str] | None, listen: str | Listener | None
) -> tuple[str, ...]:
    if target is not None:
        return targets_of(target)
    if listen is None:
        raise InvalidRequest(
            "expected where to attach, such as localhost:7700; or, with listen=, an "
            "address of this machine to be called at",
            field="target",
        )
    return ()


def _prepare(database: "Engine | AsyncEngine | None") -> bool:
    """Make ready what can be used as a database; whether it is an async one."""
    if database is None:
        return False
    engine = getattr(database, "sync_engine", database)
    if not isinstance(engine, Engine):
        raise InvalidRequest(
            "expected a SQLAlchemy Engine or AsyncEngine, got "
            f"{type(database).__name__}",
            field="database",
        )
    is_async = engine is not database
    if engine.dialect.name in SERVERS:
        prepare_server(engine)
    elif engine.dialect.name == "sqlite":
        prepare = prepare_async_sqlite if is_async else prepare_sqlite
        prepare(engine)
    else:
        raise InvalidRequest(
            f"expected SQLite, PostgreSQL, MariaDB or MySQL, got {engine.dialect.name}",
            field="database",
        )
    return is_async


async def _on_connection(
    engine: "Engine | AsyncEngine", work: Callable[[Connection], None]
) -> None:
    if isinstance(engine, Engine):
        await asyncio.to_thread(_on_thread, engine, work)
        return
    # Idle connections may have been opened before they could be configured.
    await engine.dispose()
    async with engine.connect() as connection:
        await connection.run_sync(work)


def _on_thread(engine: Engine, work: Callable[[Connection], None]) -> None:
    with engine.connect() as connection:
        work(connection)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop, where there is one."""
    try:
        uvloop = import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _describe(
    participant: str, owner: str, operation: Operation
) -> types_pb2.Operation:
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
        description=operation.first.description[:DESCRIPTION_CHARS_MAX],
        owner=owner,
        compensation=operation.compensation,
    )
