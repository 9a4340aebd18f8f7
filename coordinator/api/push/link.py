"""Calls out, one RPC each, and their answers back in batches.

An RPC costs what it costs; nothing is added to it but an entry in a dictionary. gRPC
tells of each end by a callback. The first one starts a task that takes all ends which
have gathered by its turn, so that the dispatcher hears of them together, and what moves
by them shares a commit.

What becomes of an RPC:

* a reply is an outcome, as one on a stream would be;
* its time is up: the dispatcher has noticed before, by the call's own time;
* the connection broke: nothing is said here, and it is ``DISCONNECTED`` when the link
  is detached, which follows as soon as nothing is open any more;
* any other failure is an unknown outcome, with the status as its code. It is never a
  refusal: whoever fails an RPC may have done the work.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import grpc
import grpc.aio

from coordinator.api import checks
from coordinator.api.convert.answers import fill_call
from coordinator.api.convert.participants import BAD_REPLY, outcome_of
from coordinator.api.engine_port import Dispatcher
from coordinator.api.limits import Limits
from coordinator.api.push.token import Signer
from coordinator.core.actions import CallBranch
from coordinator.core.inputs import Outcome, Unknown
from coordinator.core.model import Milliseconds
from coordinator.engine.timers import TICK_MS
from protos.v1.participant_pb2 import BranchCall, BranchReply

LAPSE_MS: Milliseconds = 2 * TICK_MS
"""How much longer an RPC may take than its call: so the dispatcher, which lets
time-outs gather for a tick, has noticed each of them before the RPC ends."""

_OF_CONNECTIONS = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""How RPCs end whose connection does, unless somebody else says so on a sound one."""

Rpc: TypeAlias = "grpc.aio.UnaryUnaryCall[BranchCall, BranchReply]"
Execute: TypeAlias = Callable[..., Rpc]


class PushLink:
    """One connection to a participant's server (:class:`coordinator.ports.Link`).

    Args:
        execute: makes an RPC.
        is_connected: whether the connection still stands.
    """

    def __init__(
        self,
        execute: Execute,
        *,
        signer: Signer,
        dispatcher: Dispatcher,
        limits: Limits,
        is_connected: Callable[[], bool],
    ) -> None:
        self._execute = execute
        self._signer = signer
        self._dispatcher = dispatcher
        self._limits = limits
        self._is_connected = is_connected
        self._open: dict[Any, int] = {}
        self._ended: list[Any] = []
        self._collecting: asyncio.Task[None] | None = None
        self._is_closed = False
        self._has_settled = asyncio.Event()
        self._has_settled.set()

    def send(self, calls: Sequence[tuple[int, CallBranch]]) -> None:
        """Make an RPC of each call (:class:`coordinator.ports.Link`)."""
        self._has_settled.clear()
        for call_id, call in calls:
            request = BranchCall()
            fill_call(request, call_id, call)
            lifetime_ms = call.timeout_ms + LAPSE_MS
            rpc = self._execute(
                request,
                timeout=lifetime_ms / 1000,
                metadata=self._signer.to_execute(request, lifetime_ms),
            )
            self._open[rpc] = call_id
            rpc.add_done_callback(self._note_end)

    async def settled(self) -> None:
        """Return when no RPC is open any more; each ends at its time at the latest."""
        await self._has_settled.wait()

    def close(self) -> None:
        """End what is still open; it was detached before."""
        self._is_closed = True
        for rpc in self._open:
            rpc.cancel()
        self._open.clear()
        self._has_settled.set()
        if self._collecting is not None:
            self._collecting.cancel()

    def _note_end(self, rpc: object) -> None:
        if self._is_closed:
            return
        self._ended.append(rpc)
        if self._collecting is None:
            self._collecting = asyncio.ensure_future(self._collect())

    async def _collect(self) -> None:
        try:
            while self._ended:
                ended, self._ended = self._ended, []
                await self._hear(ended)
        finally:
            self._collecting = None
        if not self._open:
            self._has_settled.set()

    async def _hear(self, ended: Sequence[Any]) -> None:
        """Tell the dispatcher what became of RPCs that have ended."""
        outcomes: list[tuple[int, Outcome]] = []
        lapsed: list[int] = []
        for rpc in ended:
            call_id = self._open.pop(rpc)
            try:
                outcome = self._outcome_of(await rpc)
            except grpc.aio.AioRpcError as error:
                code = error.code()
                if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    lapsed.append(call_id)
                    continue
                if code in _OF_CONNECTIONS and not self._is_connected():
                    continue
                outcome = self._failed(error)
            outcomes.append((call_id, outcome))
        if lapsed:
            self._dispatcher.lapsed(self, lapsed)
        if outcomes:
            self._dispatcher.answered(self, outcomes)

    def _outcome_of(self, reply: object) -> Outcome:
        if not isinstance(reply, BranchReply):  # gRPC gives None for what is none
            return Unknown(BAD_REPLY, "the reply is no BranchReply")
        return outcome_of(reply, self._limits)

    def _failed(self, error: grpc.aio.AioRpcError) -> Unknown:
        limits = self._limits
        text = checks.printable(error.details() or "", chars_max=limits.text_chars_max)
        return Unknown(f"GRPC_{error.code().name}", text)
