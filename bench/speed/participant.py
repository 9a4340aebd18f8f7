"""The participant: ``python -m bench.speed.participant KIND FOLDER TARGETS``.

Four kinds answer the same calls. ``null`` answers a frame of calls at once, over the
SDK's session alone: what is measured is the coordinator. ``push`` answers each call at
once, over the SDK's server alone; TARGETS is the address at which it is called. ``sdk``
runs handlers that do nothing, without a database. ``barrier`` runs them behind the
SDK's barrier, in transactions of an SQLite database in FOLDER.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import uvloop
from sqlalchemy import create_engine

from bench.speed.workload import HOLD, PARTICIPANT, POST, REFUSE
from participant_sdk import Context, Participant, Refused, create_barrier_table
from participant_sdk.push import Listener
from participant_sdk.push.server import PushServer
from participant_sdk.session import SDK_VERSION, Session
from protos.v1 import participant_pb2, types_pb2
from protos.v1.coordinator_pb2 import Hello
from protos.v1.participant_pb2 import (
    BranchCall,
    BranchReply,
    DescribeReply,
    Succeeded,
)

NULL, PUSH = "null", "push"
KINDS = (NULL, PUSH, "sdk", "barrier")
CALL_CREDITS = 8_192
"""More than any load here has open, so that nothing waits for credit."""

_FORWARD = frozenset({types_pb2.PHASE_TRY, types_pb2.PHASE_ACTION})
_YES = Succeeded()
_NO = participant_pb2.Refused(code="TOO_MUCH", message="it was asked to refuse")


def answer(
    calls: Iterable[BranchCall], give: Callable[[list[BranchReply]], None]
) -> None:
    """Say yes to all of them, but to what is to be refused."""
    give(
        [
            BranchReply(call_id=call.call_id, refused=_NO)
            if call.phase in _FORWARD and call.input.data == REFUSE.data
            else BranchReply(call_id=call.call_id, succeeded=_YES)
            for call in calls
        ]
    )


async def serve_null(targets: Sequence[str]) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sessions = [
        Session(target, hello, on_calls=answer, roams=False) for target in targets
    ]
    for session in sessions:
        session.start()
    await stop.wait()
    for session in sessions:
        await session.close()


async def serve_push(address: str) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = PushServer(Listener(address), description, on_calls=answer)
    await server.start()
    await stop.wait()
    await server.stop(0)


def hello() -> Hello:
    """How it introduces itself to whom it attaches to."""
    return Hello(
        client=PARTICIPANT,
        participant=PARTICIPANT,
        operations=_operations(),
        call_credits=CALL_CREDITS,
        sdk_version=SDK_VERSION,
    )


def description() -> DescribeReply:
    """The same, to whom it is called by."""
    return DescribeReply(
        participant=PARTICIPANT,
        operations=_operations(),
        call_credits=CALL_CREDITS,
        sdk_version=SDK_VERSION,
    )


def _operations() -> list[types_pb2.Operation]:
    return [
        types_pb2.Operation(
            name=POST,
            kind=types_pb2.OPERATION_ACTION,
            participant=PARTICIPANT,
            compensable=True,
        ),
        types_pb2.Operation(
            name=HOLD, kind=types_pb2.OPERATION_TCC, participant=PARTICIPANT
        ),
    ]


def serve_sdk(targets: Sequence[str]) -> None:
    """Handlers without a database; the event loop runs them."""
    participant = Participant(PARTICIPANT)

    @participant.tcc("hold")
    async def hold(_ctx: Context, request: dict[str, int]) -> None:
        check(request)

    @hold.confirm
    async def _(_ctx: Context, _request: dict[str, int], _output: None) -> None:
        pass

    @hold.cancel
    async def _(_ctx: Context, _request: dict[str, int], _output: None) -> None:
        pass

    @participant.action("post")
    async def post(_ctx: Context, request: dict[str, int]) -> None:
        check(request)

    @post.compensate
    async def _(_ctx: Context, _request: dict[str, int], _output: None) -> None:
        pass

    participant.run(targets)


def serve_barrier(targets: Sequence[str], folder: Path) -> None:
    """Handlers behind the barrier; the SDK commits many calls together."""
    engine = create_engine(f"sqlite:///{folder / f'participant-{targets[0]}.sqlite'}")
    create_barrier_table(engine)
    participant = Participant(PARTICIPANT, database=engine)

    @participant.tcc("hold")
    def hold(_ctx: Context, request: dict[str, int]) -> None:
        check(request)

    @hold.confirm
    def _(_ctx: Context, _request: dict[str, int], _output: None) -> None:
        pass

    @hold.cancel
    def _(_ctx: Context, _request: dict[str, int], _output: None) -> None:
        pass

    @participant.action("post")
    def post(_ctx: Context, request: dict[str, int]) -> None:
        check(request)

    @post.compensate
    def _(_ctx: Context, _request: dict[str, int], _output: None) -> None:
        pass

    participant.run(targets)


def check(request: dict[str, int]) -> None:
    """Business says no to a negative amount."""
    if request["amount"] < 0:
        raise Refused("TOO_MUCH", "it was asked to refuse")


def main() -> None:
    """Serve until SIGTERM."""
    kind, folder, names = sys.argv[1:]
    targets = names.split(",")
    if kind in (NULL, PUSH):
        serving = serve_null(targets) if kind == NULL else serve_push(names)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serving)
    elif kind == "sdk":
        serve_sdk(targets)
    else:
        serve_barrier(targets, Path(folder))


if __name__ == "__main__":
    main()
