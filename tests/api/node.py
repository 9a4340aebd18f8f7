"""A node as it runs: server, engine, dispatcher and store; only time is a test's."""

from collections.abc import Sequence
from typing import Self

import grpc

from coordinator.api.catalogue import Catalogue
from coordinator.api.convert.enums import KINDS
from coordinator.api.definitions import PublishedSagas
from coordinator.api.limits import Limits
from coordinator.api.peers import Peers
from coordinator.api.server import build_server
from coordinator.core.actions import CallBranch
from coordinator.core.inputs import BranchReplied
from coordinator.core.model import Key, Operation
from coordinator.engine.dispatcher import Dispatcher
from coordinator.engine.engine import Engine
from coordinator.engine.limits import EngineLimits
from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.store import SqlStore
from protos.v1 import (
    admin_pb2_grpc,
    coordinator_pb2,
    coordinator_pb2_grpc,
    participant_pb2,
    types_pb2,
)
from tests.api.client import Client
from tests.api.fakes import FakeClock

DEBITED = coordinator_pb2.BranchSpec(branch_id="b1", operation="accounts.debit")


class Node:
    """One node on loopback, as an async context manager."""

    def __init__(
        self,
        store: MemoryStore | SqlStore,
        clock: FakeClock,
        node_id: str = "node-1",
        limits: Limits | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.dispatcher = Dispatcher(
            clock,
            self._replied,
            self._returned,
            in_turn=self._in_turn,
            on_waiting=self._waits_long,
        )
        self._catalogue = catalogue = Catalogue(store)
        sagas = PublishedSagas(store, catalogue.operations, clock)
        self.engine = Engine(
            store=store,
            participants=self.dispatcher,
            definitions=sagas,
            clock=clock,
            node_id=node_id,
            # Time stands still, so nobody else would ever come.
            limits=EngineLimits(commit_pace_ms=0),
        )
        self.peers = Peers(node_id=node_id, version="1.2.3")
        self._server = build_server(
            engine=self.engine,
            dispatcher=self.dispatcher,
            queries=store,
            catalogue=catalogue,
            sagas=sagas,
            clock=clock,
            limits=limits or Limits(),
            peers=self.peers,
            node_id=node_id,
            version="1.2.3",
        )

    def _in_turn(self, call: CallBranch) -> CallBranch | None:
        return self.engine.in_turn(call)

    def _waits_long(self, calls: Sequence[CallBranch]) -> None:
        self.engine.waits_long(calls)

    def _returned(self, participant: str) -> None:
        self.engine.participant_returned(participant)

    def _replied(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        self.engine.replied(replies)  # made after the dispatcher

    async def __aenter__(self) -> Self:
        """Serve."""
        await self._catalogue.load()
        address = self._server.bind("127.0.0.1:0")
        await self._server.start()
        self.channel = grpc.aio.insecure_channel(address)
        self.coordinator = coordinator_pb2_grpc.CoordinatorStub(self.channel)
        self.definitions = admin_pb2_grpc.DefinitionsStub(self.channel)
        self.admin = admin_pb2_grpc.AdminStub(self.channel)
        self.catalogue_stub = admin_pb2_grpc.CatalogueStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop like a node that is asked to."""
        await self.channel.close()
        await self._server.drain(0)
        await self.engine.close()
        self.dispatcher.close()

    def peer(self) -> "Peer":
        """A session that has not said hello."""
        return Peer(self.channel)

    async def participant(self, operation: Operation) -> "Peer":
        """An attached participant that carries out one operation."""
        peer = self.peer()
        await peer.hello(
            participant=operation.participant,
            operations=[
                types_pb2.Operation(
                    name=operation.name,
                    kind=KINDS[operation.kind],
                    compensable=operation.compensable,
                )
            ],
        )
        return peer

    async def begin(self, gid: str = "g1", **fields) -> types_pb2.Transaction:
        """A transaction, with one mediated branch unless told otherwise."""
        fields = {"name": "transfer", "tries": [DEBITED], **fields}
        request = coordinator_pb2.BeginRequest(gid=gid, **fields)
        return (await self.coordinator.Begin(request)).transaction

    async def decide(self, gid: str = "g1", **fields) -> types_pb2.Transaction:
        """Let the transaction be committed."""
        request = coordinator_pb2.ConfirmRequest(gid=gid, **fields)
        return (await self.coordinator.Confirm(request)).transaction

    async def end(self, gid: str = "g1") -> types_pb2.Transaction:
        """The transaction at its end."""
        request = coordinator_pb2.GetRequest(gid=gid, wait=True, with_branches=True)
        return (await self.coordinator.Get(request)).transaction

    async def state(self, gid: str = "g1") -> types_pb2.Transaction:
        """The transaction, after all that was said of it before."""
        request = coordinator_pb2.GetRequest(gid=gid, with_branches=True)
        return (await self.coordinator.Get(request)).transaction


class Peer(Client):
    """A participant that answers when a test says so."""

    async def next_call(self) -> participant_pb2.BranchCall:
        """The oldest call that was not looked at."""
        await self.until(lambda: self.calls)
        return self.calls.pop(0)

    async def answer(self, call: participant_pb2.BranchCall, **outcome) -> None:
        """Answer a call, with success unless told otherwise; returns when it counts."""
        outcome = outcome or {"succeeded": {}}
        reply = participant_pb2.BranchReply(call_id=call.call_id, **outcome)
        await self.send(replies=[reply])
        await self.look(call.gid)

    async def carry_out(self, *phases: types_pb2.Phase) -> None:
        """Answer the next calls, which must be these, with success."""
        for phase in phases:
            call = await self.next_call()
            assert call.phase == phase, call
            await self.answer(call)

    async def look(self, gid: str = "g1") -> types_pb2.Transaction:
        """The state, asked on this session: behind all that was sent on it before."""
        get = coordinator_pb2.GetRequest(gid=gid)
        return (await self.ask(1, get=get)).transaction
