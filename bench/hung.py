"""What a participant that hangs costs the others: ``python -m bench.hung`` (F13, V2).

A real node over a throw-away database and two participants: ``well`` succeeds at once,
``hung`` takes calls and never answers. A closed loop of transactions of ``well`` is
measured alone, and then beside a crowd of transactions of ``hung`` that run into their
time-outs and grow by some each second; then ``hung`` answers all, and it begins anew.
A machine that is shared is faster now than a minute later, so each round is compared
with what was seen alone right before and right after it. It ends with

``HUNG store=… hung_in_flight=N hung_refused=N hung_calls=N alone_per_s=N
at_once_percent=N others_percent=N others_refused=N cpu_us_percent=N commits_percent=N
node_cpu_percent=N``

``at_once_percent``: what ``well`` ends while the crowd begins and uses up its tries, as
a share of alone; ``others_percent``: afterwards, while it grows and newcomers time out.
``others_refused``: what the node shed of it, to be asked again: when a thousand of the
crowd time out at once, it may have no room for 100 ms. ``cpu_us_percent``: what the
node spends afterwards for one transaction of ``well``, the crowd's part included, as a
share of alone; ``commits_percent``: the same of its database's commits. All are medians
of rounds. ``hung_calls``: the most that went out to the hung participant in one round.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import truediv

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
BEGUN_PER_LOOK_MAX = 200
"""More at an instant would be shed (`changes_max` of the engine), and the other
participant's with them."""

DEADLINE_MS = 600_000
TRY_TIMEOUT_MS = 3_000
CREDITS = 256
RECOVERY_SECONDS_MAX = 120
"""Until a crowd has ended, once it is answered."""

Calls = Iterable[BranchCall]
Give = Callable[[list[BranchReply]], None]


class Silent:
    """Takes calls and does not answer before it is told to."""

    def __init__(self) -> None:
        self._held: list[tuple[list[BranchCall], Give]] = []
        self._is_silent = True

    @property
    def calls(self) -> int:
        """That it holds."""
        return sum(len(calls) for calls, _ in self._held)

    def take(self, calls: Calls, give: Give) -> None:
        """Take, and be silent."""
        if self._is_silent:
            self._held.append((list(calls), give))
        else:
            answer(calls, give)

    def speak(self) -> None:
        """Answer all of them, and from now on at once."""
        self._is_silent = False
        held, self._held = self._held, []
        for calls, give in held:
            answer(calls, give)

    def hush(self) -> None:
        """Be silent again."""
        self._is_silent = True


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
    """Transactions of the hung participant: many within a second, and steadily more."""

    def __init__(self, session: Session, *, at_once: int, per_second: float) -> None:
        self._session = session
        self._at_once = at_once
        self._per_second = per_second
        self.in_flight = self.refused = 0
        self._nobody = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        began, begun = time.monotonic(), 0
        while True:
            passed = time.monotonic() - began
            due = self._at_once + int(passed * self._per_second)
            new = min(due - begun, BEGUN_PER_LOOK_MAX)
            for _ in range(new):
                self._one()
            begun += new
            await asyncio.sleep(LOOK_SECONDS)

    async def gone(self) -> None:
        """Return when all of them have ended."""
        await self._nobody.wait()

    def _one(self) -> None:
        self.in_flight += 1
        self._nobody.clear()
        answer = self._session.request(begin(HUNG))
        answer.add_done_callback(self._ended)

    def _ended(self, answer: "asyncio.Future[Response]") -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._nobody.set()
        if not answer.cancelled() and answer.exception() is None:
            self.refused += answer.result().HasField("error")


@dataclass(frozen=True)
class Sample:
    """What the participant that is well had in one window."""

    per_second: float
    cpu_percent: float
    cpu_us: float
    commits: float
    refused: int


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
    spent, commits = (after - before for before, after in zip(*looks, strict=True))
    return Sample(
        seen.per_second,
        100 * spent / seen.seconds,
        1e6 * seen.per_transaction(spent),
        seen.per_transaction(commits),
        seen.refused,
    )


def is_confirmed(answer: "asyncio.Future[Response]") -> bool:
    """It ended, and well."""
    if answer.cancelled() or answer.exception() is not None:
        return False
    return answer.result().transaction.status == types_pb2.CONFIRMED


@dataclass(frozen=True)
class Round:
    """A crowd beside the participant that is well."""

    at_once: Sample
    beside: Sample
    in_flight: int
    refused: int
    calls: int


async def measure(here: Cluster, options: argparse.Namespace) -> str:
    """Alone and beside the crowd, in turn."""
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
        look = partial(window, here, counters, well, options.seconds)
        alone, rounds = [await look()], []
        for number in range(options.rounds):
            rounds.append(await _round(look, silent, others, options))
            alone.append(await look())
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return _line(here.kind, alone, rounds)


async def _round(
    look: Callable[[], Awaitable[Sample]],
    silent: Silent,
    session: Session,
    options: argparse.Namespace,
) -> Round:
    silent.hush()
    crowd = Crowd(session, at_once=options.hung, per_second=options.per_second)
    running = asyncio.create_task(crowd.run())
    at_once = await look()
    beside = await look()
    running.cancel()
    seen = Round(at_once, beside, crowd.in_flight, crowd.refused, silent.calls)
    silent.speak()
    async with asyncio.timeout(RECOVERY_SECONDS_MAX):
        await crowd.gone()
    return seen


def _line(store: str, alone: list[Sample], rounds: list[Round]) -> str:
    def percent(part: str, name: str) -> float:
        around = [
            (getattr(before, name) + getattr(after, name)) / 2
            for before, after in pairwise(alone)
        ]
        beside = [getattr(getattr(seen, part), name) for seen in rounds]
        shares: list[float] = list(map(truediv, beside, around))
        return 100 * statistics.median(shares)

    return (
        f"HUNG store={store} hung_in_flight={max(r.in_flight for r in rounds)}"
        f" hung_refused={sum(r.refused for r in rounds)}"
        f" hung_calls={max(r.calls for r in rounds)}"
        f" alone_per_s={statistics.median(s.per_second for s in alone):.0f}"
        f" at_once_percent={percent('at_once', 'per_second'):.0f}"
        f" others_percent={percent('beside', 'per_second'):.0f}"
        f" others_refused={sum(r.at_once.refused + r.beside.refused for r in rounds)}"
        f" cpu_us_percent={percent('beside', 'cpu_us'):.0f}"
        f" commits_percent={percent('beside', 'commits'):.0f}"
        " node_cpu_percent="
        f"{statistics.median(r.beside.cpu_percent for r in rounds):.0f}"
    )


async def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hung")
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--hung", type=int, default=2_000, help="at once")
    parser.add_argument("--per-second", type=float, default=20, help="more of them")
    parser.add_argument("--rounds", type=int, default=8, help="with a crowd, each")
    parser.add_argument("--seconds", type=float, default=4, help="of a window")
    options = parser.parse_args()
    with cluster(options.store) as here:
        print(await measure(here, options))


if __name__ == "__main__":
    asyncio.run(main())
