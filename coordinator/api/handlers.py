"""What every request does, whichever entrance it came through.

Handlers work with callbacks: a request costs no task and no future here. The few
requests that need the database and not the engine run as a task of their own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from google.protobuf.message import Message
from msgspec import Struct

from coordinator.api import kept
from coordinator.api.catalogue import Catalogue
from coordinator.api.convert.requests import RequestReader, Wish
from coordinator.api.definitions import PublishedSagas
from coordinator.api.engine_port import Engine, Result, Ticket
from coordinator.api.limits import Limits
from coordinator.api.status_codes import error_of
from coordinator.core.errors import NotFound, Overloaded
from coordinator.core.inputs import Begin, Observe, Submit
from coordinator.core.model import (
    Branch,
    BranchSpec,
    GlobalTransaction,
)
from coordinator.core.words import OperationKind
from coordinator.ports import Queries, TransactionFilter
from protos.v1 import coordinator_pb2
from protos.v1.types_pb2 import Error


class TransactionAnswer(Struct, frozen=True):
    """A transaction, with these of its branches."""

    tx: GlobalTransaction
    branches: Iterable[Branch]


class ListAnswer(Struct, frozen=True):
    """What was found when a page was asked for."""

    found: Sequence[GlobalTransaction]
    what: TransactionFilter


Answer: TypeAlias = TransactionAnswer | ListAnswer | Error
Reply: TypeAlias = Callable[[Answer], None]
_Select: TypeAlias = Callable[[GlobalTransaction], Iterable[Branch]]


class Answered:
    """The ticket of a request that needs no waiting."""

    __slots__ = ()

    def cancel(self) -> None:
        """There is nothing left to drop."""


class TurnedAway(Answered):
    """The ticket of a request for which there is no room.

    Attributes:
        error: what it was told, and whatever would begin a transaction in the same turn
            of the event loop would be told, too: nothing leaves a node meanwhile.
    """

    __slots__ = ("error",)

    def __init__(self, error: Error) -> None:
        self.error = error


ANSWERED = Answered()


def _no_branches(_: GlobalTransaction) -> Iterable[Branch]:
    return ()


class Handlers:
    """All requests about transactions."""

    def __init__(
        self,
        *,
        engine: Engine,
        queries: Queries,
        catalogue: Catalogue,
        sagas: PublishedSagas,
        reader: RequestReader,
        limits: Limits,
    ) -> None:
        self._engine = engine
        self._queries = queries
        self._catalogue = catalogue
        self._sagas = sagas
        self._reader = reader
        self._limits = limits
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_type: dict[type[Message], Callable[[Any, Reply], Ticket]] = {
            coordinator_pb2.BeginRequest: self._begin,
            coordinator_pb2.TryRequest: self._try,
            coordinator_pb2.RegisterRequest: self._register,
            coordinator_pb2.ConfirmRequest: self._confirm,
            coordinator_pb2.CancelRequest: self._cancel,
            coordinator_pb2.SubmitSagaRequest: self._submit_saga,
            coordinator_pb2.SignalSagaRequest: self._signal_saga,
            coordinator_pb2.GetRequest: self._get,
            coordinator_pb2.CompleteBranchRequest: self._complete_branch,
            coordinator_pb2.ListRequest: self._list,
        }

    def handle(self, request: Message, reply: Reply) -> Ticket:
        """Do what is asked; never blocks, never raises.

        ``reply`` is called exactly once, on the event loop and perhaps before this
        returns, unless the ticket is cancelled first.
        """
        try:
            return self._by_type[type(request)](request, reply)
        except Exception as problem:  # noqa: BLE001 - the request's edge
            reply(error_of(problem))
            return ANSWERED

    # ---- TCC -----------------------------------------------------------------------

    def _begin(self, request: coordinator_pb2.BeginRequest, reply: Reply) -> Ticket:
        if overload := self._engine.overload(is_new=True):
            return _turned_away(overload, reply)
        wish = self._reader.begin(request)
        self._require_tcc(wish.what.tries, "tries")
        if check_back := wish.what.request.check_back:
            self._catalogue.require(check_back, OperationKind.ACTION, "check_back")
        return self._begin_once(wish, reply)

    def _try(self, request: coordinator_pb2.TryRequest, reply: Reply) -> Ticket:
        wish = self._reader.try_(request)
        specs = wish.what.specs
        self._require_tcc(specs, "tries")
        select = partial(_named_branches, [spec.branch_id for spec in specs])
        return self._submit(wish, reply, select)

    def _register(
        self, request: coordinator_pb2.RegisterRequest, reply: Reply
    ) -> Ticket:
        wish = self._reader.register(request)
        self._require_tcc(wish.what.specs, "branches")
        return self._submit(wish, reply)

    def _confirm(self, request: coordinator_pb2.ConfirmRequest, reply: Reply) -> Ticket:
        return self._submit(self._reader.confirm(request), reply)

    def _cancel(self, request: coordinator_pb2.CancelRequest, reply: Reply) -> Ticket:
        return self._submit(self._reader.cancel(request), reply)

    def _require_tcc(self, specs: Sequence[BranchSpec], field: str) -> None:
        catalogue, kind = self._catalogue, OperationKind.TCC
        for i, spec in enumerate(specs):
            if not catalogue.has(spec.operation, kind):
                catalogue.require(spec.operation, kind, f"{field}[{i}].operation")

    # ---- Sagas ---------------------------------------------------------------------

    def _submit_saga(
        self, request: coordinator_pb2.SubmitSagaRequest, reply: Reply
    ) -> Ticket:
        if overload := self._engine.overload(is_new=True):
            return _turned_away(overload, reply)
        definition = self._sagas.cached(*self._reader.saga_wanted(request))
        if definition is not None:
            wish = self._reader.submit_saga(request, definition)
            return self._begin_once(wish, reply)
        current = _Current()
        current.ticket = self._in_task(
            partial(self._resolve_and_submit, request, reply, current), reply
        )
        return current

    async def _resolve_and_submit(
        self,
        request: coordinator_pb2.SubmitSagaRequest,
        reply: Reply,
        current: "_Current",
    ) -> None:
        definition = await self._sagas.resolve(*self._reader.saga_wanted(request))
        wish = self._reader.submit_saga(request, definition)
        current.ticket = self._begin_once(wish, reply)

    def _signal_saga(
        self, request: coordinator_pb2.SignalSagaRequest, reply: Reply
    ) -> Ticket:
        return self._submit(self._reader.signal_saga(request), reply)

    # ---- Both ----------------------------------------------------------------------

    def _get(self, request: coordinator_pb2.GetRequest, reply: Reply) -> Ticket:
        select = _all_branches if request.with_branches else _no_branches
        return self._submit(self._reader.get(request), reply, select)

    def _complete_branch(
        self, request: coordinator_pb2.CompleteBranchRequest, reply: Reply
    ) -> Ticket:
        return self._submit(self._reader.complete_branch(request), reply)

    def _list(self, request: coordinator_pb2.ListRequest, reply: Reply) -> Ticket:
        return self._in_task(partial(self._list_and_reply, request, reply), reply)

    async def _list_and_reply(
        self, request: coordinator_pb2.ListRequest, reply: Reply
    ) -> None:
        what = self._reader.list_(request)
        found = await self._queries.list_transactions(what)
        reply(ListAnswer(found, what))

    # ---- Asking the engine ---------------------------------------------------------

    def _begin_once(self, wish: Wish[Begin] | Wish[Submit], reply: Reply) -> Ticket:
        """Begin, unless it may be the repetition of what was removed long ago."""
        now = wish.what.request.created_at
        if not kept.may_be_gone(wish.key.gid, self._limits, now):
            return self._submit(wish, reply)
        current = _Current()

        def look(found: Result) -> None:
            if kept.is_still_there(found, self._limits, now):
                current.ticket = self._submit(wish, reply)
            elif isinstance(found, GlobalTransaction | NotFound):
                reply(error_of(kept.gone(self._limits)))
            else:
                reply(error_of(found))

        ticket = self._engine.submit(wish.key, Observe(), look)
        if current.ticket is ANSWERED:
            current.ticket = ticket
        return current

    def _submit(
        self, wish: Wish[Any], reply: Reply, select: "_Select" = _no_branches
    ) -> Ticket:
        show = partial(self._show, reply, select)
        return self._engine.submit(wish.key, wish.what, show)

    def _show(self, reply: Reply, select: "_Select", result: Result) -> None:
        if isinstance(result, GlobalTransaction):
            reply(TransactionAnswer(result, select(result)))
        else:
            reply(error_of(kept.explained(result, self._limits)))

    def _in_task(
        self, work: Callable[[], Coroutine[Any, Any, None]], reply: Reply
    ) -> Ticket:
        task = asyncio.get_running_loop().create_task(_guarded(work, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _TaskTicket(task)


class _Current:
    """The ticket of a request that asks several things, one after the other."""

    __slots__ = ("ticket",)

    def __init__(self) -> None:
        self.ticket: Ticket = ANSWERED

    def cancel(self) -> None:
        self.ticket.cancel()


class _TaskTicket:
    """The ticket of a request that runs as a task."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()


async def _guarded(work: Callable[[], Coroutine[Any, Any, None]], reply: Reply) -> None:
    try:
        await work()
    except Exception as problem:  # noqa: BLE001 - the task's edge
        reply(error_of(problem))


def _turned_away(overload: Overloaded, reply: Reply) -> Ticket:
    """Before the request is looked at: there may be very many of them."""
    error = error_of(overload)
    reply(error)
    return TurnedAway(error)


def _all_branches(tx: GlobalTransaction) -> Iterable[Branch]:
    return tx.branches.values()


def _named_branches(
    branch_ids: Sequence[str], tx: GlobalTransaction
) -> Iterable[Branch]:
    branches = tx.branches
    return [branches[b] for b in branch_ids if b in branches]
