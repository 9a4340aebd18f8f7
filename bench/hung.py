"""What a participant that hangs costs the others: ``python -m bench.hung`` (F13, V2).

A real node over a throw-away database and two participants: ``well`` succeeds at once,
``hung`` takes calls and never answers. A closed loop of transactions of ``well`` is
measured alone, and then beside a crowd of transactions of ``hung`` that run into their
time-outs and grow by some each second. It ends with

``HUNG store=… hung_in_flight=N hung_refused=N hung_calls=N alone_per_s=N
at_once_percent=N others_percent=N cpu_us_percent=N commits_percent=N
node_cpu_percent=N``

``at_once_percent``: what ``well`` ends while the crowd begins and uses up its tries, as
a share of alone; ``others_percent``: afterwards, while it grows and newcomers time out;
both by medians of windows. ``cpu_us_percent``: what the node spends afterwards for one
transaction of ``well``, the crowd's part included, as a share of alone;
``commits_percent``: the same of its database's commits. ``hung_calls``: all that went
out to the hung participant.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from bench.cluster import STORES, Cluster, cluster
from bench.speed.counters import Counters
from bench.speed.load import Ended, RealTiming, closed_loop
from bench.surge import connected
from participant_sdk.gid import new_gid
from participant_sdk.session import SDK_VERSION, Session
from protos.v1 import types_pb2
from protos.v1.coordinator_pb2 import BeginRequest, BranchSpec, Hello, Request, Response
from protos.v1.participant_pb2 import BranchCall, BranchReply, Succeeded

IN_FLIGHT = 64
"""Of the participant that is well."""

NODE, WELL, HUNG = "node", "well", "hung"
LOOK_SECONDS = 0.1
DEADLINE_MS = 600_000
TRY_TIMEOUT_MS = 3_000
CREDITS = 256
Calls = Iterable[BranchCall]
Give = Callable[[list[BranchReply]], None]


class Silent:
    """Takes calls and never answers; only remembers how many it has."""

    def __init__(self) -> None:
        self.calls = 0

    def take(self, calls: Calls, _give: Give) -> None:
        """Take, and be silent."""
        self.calls += sum(1 for _ in calls)


def answer(calls: Calls, give: Give) -> None:
    """Succeed at once."""
    give([BranchReply(call_id=c.call_id, succeeded=Succeeded()) for c in calls])


@asynccontextmanager
async def attached(
    target: str, name: str, take: Callable[[Calls, Give], None]
) -> AsyncIterator[None]:
    """A participant with one TCC operation."""
    operation = types_pb2.Operation(
        name=f"{name}.do", kind=types_pb2.OPERATION_TCC, participant=name
    )
    welcome = asyncio.Event()

    def hello() -> Hello:
        return Hello(
            client=name,
            participant=name,
            operations=[operation],
            call_credits=CREDITS,
            sdk_version=SDK_VERSION,
        )

    session = Session(target, hello, on_calls=take, on_welcome=welcome.set, roams=False)
    session.start()
    try:
        await welcome.wait()
        yield
    finally:
        await session.close()


def begin(participant: str) -> Request:
    """A transaction of one try, that the node decides."""
    spec = BranchSpec(
        branch_id="b", operation=f"{participant}.do", timeout_ms=TRY_TIMEOUT_MS
    )
    wanted = BeginRequest(
        gid=new_gid(), name="bench", deadline_ms=DEADLINE_MS, tries=[spec]
    )
    wanted.auto_confirm = wanted.wait = True
    return Request(begin=wanted)


class Crowd:
    """Transactions of the hung participant: many at once, and steadily more."""

    def __init__(self, session: Session, *, at_once: int, per_second: float) -> None:
        self._session = session
        self._at_once = at_once
        self._per_second = per_second
        self.in_flight = self.refused = 0

    async def run(self) -> None:
        """Until cancelled."""
        began, begun = time.monotonic(), 0
        while True:
            passed = time.monotonic() - began
            due = self._at_once + int(passed * self._per_second)
            for _ in range(due - begun):
                self._one()
            begun = due
            await asyncio.sleep(LOOK_SECONDS)

    def _one(self) -> None:
        self.in_flight += 1
        answer = self._session.request(begin(HUNG))
        answer.add_done_callback(self._ended)

    def _ended(self, answer: "asyncio.Future[Response]") -> None:
        self.in_flight -= 1
        if not answer.cancelled() and answer.exception() is None:
            self.refused += answer.result().HasField("error")


@dataclass(frozen=True)
class Sample:
    """What the participant that is well had in one window."""

    per_second: float
    cpu_percent: float
    cpu_us: float
    commits: float


async def window(
    here: Cluster, counters: Counters, session: Session, seconds: float
) -> Sample:
    """One closed loop of the participant that is well."""

    def start(_number: int, ended: Ended) -> None:
        answer = session.request(begin(WELL))
        answer.add_done_callback(lambda done: ended(is_confirmed(done)))

    looks: list[tuple[float, int]] = []

    def look() -> None:
        looks.append((here.cpu_seconds(NODE), counters.read().commits))

    seen = await closed_loop(
        start,
        in_flight=IN_FLIGHT,
        warm_seconds=1,
        seconds=seconds,
        timing=RealTiming(),
        on_open=look,
        on_close=look,
    )
    if seen.refused:
        raise SystemExit(f"{seen.refused} transactions of `{WELL}` were not confirmed")
    spent, commits = (after - before for before, after in zip(*looks, strict=True))
    return Sample(
        seen.per_second,
        100 * spent / seen.seconds,
        1e6 * seen.per_transaction(spent),
        seen.per_transaction(commits),
    )


def is_confirmed(answer: "asyncio.Future[Response]") -> bool:
    """It ended, and well."""
    if answer.cancelled() or answer.exception() is not None:
        return False
    return answer.result().transaction.status == types_pb2.CONFIRMED


async def measure(here: Cluster, options: argparse.Namespace) -> str:
    """Alone, and beside the crowd."""
    path = here.fleet.directory / "commits"
    counters = Counters.create(path)
    await here.start_node(NODE, counters=path)
    target = here.targets[NODE]
    silent = Silent()
    async with (
        attached(target, WELL, answer),
        attached(target, HUNG, silent.take),
        connected(target, 2) as (well, others),
    ):
        windows = partial(_windows, here, counters, well, options)
        alone = await windows()
        crowd = Crowd(others, at_once=options.hung, per_second=options.per_second)
        running = asyncio.create_task(crowd.run())
        at_once = await windows()
        beside = await windows()
        running.cancel()
        return (
            f"HUNG store={here.kind} hung_in_flight={crowd.in_flight}"
            f" hung_refused={crowd.refused} hung_calls={silent.calls}"
            f" alone_per_s={_median(alone, 'per_second'):.0f}"
            f" at_once_percent={100 * _ratio(at_once, alone, 'per_second'):.0f}"
            f" others_percent={100 * _ratio(beside, alone, 'per_second'):.0f}"
            f" cpu_us_percent={100 * _ratio(beside, alone, 'cpu_us'):.0f}"
            f" commits_percent={100 * _ratio(beside, alone, 'commits'):.0f}"
            f" node_cpu_percent={_median(beside, 'cpu_percent'):.0f}"
        )


async def _windows(
    here: Cluster, counters: Counters, well: Session, options: argparse.Namespace
) -> list[Sample]:
    return [
        await window(here, counters, well, options.seconds)
        for _ in range(options.windows)
    ]


def _median(samples: list[Sample], name: str) -> float:
    return statistics.median(getattr(sample, name) for sample in samples)


def _ratio(some: list[Sample], others: list[Sample], name: str) -> float:
    return _median(some, name) / _median(others, name)


async def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hung")
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--hung", type=int, default=2_000, help="at once")
    parser.add_argument("--per-second", type=float, default=5, help="more of them")
    parser.add_argument("--windows", type=int, default=5, help="of each kind")
    parser.add_argument("--seconds", type=float, default=6, help="of a window")
    options = parser.parse_args()
    with cluster(options.store) as here:
        print(await measure(here, options))


if __name__ == "__main__":
    asyncio.run(main())
