"""Load in stages, each at its own rate whatever comes back; what became of each one.

``python -m bench.surge JSON``, where JSON is an :class:`Order`; the transactions come
back as JSON on stdout (:class:`Seen`). Sessions are the SDK's own and nothing more:
who is refused, by the node or already by the session, is counted, and does not ask
again.
"""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import uvloop

from bench.speed.load import Ended, RealTiming, Start, open_loop
from bench.speed.transactions import CONNECT_SECONDS_MAX
from bench.speed.workload import GOOD, Tcc
from participant_sdk.errors import Overloaded
from participant_sdk.gid import new_gid
from participant_sdk.session import SDK_VERSION, Session
from protos.v1.coordinator_pb2 import Hello, Request, Response

CONFIRMED, REFUSED, FAILED, SPARED = 0, 1, 2, 3
"""What became of a transaction: ended well, told to come later by the node, anything
else, told to come later by the SDK, which sent nothing."""

GARBAGE_OBJECTS = (20_000, 20, 10)
"""How rarely this process looks for garbage, as a node does: it walked through all that
is under way eight times in twelve seconds of overload, for 60 to 310 ms each, and all
that was due meanwhile was late."""

SHAPE = Tcc(2, declared=True)
"""One request, answered at the end: so who is refused was refused before it began."""


class Stage(msgspec.Struct, frozen=True):
    """So many a second, for so long."""

    per_second: float
    seconds: float


class Order(msgspec.Struct, frozen=True):
    """What to offer.

    Attributes:
        sessions: the transactions take turns with them; enough that none of them
            holds back what the node has not answered.
        deadline_ms: of each transaction.
    """

    target: str
    sessions: int
    deadline_ms: int
    stages: list[Stage]


class Seen(msgspec.Struct):
    """Transactions in the order of their ends.

    Attributes:
        stages: number of the stage in which each began.
        begun: seconds after the first stage's beginning at which each should have.
        took: seconds from then to its answer.
        outcomes: ``CONFIRMED``, ``REFUSED``, ``FAILED`` or ``SPARED``.
        failures: how often each text of a failure came.
        without_pause: refusals that did not say when to come back.
    """

    stages: list[int]
    begun: list[float]
    took: list[float]
    outcomes: list[int]
    failures: dict[str, int]
    without_pause: int = 0


class _Surge:
    def __init__(self, sessions: Sequence[Session], order: Order) -> None:
        self._sessions = sessions
        begin = SHAPE.begin("", refuse=False)
        begin.deadline_ms = order.deadline_ms
        self._request = Request(begin=begin)
        self._began_at = time.monotonic()
        self.seen = Seen([], [], [], [], {})

    def starting(self, stage: int, per_second: float) -> Start:
        """What begins a stage's transactions."""
        since = time.monotonic() - self._began_at

        def start(number: int, ended: Ended) -> None:
            request = Request()
            request.CopyFrom(self._request)  # five times as fast as filling it in
            request.begin.gid = new_gid()
            session = self._sessions[number % len(self._sessions)]
            begun = since + number / per_second
            try:
                answer = session.request(request)
            except Overloaded:
                self._note(stage, begun, SPARED)
                ended(False)
                return
            answer.add_done_callback(partial(self._answered, stage, begun, ended))

        return start

    def _answered(
        self, stage: int, begun: float, ended: Ended, answer: "asyncio.Future[Response]"
    ) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # the session was closed
        outcome = self._judge(answer.result())
        self._note(stage, begun, outcome)
        ended(outcome == CONFIRMED)

    def _note(self, stage: int, begun: float, outcome: int) -> None:
        seen = self.seen
        seen.stages.append(stage)
        seen.begun.append(begun)
        seen.took.append(time.monotonic() - self._began_at - begun)
        seen.outcomes.append(outcome)

    def _judge(self, response: Response) -> int:
        if response.HasField("error"):
            if response.error.reason == "OVERLOADED":
                self.seen.without_pause += not response.error.retry_after_ms
                return REFUSED
            return self._failed(f"{response.error.reason}: {response.error.message}")
        transaction = response.transaction
        if transaction.status in GOOD:
            return CONFIRMED
        return self._failed(f"{transaction.status} {transaction.reason_code}")

    def _failed(self, why: str) -> int:
        self.seen.failures[why] = self.seen.failures.get(why, 0) + 1
        return FAILED


@asynccontextmanager
async def connected(target: str, count: int) -> AsyncIterator[list[Session]]:
    """So many sessions, welcomed."""
    welcomes = [asyncio.Event() for _ in range(count)]
    sessions = [
        Session(
            target,
            lambda: Hello(client="bench", sdk_version=SDK_VERSION),
            on_welcome=welcome.set,
            roams=False,
        )
        for welcome in welcomes
    ]
    for session in sessions:
        session.start()
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            await asyncio.gather(*(welcome.wait() for welcome in welcomes))
        yield sessions
    finally:
        await asyncio.gather(*(session.close() for session in sessions))


async def surge(order: Order) -> Seen:
    """All stages, one right after the other; returns when everything is answered."""
    async with connected(order.target, order.sessions) as sessions:
        load = _Surge(sessions, order)
        running = []
        for number, stage in enumerate(order.stages):
            is_over = asyncio.Event()
            loop = open_loop(
                load.starting(number, stage.per_second),
                per_second=stage.per_second,
                warm_seconds=0,
                seconds=stage.seconds,
                timing=RealTiming(),
                on_close=is_over.set,
            )
            running.append(asyncio.ensure_future(loop))
            await is_over.wait()
        await asyncio.gather(*running)
        return load.seen


def main() -> None:
    """Offer what the command line says."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    gc.freeze()
    gc.set_threshold(*GARBAGE_OBJECTS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(surge(order))
    sys.stdout.buffer.write(msgspec.json.encode(seen))


if __name__ == "__main__":
    main()
