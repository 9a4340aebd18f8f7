"""The unary services, the watch and the entrance of the session stream."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from coordinator.api import checks, kept
from coordinator.api.catalogue import Catalogue
from coordinator.api.convert import answers
from coordinator.api.convert.pages import names_of, token_of
from coordinator.api.convert.requests import LATEST, RequestReader
from coordinator.api.definitions import PublishedSagas
from coordinator.api.engine_port import Engine, Result
from coordinator.api.handlers import Answer, Handlers, ListAnswer, TransactionAnswer
from coordinator.api.operations import Operations
from coordinator.api.operators import Act, Operators
from coordinator.api.peers import Peers
from coordinator.api.session import Session
from coordinator.api.status_codes import abort, error_of
from coordinator.core.errors import CoordinatorError, InvalidRequest
from coordinator.core.inputs import Observe
from coordinator.core.model import DEFAULT_NAMESPACE, Branch, GlobalTransaction
from coordinator.ports import Queries
from protos.v1 import admin_pb2, coordinator_pb2
from protos.v1.types_pb2 import Error

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

WATCHED_STATES_MAX = 64
"""States that wait for a watcher that reads slowly; the oldest are dropped first, so
the end is never lost."""


class Services:
    """All RPCs of ``protos/v1``."""

    def __init__(
        self,
        *,
        engine: Engine,
        queries: Queries,
        catalogue: Catalogue,
        sagas: PublishedSagas,
        handlers: Handlers,
        operations: Operations,
        operators: Operators,
        peers: Peers,
        reader: RequestReader,
        new_session: Callable[[], Session],
    ) -> None:
        self._engine = engine
        self._queries = queries
        self._catalogue = catalogue
        self._sagas = sagas
        self._handlers = handlers
        self._reader = reader
        self._new_session = new_session
        self._sessions: set[Session] = set()
        self._acts: dict[str, Act] = {
            "Definitions.PublishSaga": self._publish_saga,
            "Definitions.GetSaga": self._get_saga,
            "Definitions.ListSagas": self._list_sagas,
            "Admin.GetJournal": self._get_journal,
            **operations.acts,
            **operators.acts,
            **peers.acts,
        }

    def generic_handlers(self) -> Iterator[grpc.GenericRpcHandler]:
        """What a server registers: every RPC that the descriptors name."""
        for file in (coordinator_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR):
            for service in file.services_by_name.values():
                yield grpc.method_handlers_generic_handler(
                    service.full_name,
                    {method.name: self._rpc(method) for method in service.methods},
                )

    def drain(self) -> None:
        """Tell all sessions that this node is about to leave."""
        for session in self._sessions:
            session.drain()

    def _rpc(self, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        # Requests are parsed by us, so that rubbish is answered like any bad request.
        request_type = GetMessageClass(method.input_type)
        if method.name == "Session":
            return grpc.stream_stream_rpc_method_handler(self._session)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._watch)
        name = f"{method.containing_service.name}.{method.name}"
        act = self._acts.get(name) or self._ask
        return grpc.unary_unary_rpc_method_handler(partial(_unary, request_type, act))

    # ---- Transactions --------------------------------------------------------------

    async def _ask(self, request: Message) -> Message | Error:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        ticket = self._handlers.handle(request, partial(_resolve, future))
        try:
            answer = await future
        finally:
            ticket.cancel()
        match answer:
            case TransactionAnswer(tx, branches):
                return self._shown(tx, branches)
            case ListAnswer(found, what):
                reply = coordinator_pb2.ListReply()
                answers.fill_list(reply, found, what, self._reader.limits)
                return reply
            case error:
                return error

    def _shown(
        self, tx: GlobalTransaction, branches: Iterable[Branch]
    ) -> coordinator_pb2.TransactionReply:
        reply = coordinator_pb2.TransactionReply()
        answers.fill_transaction(reply.transaction, tx, branches, self._reader.limits)
        return reply

    async def _watch(self, data: bytes, context: Context) -> None:
        try:
            await self._watch_until_end(
                _parse(coordinator_pb2.GetRequest, data), context.write
            )
        except Exception as problem:  # noqa: BLE001 - the RPC's edge
            error = error_of(problem)
        else:
            return
        # Not above, where the problem still has the frames that it passed.
        del data  # see abort
        await abort(context, error)

    async def _watch_until_end(
        self,
        request: coordinator_pb2.GetRequest,
        write: Callable[[bytes], Awaitable[None]],
    ) -> None:
        key = self._reader.key(request.gid)
        states: deque[Result] = deque(maxlen=WATCHED_STATES_MAX)
        changed = asyncio.Event()

        def note(state: Result) -> None:
            states.append(state)
            changed.set()

        # Watching begins before the first look, so that no change falls in between.
        watch = self._engine.watch(key, note)
        look = self._engine.submit(key, Observe(), note)
        end = self._engine.submit(key, Observe(wait=True), note)
        shown = -1
        try:
            while True:
                await changed.wait()
                changed.clear()
                while states:
                    state = states.popleft()
                    if isinstance(state, CoordinatorError):
                        raise kept.explained(state, self._reader.limits)
                    if state.revision > shown:
                        shown = state.revision
                        await write(self._watched(state, request))
                    if state.status.is_final:
                        return
        finally:
            watch.cancel()
            look.cancel()
            end.cancel()

    def _watched(
        self, state: GlobalTransaction, request: coordinator_pb2.GetRequest
    ) -> bytes:
        branches = state.branches.values() if request.with_branches else ()
        return self._shown(state, branches).SerializeToString()

    async def _session(self, frames: AsyncIterator[bytes], context: Context) -> None:
        session = self._new_session()
        self._sessions.add(session)
        try:
            await session.run(frames, context.write)
        except Exception as problem:  # noqa: BLE001 - the stream's edge
            await abort(context, error_of(problem))
        finally:
            self._sessions.discard(session)

    # ---- Sagas, catalogue, journal -------------------------------------------------

    async def _publish_saga(self, request: admin_pb2.PublishSagaRequest) -> Message:
        source = checks.text(request.source, "source", chars_max=256) or "<saga>"
        checks.payload_bytes(
            request.text.encode(),
            "text",
            bytes_max=self._reader.limits.payload_bytes_max,
        )
        await self._catalogue.load()  # other nodes may know more by now
        stored = await self._sagas.publish(DEFAULT_NAMESPACE, request.text, source)
        fields = answers.definition_fields(stored, with_text=True)
        return admin_pb2.SagaDefinition(**fields)

    async def _get_saga(self, request: admin_pb2.GetSagaRequest) -> Message:
        name = checks.identifier(request.name, "name")
        version = checks.identifier(request.version or LATEST, "version")
        stored = await self._sagas.find(DEFAULT_NAMESPACE, name, version)
        fields = answers.definition_fields(stored, with_text=True)
        normal_form = await self._sagas.normal_form(stored)
        if len(normal_form) <= self._reader.limits.message_bytes_max:
            fields["normal_form"] = normal_form
        return admin_pb2.SagaDefinition(**fields)

    async def _list_sagas(self, request: admin_pb2.ListSagasRequest) -> Message:
        limits, token = self._reader.limits, request.page_token
        limit = checks.between(
            request.limit, 1, limits.page_max, "limit", unset=limits.page_default
        )
        after = names_of(token, 2) if token else None
        stored = await self._queries.list_definitions(
            DEFAULT_NAMESPACE,
            name=checks.identifier(request.name, "name") if request.name else "",
            after=(after[0], after[1]) if after else None,
            limit=limit,
        )
        return admin_pb2.ListSagasReply(
            definitions=[answers.definition_fields(s, with_text=False) for s in stored],
            next_page_token=(
                token_of(stored[-1].name, stored[-1].version)
                if len(stored) == limit
                else ""
            ),
        )

    async def _get_journal(self, request: admin_pb2.GetJournalRequest) -> Message:
        key = self._reader.key(request.gid)
        entries = await self._queries.journal(key)
        if not entries:
            raise kept.not_found(self._reader.limits)
        return admin_pb2.GetJournalReply(
            entries=[answers.journal_entry_fields(entry) for entry in entries]
        )


async def _unary(
    request_type: type[Message], act: Act, data: bytes, context: Context
) -> bytes:
    try:
        reply = await act(_parse(request_type, data))
    except Exception as problem:  # noqa: BLE001 - the RPC's edge
        reply = error_of(problem)
    if isinstance(reply, Error):
        del data  # see abort
        await abort(context, reply)
    return reply.SerializeToString()


def _parse(request_type: type[Message], data: bytes) -> Any:
    try:
        return request_type.FromString(data)
    except DecodeError:
        raise InvalidRequest(
            f"The message is no {request_type.DESCRIPTOR.full_name}. "
            "Use the protocol of this release.",
            reason="MALFORMED_MESSAGE",
        ) from None


def _resolve(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)
