"""One address of a participant: its connection, and the link while that stands.

gRPC connects, and again with a back-off when the connection was lost. Whenever it
stands, the participant is asked who it is and what it carries out; what it says goes
into the catalogue as if it had opened a session. Then it is attached. Nobody waits for
any of it: a participant that is not there is away, as one without a session is.

When the connection goes, the link takes no new calls. It is detached when what was open
on it has ended: at once if the connection broke, and in the participant's time if it
stops in peace and still answers what it has begun. So restarts lose no answers.
"""

import asyncio
from functools import partial
from typing import Any

import grpc
import grpc.aio

from coordinator import telemetry
from coordinator.api import checks
from coordinator.api.announcement import announce
from coordinator.api.catalogue import Catalogue
from coordinator.api.engine_port import Dispatcher
from coordinator.api.limits import Limits
from coordinator.api.push.channel import open_channel
from coordinator.api.push.link import PushLink
from coordinator.api.push.token import Signer
from coordinator.api.status_codes import error_of
from coordinator.config import PushTarget
from coordinator.core.errors import PreconditionFailed
from coordinator.core.model import Milliseconds
from coordinator.ports import Clock
from protos.v1.participant_pb2 import DescribeReply, DescribeRequest
from protos.v1.participant_pb2_grpc import ParticipantStub

log = telemetry.get_logger()

WRONG_PARTICIPANT = "WRONG_PARTICIPANT"
DESCRIBE_MS: Milliseconds = 5_000
"""Longer than a participant that works takes to say who it is."""

PAUSE_MS_FIRST: Milliseconds = 500
PAUSE_MS_MAX: Milliseconds = 30_000
"""Between two introductions that fail: a person has to change something, and is not to
wait long after it."""


class Connection:
    """Keeps one target attached, from ``start`` to ``leave``."""

    def __init__(
        self,
        target: PushTarget,
        dispatcher: Dispatcher,
        *,
        catalogue: Catalogue,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._target = target
        self._dispatcher = dispatcher
        self._catalogue = catalogue
        self._clock = clock
        self._limits = limits
        self._signer = Signer(target, clock)
        self._channel = open_channel(target, limits)
        self._stub: Any = ParticipantStub(self._channel)  # type: ignore[no-untyped-call]
        self._log = log.bind(participant=target.participant, address=target.address)
        self._link: PushLink | None = None
        self._former: PushLink | None = None
        self._seeing_off: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_told_away = False
        self._told_refusal = ""

    def start(self) -> None:
        """Connect, and keep connecting."""
        self._running = asyncio.ensure_future(self._run())

    async def leave(self, grace_seconds: float) -> None:
        """Send nothing any more, wait for answers as long as that, and part."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        links = [link for link in (self._link, self._former) if link is not None]
        for link in links:
            self._dispatcher.drain(link)
        waiting = [asyncio.ensure_future(link.settled()) for link in links]
        if waiting:
            await asyncio.wait(waiting, timeout=grace_seconds)
        for future in waiting:
            future.cancel()
        for link in links:
            self._part(link)
        if self._seeing_off is not None:
            self._seeing_off.cancel()
        await self._channel.close()

    async def _run(self) -> None:
        refusals = 0
        while True:
            await self._connected()
            try:
                await self._introduced()
            except Exception as problem:  # noqa: BLE001 - the introduction's edge
                refusals += 1
                self._tell(problem)
                await self._pause(refusals)
                continue
            refusals, self._told_refusal = 0, ""
            await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            self._retire()

    async def _connected(self) -> None:
        while True:
            state = self._channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                self._is_told_away = False
                return
            is_away = state is grpc.ChannelConnectivity.TRANSIENT_FAILURE
            if is_away and not self._is_told_away:
                self._is_told_away = True
                self._log.warning(telemetry.PUSH_TARGET_UNREACHABLE)
            await self._channel.wait_for_state_change(state)

    def _is_connected(self) -> bool:
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    async def _introduced(self) -> None:
        """Ask who is there, take in what it carries out, and attach it."""
        name = self._target.participant
        request = DescribeRequest(participant=name)
        reply: DescribeReply = await self._stub.Describe(
            request,
            timeout=DESCRIBE_MS / 1000,
            metadata=self._signer.to_describe(request, DESCRIBE_MS),
        )
        if reply.participant != name:
            raise PreconditionFailed(
                f"participant: another one than {name} answers there. Correct the "
                "address, or the name of its table.",
                field="participant",
                reason=WRONG_PARTICIPANT,
            )
        await announce(
            name,
            reply.operations,
            catalogue=self._catalogue,
            limits=self._limits,
            field="describe",
        )
        credits_ = self._target.in_flight
        if reply.call_credits:
            credits_ = min(credits_, reply.call_credits)
        link = self._link = PushLink(
            self._stub.Execute,
            signer=self._signer,
            dispatcher=self._dispatcher,
            limits=self._limits,
            is_connected=self._is_connected,
        )
        self._dispatcher.attach(name, link, credits=credits_)

    def _tell(self, problem: Exception) -> None:
        """Log why a participant is not attached although it is there, once."""
        if isinstance(problem, grpc.aio.AioRpcError):
            reason, details = f"GRPC_{problem.code().name}", problem.details() or ""
            text = checks.printable(details, chars_max=self._limits.text_chars_max)
        else:
            error = error_of(problem)
            reason, text = error.reason, error.message
        if (told := f"{reason} {text}") != self._told_refusal:
            self._told_refusal = told
            self._log.warning(telemetry.PUSH_TARGET_REFUSED, reason=reason, text=text)

    async def _pause(self, refusals: int) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pause_ms = min(PAUSE_MS_FIRST * 2 ** min(refusals, 10), PAUSE_MS_MAX)
        at = self._clock.now() + pause_ms
        timer = self._clock.call_at(at, partial(_set, over))
        try:
            await over
        finally:
            timer.cancel()

    # ---- Parting ---------------------------------------------------------------------

    def _retire(self) -> None:
        """The connection went: let what is open end, beside the next connection."""
        link, self._link = self._link, None
        if link is None:
            return
        self._dispatcher.drain(link)
        if self._former is not None:  # its calls would add up with every loss
            self._part(self._former)
        self._former = link
        self._seeing_off = asyncio.ensure_future(self._see_off(link))

    async def _see_off(self, link: PushLink) -> None:
        await link.settled()
        self._part(link)
        if self._former is link:
            self._former = None

    def _part(self, link: PushLink) -> None:
        self._dispatcher.detach(link)
        link.close()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
