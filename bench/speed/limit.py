"""The bare limit: a coordinator without rules.

``python -m bench.speed.limit LISTEN DATABASE_URL COUNTERS PARTICIPANT``

PARTICIPANT is the address of one that is called there, or empty for one that attaches.

It speaks the frames of Tercet's session with the same initiators and participants,
makes the same calls in the same order, and waits for the database as often as Tercet's
rules need: nothing is sent before the fact that it rests on is durable. Everything else
is left out: no journal, no branches' rows, no revision guard, no retries, no deadlines,
no catalogue, no recovery. What Tercet does on top is what its ratio to this costs.

One tick commits all that has come while the last commit was under way.
"""

import asyncio
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bench.speed.counters import Counters
from bench.speed.limit_push import Pushed
from bench.speed.limit_store import LimitStore, Moved, New, open_limit_store
from bench.speed.workload import ACCEPT, HOLD, POST, SAGAS, Saga
from protos.v1 import types_pb2
from protos.v1.coordinator_pb2 import (
    BeginRequest,
    BranchSpec,
    ClientFrame,
    ConfirmRequest,
    Request,
    Response,
    ServerFrame,
    SubmitSagaRequest,
    TransactionReply,
    TryRequest,
    Welcome,
)
from protos.v1.participant_pb2 import BranchCall, BranchReply
from protos.v1.types_pb2 import Payload, Transaction

CREDITS = 8_192
BATCH_MAX = 128
"""New and moved transactions in a commit, each: with more, everybody would move in one
crowd, and each process would wait for the others in turn."""
FRAME_ITEMS_MAX = 512
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    # As often as clients of the SDK ask whether it is there.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]
TIMEOUT_MS = 3_000

Reply: TypeAlias = Callable[[int], None]
"""Answers a request with a transaction's status."""
Step: TypeAlias = Callable[[], None]


class Stream:
    """What waits to be written to a peer: everything in it goes in one frame."""

    def __init__(self) -> None:
        self.responses: deque[Response] = deque()
        self.calls: deque[BranchCall] = deque()
        self.filled = asyncio.Event()

    def put(self, call: BranchCall) -> None:
        """Call the participant at the end of this stream."""
        self.calls.append(call)
        self.filled.set()

    async def write_all(self, write: Callable[[ServerFrame], Any]) -> None:
        """Until cancelled."""
        while True:
            await self.filled.wait()
            self.filled.clear()
            while self.responses or self.calls:
                frame = ServerFrame(
                    responses=_taken(self.responses), calls=_taken(self.calls)
                )
                await write(frame)


def _taken(items: deque[Any]) -> list[Any]:
    count = min(len(items), FRAME_ITEMS_MAX)
    return [items.popleft() for _ in range(count)]


def _nobody(_status: int) -> None:
    """Who is answered when nobody waits."""


Branches: TypeAlias = Sequence[tuple[str, Payload]]
"""Ids and inputs."""


class Open:
    """A transaction under way: which calls come next, and who waits for what.

    Attributes:
        left: answers that its last calls still want.
        next: what follows the last of them.
        waves: of a saga, from the first; ``at`` is the next one.
    """

    __slots__ = (
        "at",
        "branches",
        "gid",
        "last_input",
        "left",
        "next",
        "refused",
        "reply",
        "waves",
    )

    next: Step
    branches: Branches
    last_input: Payload

    def __init__(self, gid: str, reply: Reply, waves: Sequence[Branches] = ()) -> None:
        self.gid = gid
        self.reply = reply
        self.waves = waves
        self.at = self.left = 0
        self.refused: tuple[str, ...] = ()


def _waves(saga: Saga) -> list[Branches]:
    """All of its actions; the last ones take their input from the request."""
    return [
        [(f"s{number}x{n}", ACCEPT) for n in range(width)]
        for number, width in enumerate(saga.waves)
    ]


WAVES = {saga.name: _waves(saga) for saga in SAGAS.values()}


