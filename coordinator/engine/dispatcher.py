"""Calls participants: bounded, with deadlines, and every call gets an outcome.

Theory of operation
-------------------
A participant is reached over links (sessions that it opened). Calls wait in one queue
a participant and go out as far as its links have credit, a whole batch a link at a
time. A participant that hangs fills its own credits and its own queue, and nobody
else's (V2).

Each call is answered exactly once towards the engine:

* by the participant;
* ``TIMEOUT`` when its time is up, in the queue or outside; a later answer to it is
  dropped, because the engine asks again and the barrier repeats the answer;
* ``DISCONNECTED`` when its link is detached before it answered;
* ``PARTICIPANT_UNAVAILABLE`` when there is no link;
* ``PARTICIPANT_OVERLOADED`` when its queue is full.

A call that timed out keeps its credit until it is answered or its link goes: the
participant may still be busy with it, and credit is what protects it.

A participant *returns* when it gets a link that takes calls and had none, or when it
answers after it let calls time out and said nothing for ``SILENT_MS``. The engine is
told, so that whoever waits need not wait for its next attempt's time (V8). One that is
slow or overloaded answers between its time-outs, and never returns.

A node that has just started is one that participants are about to attach to: until
then calls wait in the queue instead of using up their attempts. One that leaves asks
nothing any more and reports no failure: whoever owns the transactions next asks, as
after a crash, and no attempt is lost.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from coordinator import telemetry
from coordinator.core.actions import CallBranch
from coordinator.core.inputs import BranchReplied, Outcome, Unknown
from coordinator.core.model import Instant, Key, Milliseconds, participant_of
from coordinator.engine.timers import Timers
from coordinator.ports import Clock, Link, OnReplies, OnReturned

_log = structlog.get_logger(__name__)

QUEUE_MAX = 50_000
"""Calls that wait for one participant's credit; the rest is asked again later. Those
who wait for a participant that returns may be more: whoever finds no room, or no time
in the queue, has had its turn and keeps to its own back-off."""

SILENT_MS: Milliseconds = 5_000
"""Without an answer although calls timed out: longer than a call's time, so that one
slow answer is no silence."""


FIRST_ATTACH_MS: Milliseconds = 5_000
"""After a node's start: two heartbeats until its peers have told of it, and the longest
pause of a participant between two attempts to reach it."""


@dataclass(slots=True)
class _Attached:
    """A link, and what is out on it: call id to its call, ``None`` once timed out."""

    participant: str
    link: Link
    credits: int
    open: dict[int, CallBranch | None] = field(default_factory=dict)
    drains: bool = False

    @property
    def room(self) -> int:
        return 0 if self.drains else self.credits - len(self.open)


class Dispatcher:
    """The ``Participants`` port over any number of links.

    Args:
        on_replies: receives every outcome; it must not call back at once.
        on_returned: is told of a participant that was away and is back; the same.
        waits_ms: for so long calls to who is not attached wait for it to attach.
    """

    def __init__(
        self,
        clock: Clock,
        on_replies: OnReplies,
        on_returned: OnReturned,
        *,
        waits_ms: Milliseconds = 0,
    ) -> None:
        self._clock = clock
        self._on_replies = on_replies
        self._on_returned = on_returned
        self._waits_until = clock.now() + waits_ms
        self._is_leaving = False
        self._silent_since: dict[str, Milliseconds] = {}
        self._links: dict[str, list[_Attached]] = {}
        self._since: dict[str, Instant] = {}
        self._by_link: dict[Link, _Attached] = {}
        self._queues: dict[str, deque[int]] = {}
        self._calls: dict[int, tuple[CallBranch, _Attached | None]] = {}
        self._last_call_id = 0
        self._timers: Timers[int] = Timers(clock, self._expire)

    # ---- Links --------------------------------------------------------------------

    def attach(self, participant: str, link: Link, *, credits: int) -> None:  # noqa: A002
        """Calls may go out on this link, at most ``credits`` unanswered at a time."""
        attached = _Attached(participant, link, credits)
        links = self._links.setdefault(participant, [])
        was_away = all(other.drains for other in links)
        self._by_link[link] = attached
        links.append(attached)
        self._since.setdefault(participant, self._clock.now())
        _log.info(telemetry.PARTICIPANT_ATTACHED, participant=participant)
        self._pump(participant)
        if was_away:
            self._on_returned(participant)

    def drain(self, link: Link) -> None:
        """No new calls on this link; what is out may still be answered."""
        if attached := self._by_link.get(link):
            attached.drains = True

    def detach(self, link: Link) -> None:
        """The link is gone; what was out on it has an unknown outcome."""
        attached = self._by_link.pop(link, None)
        if attached is None:
            return
        links = self._links[attached.participant]
        links.remove(attached)
        _log.info(telemetry.PARTICIPANT_DETACHED, participant=attached.participant)
        self._fail(attached.open, Unknown("DISCONNECTED", "its session ended"))
        if not links:
            del self._links[attached.participant]
            self._silent_since.pop(attached.participant, None)
            del self._since[attached.participant]
            waiting = self._queues.pop(attached.participant, deque())
            self._fail(waiting, _unavailable(attached.participant))

    def attached(self) -> Mapping[str, Instant]:
        """The participants that have a link now, and since when they have one."""
        return self._since

    def leave(self) -> None:
        """Ask nothing any more, and report no failure; answers still count."""
        self._is_leaving = True
        for queue in self._queues.values():
            for call_id in queue:
                self._timers.discard(call_id)
                self._calls.pop(call_id, None)
            queue.clear()

    def close(self) -> None:
        """Stop all timers; nothing is answered any more."""
        self._timers.close()

    # ---- Calls --------------------------------------------------------------------

    def send(self, calls: Sequence[CallBranch]) -> None:
        """Ask; see :class:`coordinator.ports.Participants`."""
        if self._is_leaving:
            return
        touched: dict[str, None] = {}
        refused: list[tuple[CallBranch, Unknown]] = []
        now = self._clock.now()
        for call in calls:
            participant = participant_of(call.operation)
            if participant not in self._links and now >= self._waits_until:
                refused.append((call, _unavailable(participant)))
                continue
            queue = self._queues.setdefault(participant, deque())
            if len(queue) >= QUEUE_MAX:
                full = Unknown("PARTICIPANT_OVERLOADED", "too many calls wait for it")
                refused.append((call, full))
                continue
            self._last_call_id += 1
            self._calls[self._last_call_id] = (call, None)
            self._timers.set(self._last_call_id, now + call.timeout_ms)
            queue.append(self._last_call_id)
            touched[participant] = None
        for participant in touched:
            self._pump(participant)
        if refused:
            self._on_replies([_reply(call, why) for call, why in refused])

    def answered(self, link: Link, replies: Sequence[tuple[int, Outcome]]) -> None:
        """A participant's answers; those to nothing that is open are dropped."""
        attached = self._by_link.get(link)
        if attached is None:
            return
        since = self._silent_since.pop(attached.participant, None)
        if since is not None and self._clock.monotonic_ms() - since >= SILENT_MS:
            self._on_returned(attached.participant)
        outcomes = []
        for call_id, outcome in replies:
            call = attached.open.pop(call_id, None)
            if call is not None:
                del self._calls[call_id]
                self._timers.discard(call_id)
                outcomes.append(_reply(call, outcome))
        self._pump(attached.participant)
        if outcomes:
            self._on_replies(outcomes)

    def _pump(self, participant: str) -> None:
        """Send what waits as far as there is credit, emptiest link first."""
        queue = self._queues.get(participant)
        for attached in sorted(
            self._links.get(participant, ()), key=_room, reverse=True
        ):
            batch: list[tuple[int, CallBranch]] = []
            while queue and len(batch) < attached.room:
                call_id = queue.popleft()
                waiting = self._calls.get(call_id)
                if waiting is not None:  # its time may be up already
                    batch.append((call_id, waiting[0]))
            if batch:
                for call_id, call in batch:
                    attached.open[call_id] = call
                    self._calls[call_id] = (call, attached)
                attached.link.send(batch)

    def _expire(self, call_ids: list[int]) -> None:
        outcomes = []
        for call_id in call_ids:
            call, attached = self._calls.pop(call_id)
            if attached is not None:
                attached.open[call_id] = None
                now = self._clock.monotonic_ms()
                self._silent_since.setdefault(attached.participant, now)
            outcomes.append(_reply(call, Unknown("TIMEOUT", "no answer in time")))
        self._on_replies(outcomes)

    def _fail(self, call_ids: Iterable[int], why: Unknown) -> None:
        outcomes = []
        for call_id in call_ids:
            known = self._calls.pop(call_id, None)
            if known is not None:
                self._timers.discard(call_id)
                outcomes.append(_reply(known[0], why))
        if outcomes and not self._is_leaving:
            self._on_replies(outcomes)


def _room(attached: _Attached) -> int:
    return attached.room


def _unavailable(participant: str) -> Unknown:
    return Unknown("PARTICIPANT_UNAVAILABLE", f"{participant} is not attached")


def _reply(call: CallBranch, outcome: Outcome) -> tuple[Key, BranchReplied]:
    return call.key, BranchReplied(call.branch_id, call.phase, call.attempt, outcome)
