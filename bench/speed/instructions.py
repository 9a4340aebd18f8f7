"""``python -m bench.speed.instructions``: what a transaction takes a node, counted.

Processor time on a machine that others use says little about a change of a tenth. The
instructions of Python that Tercet's own code runs for a transaction are the same on a
busy machine and on an idle one. So they are counted: a whole node in this process, from
the frames of a session to the rows of a commit, without a network or a database and
with a clock that stands still, while so many transactions at a time go from their
request to their end. It prints where they were run, and ends with

``COUNT OK workload=… instructions=N stored=S python=…``

or with COUNT FAILED and exit 1 when the number is more than a tenth above the one in
``bench/instructions.toml``. ``--renew`` stores the numbers of this run.

What C does (a database's driver, protobuf, JSON) is not seen; ``make bench`` sees it.
"""

import argparse
import asyncio
import platform
import sys
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bench.speed.participant import answer, hello
from bench.speed.workload import SAGA2, Saga, Tcc
from coordinator.api.catalogue import Catalogue
from coordinator.api.convert.requests import LATEST, RequestReader
from coordinator.api.definitions import PublishedSagas
from coordinator.api.gid import GidSource
from coordinator.api.handlers import Handlers
from coordinator.api.limits import Limits
from coordinator.api.peers import Peers
from coordinator.api.session import Session
from coordinator.core.actions import CallBranch
from coordinator.core.inputs import BranchReplied
from coordinator.core.model import Key
from coordinator.engine.dispatcher import Dispatcher
from coordinator.engine.engine import Engine
from coordinator.engine.limits import EngineLimits
from coordinator.ports import Change
from coordinator.storage import memory
from coordinator.storage.memory import MemoryStore
from coordinator.storage.sql.write import plan
from protos.v1.coordinator_pb2 import ClientFrame, Request, Response, ServerFrame
from protos.v1.participant_pb2 import BranchReply
from tests.engine.world import FakeClock

ROOT = Path(__file__).parents[2]
STORED = ROOT / "bench" / "instructions.toml"
TOLERANCE = 1.1
"""The count itself differs by less than a hundredth from run to run."""

WORKLOADS = {"saga2": SAGA2, "tcc2-declared": Tcc(2, declared=True)}
AT_ONCE = 64
WARM, COUNTED = 1, 2
"""Rounds of so many transactions: caches are filled in the first."""

FILES_SHOWN = 12

TURNS_MAX = 2_000
"""Turns of the loop in which a round ends; it takes about a hundred."""

HEAD = """
# Instructions of Python that Tercet's own code runs for a transaction, by version of
# Python: `python -m bench.speed.instructions --renew` writes it.
"""


class RowStore(MemoryStore):
    """Makes the rows of each commit, as a database's store does, and keeps none."""

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        """Make them; the node that wrote them does not read them again."""
        plan(changes)
        return []


class Stream:
    """Both ends of a session, in one process: initiator and participant."""

    def __init__(self) -> None:
        self._to_node: asyncio.Queue[bytes] = asyncio.Queue()
        self.responses: list[Response] = []

    async def frames(self) -> AsyncIterator[bytes]:
        """What the node reads."""
        while frame := await self._to_node.get():
            yield frame

    async def write(self, data: bytes) -> None:
        """What the node says; its calls are answered at once."""
        frame = ServerFrame.FromString(data)
        self.responses += frame.responses
        if frame.calls:
            answer(frame.calls, self._reply)

    def _reply(self, replies: list[BranchReply]) -> None:
        self.put(ClientFrame(replies=replies))

    def put(self, frame: ClientFrame) -> None:
        """Say something to the node."""
        self._to_node.put_nowait(frame.SerializeToString())