class Limit:
    """Requests in, calls out, each after its commit."""

    def __init__(self, store: LimitStore, counters: Counters) -> None:
        self._store = store
        self._counters = counters
        self._new: list[tuple[New, Step]] = []
        self._moved: list[tuple[Moved, Step]] = []
        self._commits: set[asyncio.Task[None]] = set()
        self._open: dict[str, Open] = {}
        self._calls: dict[int, tuple[Open, str]] = {}
        self._last_call = 0
        self.participant: Stream | Pushed = Stream()
        """The one that there is; calls wait in it until it attaches."""

    # ---- Requests -------------------------------------------------------------------

    def submit_saga(self, request: SubmitSagaRequest, reply: Reply) -> None:
        """Answered at the end."""
        tx = Open(request.gid, reply, WAVES[request.name])
        tx.last_input = request.input
        self._insert(tx, request.input.data, partial(self._next_wave, tx))

    def _next_wave(self, tx: Open) -> None:
        """Call the next actions; when all have answered, that is a fact to keep."""
        at, waves = tx.at, tx.waves
        if tx.refused:
            self._compensate(tx)
        elif at == len(waves):
            tx.reply(types_pb2.COMPLETED)
        else:
            tx.at = at + 1
            wave = waves[at]
            if tx.at == len(waves):
                wave = [(branch_id, tx.last_input) for branch_id, _ in wave]
            kept = partial(self._update, tx, partial(self._next_wave, tx))
            self._call(tx, POST, types_pb2.PHASE_ACTION, wave, kept)

    def _compensate(self, tx: Open) -> None:
        tx.branches = [branch for wave in tx.waves[: tx.at] for branch in wave]
        undone = partial(tx.reply, types_pb2.COMPENSATED)
        self._undo(tx, POST, types_pb2.PHASE_COMPENSATION, undone)

    def begin(self, request: BeginRequest, reply: Reply) -> None:
        """Answered when it is accepted, or a declared one at the end."""
        if not request.auto_confirm:
            tx = self._open[request.gid] = Open(request.gid, _nobody)
            self._insert(tx, b"", partial(reply, types_pb2.TRYING))
            return
        tx = Open(request.gid, reply)
        tx.branches = _branches(request.tries)

        def decide() -> None:
            if tx.refused:
                self._cancel(tx, _nobody)
            else:
                self._confirm(tx, _nobody)

        tries = partial(self._call, tx, HOLD, types_pb2.PHASE_TRY, tx.branches, decide)
        self._insert(tx, b"", tries)

    def try_(self, request: TryRequest, reply: Reply) -> None:
        """Answered when all branches have answered."""
        tx = self._open[request.gid]
        tx.branches = _branches(request.tries)

        def tried() -> None:
            if tx.refused:
                self._cancel(tx, reply)
            else:
                reply(types_pb2.TRYING)

        tries = partial(self._call, tx, HOLD, types_pb2.PHASE_TRY, tx.branches, tried)
        self._update(tx, tries)

    def confirm(self, request: ConfirmRequest, reply: Reply) -> None:
        """Answered when it is decided."""
        self._confirm(self._open[request.gid], reply)

    def _confirm(self, tx: Open, reply: Reply) -> None:
        ended = partial(self._end, tx, types_pb2.CONFIRMED)

        def decided() -> None:
            reply(types_pb2.CONFIRMING)
            kept = partial(self._update, tx, ended)
            self._call(tx, HOLD, types_pb2.PHASE_CONFIRM, tx.branches, kept)

        self._update(tx, decided)

    def _cancel(self, tx: Open, reply: Reply) -> None:
        ended = partial(self._end, tx, types_pb2.CANCELLED)

        def decided() -> None:
            reply(types_pb2.CANCELLING)
            self._undo(tx, HOLD, types_pb2.PHASE_CANCEL, ended)

        self._update(tx, decided)

    def _undo(self, tx: Open, operation: str, phase: int, undone: Step) -> None:
        """Call the other side of all that was not refused."""
        done = [branch for branch in tx.branches if branch[0] not in tx.refused]
        kept = partial(self._update, tx, undone)
        if done:
            self._call(tx, operation, phase, done, kept)
        else:
            kept()

    def _end(self, tx: Open, status: int) -> None:
        self._open.pop(tx.gid, None)
        tx.reply(status)

    # ---- Calls ----------------------------------------------------------------------

    def _call(
        self,
        tx: Open,
        operation: str,
        phase: int,
        branches: Branches,
        then: Step,
    ) -> None:
        """Ask the participant; ``then`` when all have answered."""
        tx.next = then
        for branch_id, payload in branches:
            tx.left += 1
            self._last_call += 1
            self._calls[self._last_call] = (tx, branch_id)
            self.participant.put(
                BranchCall(
                    call_id=self._last_call,
                    gid=tx.gid,
                    branch_id=branch_id,
                    operation=operation,
                    phase=phase,  # type: ignore[arg-type] # a plain number
                    attempt=1,
                    input=payload,
                    timeout_ms=TIMEOUT_MS,
                )
            )

    def answered(self, replies: Iterable[BranchReply]) -> None:
        """The participant's answers."""
        for reply in replies:
            tx, branch_id = self._calls.pop(reply.call_id)
            if reply.HasField("refused"):
                tx.refused += (branch_id,)
            tx.left -= 1
            if not tx.left:
                tx.next()

    # ---- Commits --------------------------------------------------------------------

    def _insert(self, tx: Open, data: bytes, then: Step) -> None:
        self._new.append(((tx.gid, 0, data, _now()), then))
        self._start()

    def _update(self, tx: Open, then: Step) -> None:
        self._moved.append(((tx.gid, tx.at, _now()), then))
        self._start()

    def _start(self) -> None:
        if len(self._commits) < self._store.writer_max:
            commit = asyncio.get_running_loop().create_task(self._commit())
            self._commits.add(commit)
            commit.add_done_callback(self._committed)

    def _committed(self, commit: "asyncio.Task[None]") -> None:
        self._commits.discard(commit)
        if self._moved or self._new:  # they came after its last look
            self._start()

    async def _commit(self) -> None:
        await asyncio.sleep(0)  # what comes in this turn of the loop goes with it
        while self._moved or self._new:
            moved, self._moved = self._moved[:BATCH_MAX], self._moved[BATCH_MAX:]
            new, self._new = self._new[:BATCH_MAX], self._new[BATCH_MAX:]
            await self._store.commit([row for row, _ in new], [row for row, _ in moved])
            count = len(moved) + len(new)
            self._counters.committed(count, count)
            for _, then in moved:
                then()
            for _, then in new:
                then()


