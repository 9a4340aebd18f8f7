"""A participant's server that does what a test says, and a node's side of it."""

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog

from coordinator.api.catalogue import Catalogue
from coordinator.api.convert.enums import KINDS
from coordinator.api.limits import Limits
from coordinator.api.push.connection import PAUSE_MS_MAX, Connection
from coordinator.config import PushTarget
from coordinator.core.actions import CallBranch
from coordinator.core.inputs import BranchReplied, Unknown
from coordinator.core.model import NO_PAYLOAD, Key
from coordinator.core.words import Phase
from coordinator.engine.dispatcher import Dispatcher
from coordinator.storage.memory import MemoryStore
from examples.ports import find_free_port
from protos.v1.participant_pb2 import BranchCall, BranchReply, DescribeReply
from protos.v1.participant_pb2_grpc import add_ParticipantServicer_to_server
from tests.api.fakes import DEBIT, FakeClock, FakeTimer

TIMEOUT_MS = 60_000


class Open:
    """An RPC that waits for what a test lets it end with."""

    def __init__(self, call: BranchCall, context: Any) -> None:
        self.call = call
        self.metadata = dict(context.invocation_metadata())
        self.seconds_left: float = context.time_remaining()
        self.end: asyncio.Future[BranchReply | tuple[grpc.StatusCode, str]]
        self.end = asyncio.get_running_loop().create_future()

    def answer(self, **outcome: Any) -> None:
        """With success unless told otherwise."""
        reply = BranchReply(call_id=self.call.call_id, **outcome or {"succeeded": {}})
        self.end.set_result(reply)

    def fail(self, code: grpc.StatusCode, details: str = "") -> None:
        self.end.set_result((code, details))


class Service:
    """Serves ``accounts.debit`` at one address."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{find_free_port()}"
        self.open: asyncio.Queue[Open] = asyncio.Queue()
        self.described = 0
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.description = DescribeReply(
            participant="accounts",
            operations=[{"name": DEBIT.name, "kind": KINDS[DEBIT.kind]}],
            call_credits=10,
        )
        self._server: grpc.aio.Server | None = None

    async def Describe(self, _: object, context: Any) -> DescribeReply:  # noqa: N802
        self.described += 1
        if self.refusal is not None:
            await context.abort(*self.refusal)
        return self.description

    async def Execute(self, call: BranchCall, context: Any) -> BranchReply:  # noqa: N802
        opened = Open(call, context)
        self.open.put_nowait(opened)
        end = await opened.end
        if isinstance(end, tuple):
            await context.abort(*end)
        return end

    async def start(self) -> None:
        server = self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_ParticipantServicer_to_server(self, server)
        server.add_insecure_port(self.address)
        await server.start()

    async def stop(self, grace: float | None = None) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace)


class Lines:
    """What is logged, to wait for; stands in for the processors."""

    def __init__(self) -> None:
        self.lines: list[MutableMapping[str, Any]] = []
        self._added = asyncio.Event()

    def __call__(self, _: object, __: str, line: MutableMapping[str, Any]) -> NoReturn:
        self.lines.append(line)
        self._added.set()
        raise structlog.DropEvent

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    async def first(self, event: str) -> MutableMapping[str, Any]:
        """The first line of this event, once it is there."""
        while event not in self.events():
            self._added.clear()
            await self._added.wait()
        return next(line for line in self.lines if line["event"] == event)


class PausedClock(FakeClock):
    """Time that a test moves as soon as somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = asyncio.Event()

    def call_at(self, at: int, callback: Callable[[], None]) -> FakeTimer:
        self._asked.set()
        return super().call_at(at, callback)

    async def pass_pause(self) -> None:
        """Move behind the next timer that is set."""
        await self._asked.wait()
        self._asked.clear()
        self.move(PAUSE_MS_MAX)


class Watched(Dispatcher):
    """A dispatcher that can be waited for."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._changed = asyncio.Event()

    def attach(self, *args: Any, **named: Any) -> None:
        super().attach(*args, **named)
        self._changed.set()

    def detach(self, *args: Any) -> None:
        super().detach(*args)
        self._changed.set()

    def lapsed(self, *args: Any) -> None:
        super().lapsed(*args)
        self._changed.set()

    def told(self) -> None:
        self._changed.set()

    async def until(self, is_so: Callable[[], object]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()


class NodeSide:
    """What a node has of one push target."""

    def __init__(
        self, address: str, *, limits: Limits | None = None, **target: Any
    ) -> None:
        self.clock = PausedClock()
        self.outcomes: list[tuple[Key, BranchReplied]] = []
        self.batches: list[int] = []
        self.returned: list[str] = []
        self.dispatcher = Watched(
            self.clock,
            self._replied,
            self.returned.append,
            in_turn=lambda call: call,
            on_waiting=lambda _: None,
        )
        self.catalogue = Catalogue(MemoryStore())
        named = {"participant": "accounts", "address": address, **target}
        self.connection = Connection(
            PushTarget(**named),
            self.dispatcher,
            catalogue=self.catalogue,
            clock=self.clock,
            limits=limits or Limits(),
        )

    def _replied(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        self.outcomes += replies
        self.batches.append(len(replies))
        self.dispatcher.told()

    @property
    def is_attached(self) -> bool:
        return "accounts" in self.dispatcher.attached()

    async def attached(self) -> None:
        await self.dispatcher.until(lambda: self.is_attached)

    async def detached(self) -> None:
        await self.dispatcher.until(lambda: not self.is_attached)

    async def heard(self, count: int = 1) -> list[Any]:
        """The first outcomes, once there are so many."""
        await self.dispatcher.until(lambda: len(self.outcomes) >= count)
        return [what.outcome for _, what in self.outcomes]

    async def codes(self, count: int = 1) -> list[str]:
        return [
            outcome.code if isinstance(outcome, Unknown) else "OK"
            for outcome in await self.heard(count)
        ]

    def call(self, number: int = 1, *, timeout_ms: int = TIMEOUT_MS) -> None:
        self.dispatcher.send([a_call(number, timeout_ms)])


def a_call(number: int = 1, timeout_ms: int = TIMEOUT_MS) -> CallBranch:
    return CallBranch(
        key=Key("default", f"g-{number}"),
        branch_id="b1",
        operation=DEBIT.name,
        phase=Phase.TRY,
        attempt=1,
        input=NO_PAYLOAD,
        output=NO_PAYLOAD,
        timeout_ms=timeout_ms,
    )