class Node:
    """Engine, dispatcher and one session, wired as a server wires them."""

    def __init__(self) -> None:
        store, clock, limits = RowStore(), FakeClock(), Limits()
        dispatcher = Dispatcher(
            clock,
            self._replied,
            self._returned,
            in_turn=self._in_turn,
            on_waiting=self._waits_long,
        )
        self._catalogue = Catalogue(store)
        self._sagas = PublishedSagas(store, self._catalogue.operations, clock)
        self._engine = Engine(
            store=store,
            participants=dispatcher,
            definitions=self._sagas,
            clock=clock,
            node_id="node-1",
            # Nobody else would ever come.
            limits=EngineLimits(commit_pace_ms=0),
        )
        gids = GidSource(clock.now)
        handlers = Handlers(
            engine=self._engine,
            queries=store,
            catalogue=self._catalogue,
            sagas=self._sagas,
            reader=RequestReader(limits=limits, clock=clock, gids=gids),
            limits=limits,
        )
        self.stream = Stream()
        self._session = Session(
            handlers=handlers,
            dispatcher=dispatcher,
            catalogue=self._catalogue,
            clock=clock,
            limits=limits,
            peers=Peers(node_id="node-1", version="0"),
            node_id="node-1",
            version="0",
        )
        self._gids = iter(range(1, 1_000_000))

    def _replied(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        self._engine.replied(replies)  # made after the dispatcher

    def _returned(self, participant: str) -> None:
        self._engine.participant_returned(participant)

    def _in_turn(self, call: CallBranch) -> CallBranch | None:
        return self._engine.in_turn(call)

    def _waits_long(self, calls: Sequence[CallBranch]) -> None:
        self._engine.waits_long(calls)

    async def start(self) -> "asyncio.Task[None]":
        """Serve the stream, and publish the sagas that its participant can run."""
        await self._catalogue.load()
        self.stream.put(ClientFrame(hello=hello()))
        serving = asyncio.create_task(
            self._session.run(self.stream.frames(), self.stream.write)
        )
        await self._turns(lambda: len(self._catalogue.operations) > 0)
        await self._sagas.publish("default", SAGA2.definition, "saga2.yaml")
        # By a thread, for which no turn of the loop waits.
        await self._sagas.resolve("default", SAGA2.name, LATEST)
        return serving

    async def round(self, shape: Saga | Tcc) -> None:
        """So many transactions, from the request to the end."""
        gids = [f"count-{next(self._gids)}" for _ in range(AT_ONCE)]
        requests = [
            Request(id=number, submit_saga=shape.submit(gid, refuse=False))
            if isinstance(shape, Saga)
            else Request(id=number, begin=shape.begin(gid, refuse=False))
            for number, gid in enumerate(gids, 1)
        ]
        self.stream.responses.clear()
        self.stream.put(ClientFrame(requests=requests))
        await self._turns(lambda: len(self.stream.responses) == AT_ONCE)
        for response in self.stream.responses:
            if response.HasField("error"):
                raise RuntimeError(f"a transaction failed: {response.error.message}")

    async def _turns(self, is_over: Callable[[], bool]) -> None:
        for _ in range(TURNS_MAX):
            if is_over():
                return
            await asyncio.sleep(0)
        raise RuntimeError("the node did not answer")


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Instructions run meanwhile, by file; what dataclasses wrote counts as theirs."""
    found: Counter[str] = Counter()
    names: dict[CodeType, str] = {}

    def called(frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if code not in names:
            names[code] = _counted_as(code.co_filename)
        if not names[code]:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return partial(_count, names[code])

    def _count(name: str, _frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode":
            found[name] += 1
        return None

    sys.settrace(called)
    try:
        yield found
    finally:
        sys.settrace(None)


def _counted_as(path: str) -> str:
    if path == "<string>":
        return "methods of dataclasses"
    ours = ROOT / "coordinator"
    if path == memory.__file__ or not path.startswith(f"{ours}/"):
        return ""
    return Path(path).relative_to(ROOT).as_posix()


async def count(shape: Saga | Tcc) -> Counter[str]:
    """Instructions of a transaction of this shape, by file."""
    node = Node()
    serving = await node.start()
    for _ in range(WARM):
        await node.round(shape)
    with counting() as found:
        for _ in range(COUNTED):
            await node.round(shape)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    return Counter({name: n // (COUNTED * AT_ONCE) for name, n in found.items()})


def stored(python: str) -> dict[str, int]:
    """By workload; empty for a version of Python that nobody has counted with."""
    numbers: dict[str, int] = tomllib.loads(STORED.read_text()).get(python, {})
    return numbers


def this_python() -> str:
    """Its version, as far as its instructions depend on it."""
    return ".".join(platform.python_version_tuple()[:2])


def main(arguments: list[str]) -> int:
    """Count, compare, and say so."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--renew", action="store_true", help="store what is counted")
    renew = parser.parse_args(arguments).renew
    python = this_python()
    counts = {name: asyncio.run(count(shape)) for name, shape in WORKLOADS.items()}
    if renew:
        lines = [f'["{python}"]', *(f"{n} = {c.total()}" for n, c in counts.items())]
        STORED.write_text(HEAD.lstrip() + "\n" + "\n".join(lines) + "\n")
    limits = stored(python)
    is_well = True
    for name, found in counts.items():
        for file, number in found.most_common(FILES_SHOWN):
            print(f"  {number:>6}  {file}")
        before = limits.get(name, 0)
        is_less = found.total() <= before * TOLERANCE
        is_well &= is_less
        print(
            f"COUNT {'OK' if is_less else 'FAILED'} workload={name}"
            f" instructions={found.total()} stored={before} python={python}"
        )
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