def _branches(specs: Iterable[BranchSpec]) -> Branches:
    return [(spec.branch_id, spec.input) for spec in specs]


def _now() -> int:
    return time.time_ns() // 1_000_000


class Server:
    """The wire: sessions, and unary submits."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._handlers: dict[str, Callable[[Any, Reply], None]] = {
            "submit_saga": limit.submit_saga,
            "begin": limit.begin,
            "try": limit.try_,
            "confirm": limit.confirm,
        }

    def handlers(self) -> grpc.GenericRpcHandler:
        """Of the service."""
        return grpc.method_handlers_generic_handler(
            "tercet.v1.Coordinator",
            {
                "Session": grpc.stream_stream_rpc_method_handler(
                    self._session,
                    request_deserializer=ClientFrame.FromString,
                    response_serializer=ServerFrame.SerializeToString,
                ),
                "SubmitSaga": grpc.unary_unary_rpc_method_handler(
                    self._submit,
                    request_deserializer=SubmitSagaRequest.FromString,
                    response_serializer=TransactionReply.SerializeToString,
                ),
            },
        )

    async def _session(self, frames: AsyncIterator[ClientFrame], context: Any) -> None:
        hello = (await anext(frames)).hello
        stream = Stream()
        if hello.participant and isinstance(self._limit.participant, Stream):
            stream = self._limit.participant
        welcome = Welcome(node_id="limit", request_credits=CREDITS)
        await context.write(ServerFrame(welcome=welcome))
        writer = asyncio.create_task(stream.write_all(context.write))
        try:
            async for frame in frames:
                if frame.replies:
                    self._limit.answered(frame.replies)
                for request in frame.requests:
                    self._take(stream, request)
        finally:
            writer.cancel()

    def _take(self, stream: Stream, request: Request) -> None:
        number = request.id
        kind = request.WhichOneof("request")
        if kind is None:
            return
        inner = getattr(request, kind)
        gid = inner.gid

        def reply(status: int) -> None:
            transaction = Transaction(gid=gid, status=status)  # type: ignore[arg-type] # a plain number
            stream.responses.append(Response(id=number, transaction=transaction))
            stream.filled.set()

        self._handlers[kind](inner, reply)

    async def _submit(self, request: SubmitSagaRequest, _: Any) -> TransactionReply:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._limit.submit_saga(request, ended.set_result)
        status = await ended
        return TransactionReply(
            transaction=Transaction(gid=request.gid, status=status)  # type: ignore[arg-type] # a plain number
        )


async def serve(listen: str, url: str, counters: Path, participant: str) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    limit = Limit(await open_limit_store(url), Counters.create(counters))
    if participant:
        limit.participant = Pushed(participant, limit.answered)
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers((Server(limit).handlers(),))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(listen)
    await server.start()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    await stop.wait()
    await server.stop(0)


def main() -> None:
    """Serve what the command line says."""
    listen, url, counters, participant = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(listen, url, Path(counters), participant))


if __name__ == "__main__":
    main()
