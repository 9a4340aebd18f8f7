"""Transactions as an initiator asks for them, over the SDK's own session.

Each is a chain of requests; the next one leaves when the answer before it has come.
There is no task for a transaction: answers call back, as the session has them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import grpc.aio

from bench.speed.load import Ended, Start
from bench.speed.workload import BAD, GOOD, SAGA2, Saga, Tcc, Workload
from participant_sdk.gid import new_gid
from participant_sdk.session import CHANNEL_OPTIONS, SDK_VERSION, Session
from protos.v1.coordinator_pb2 import (
    ConfirmRequest,
    Hello,
    Request,
    Response,
    SubmitSagaRequest,
    TransactionReply,
    TryRequest,
)
from protos.v1.types_pb2 import TRYING, Transaction

CONNECT_SECONDS_MAX = 20.0
UNARY_CHANNELS = 4
"""Connections that unary calls are spread over, as a service of some threads would."""

Then = Callable[[Transaction], None]
Fail = Callable[[str], None]
"""Told what went wrong; the run is over."""


@asynccontextmanager
async def transactions(
    workload: Workload, targets: Sequence[str], fail: Fail
) -> AsyncIterator[Start]:
    """What begins transactions of this workload, at the nodes in turn."""
    async with AsyncExitStack() as stack:
        at_one = _unary if workload.is_unary else _attached
        starts = [
            await stack.enter_async_context(at_one(workload, target, fail))
            for target in targets
        ]
        yield lambda number, ended: starts[number % len(starts)](number, ended)


@asynccontextmanager
async def _attached(
    workload: Workload, target: str, fail: Fail
) -> AsyncIterator[Start]:
    welcomed = asyncio.Event()
    session = Session(
        target,
        lambda: Hello(client="bench", sdk_version=SDK_VERSION),
        on_welcome=welcomed.set,
        roams=False,
    )
    session.start()
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            await welcomed.wait()
        yield _Initiator(session, workload, fail).start
    finally:
        await session.close()


class _Initiator:
    def __init__(self, session: Session, workload: Workload, fail: Fail) -> None:
        self._session = session
        self._workload = workload
        self._fail = fail

    def start(self, number: int, ended: Ended) -> None:
        """Begin one."""
        shapes = self._workload.shapes
        refuse = self._workload.is_refused(number)
        gid = new_gid()
        match shapes[number % len(shapes)]:
            case Saga() as saga:
                request = Request(submit_saga=saga.submit(gid, refuse=refuse))
                self._ask(request, partial(self._end, refuse, ended))
            case Tcc(declared=True) as tcc:
                request = Request(begin=tcc.begin(gid, refuse=refuse))
                self._ask(request, partial(self._end, refuse, ended))
            case tcc:
                self._mediated(tcc, gid, refuse, ended)

    def _mediated(self, tcc: Tcc, gid: str, refuse: bool, ended: Ended) -> None:
        """Begin, let all branches be tried, and confirm what was not refused."""

        def begun(_: Transaction) -> None:
            request = Request()
            tries = TryRequest(gid=gid, tries=tcc.tries(refuse=refuse))
            getattr(request, "try").CopyFrom(tries)
            self._ask(request, tried)

        def tried(transaction: Transaction) -> None:
            if transaction.status != TRYING:
                self._end(refuse, ended, transaction)
                return
            confirm = Request(confirm=ConfirmRequest(gid=gid))
            self._ask(confirm, partial(self._end, refuse, ended))

        self._ask(Request(begin=tcc.begin(gid, refuse=refuse)), begun)

    def _ask(self, request: Request, then: Then) -> None:
        answer = self._session.request(request)
        answer.add_done_callback(partial(self._answered, then))

    def _answered(self, then: Then, answer: "asyncio.Future[Response]") -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # the session was closed
        response = answer.result()
        if response.HasField("error"):
            self._fail(f"{response.error.reason}: {response.error.message}")
            return
        then(response.transaction)

    def _end(self, refuse: bool, ended: Ended, transaction: Transaction) -> None:
        check_end(transaction, refuse=refuse, fail=self._fail)
        ended(not refuse)


def check_end(transaction: Transaction, *, refuse: bool, fail: Fail) -> None:
    """It ended as it should; a fast wrong answer is no figure."""
    if transaction.status not in (BAD if refuse else GOOD):
        fail(
            f"{transaction.gid} ended with status {transaction.status}, reason"
            f" {transaction.reason_code or '-'} {transaction.reason_text}"
        )


@asynccontextmanager
async def _unary(workload: Workload, target: str, fail: Fail) -> AsyncIterator[Start]:
    channels = [
        grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        for _ in range(UNARY_CHANNELS)
    ]
    submits: list[Callable[[SubmitSagaRequest], Awaitable[TransactionReply]]] = [
        channel.unary_unary(
            "/tercet.v1.Coordinator/SubmitSaga",
            request_serializer=SubmitSagaRequest.SerializeToString,
            response_deserializer=TransactionReply.FromString,
        )
        for channel in channels
    ]
    running: set[asyncio.Task[None]] = set()
    shape = SAGA2

    async def one(number: int, ended: Ended) -> None:
        refuse = workload.is_refused(number)
        request = shape.submit(new_gid(), refuse=refuse)
        try:
            reply = await submits[number % UNARY_CHANNELS](request)
        except grpc.aio.AioRpcError as error:
            fail(f"{error.code().name}: {error.details()}")
            return
        check_end(reply.transaction, refuse=refuse, fail=fail)
        ended(not refuse)

    def start(number: int, ended: Ended) -> None:
        task = asyncio.get_running_loop().create_task(one(number, ended))
        running.add(task)
        task.add_done_callback(running.discard)

    try:
        yield start
    finally:
        for channel in channels:
            await channel.close()
