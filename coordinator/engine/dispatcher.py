"""Calls participants: bounded, with deadlines, and every call gets an outcome.

Theory of operation
-------------------
A participant is reached over links (sessions that it opened, connections to its own
server). Calls wait in one queue
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

A call that timed out keeps its credit until it is answered, its link goes or says that
no answer can come any more: the participant may still be busy with it, and credit is
what protects it.

**Who may go out** is said by the participant's breaker (``core/breaker.py``):

* a *first call* goes into the queue, or fails at once when there is no link. While the
  breaker is PROBING it is a candidate for a probe, and else its time runs out as if
  the participant hung, which it probably does. So its policy is used up in its time,
  and never faster because of what may be a wrong guess;
* a *call made before* takes turns with the others of its participant. One that has no
  turn **waits**, without a time limit: it is not attempted, counted or stored. Only
  who has attempts to use up does not wait for a participant that is not there;
* whoever waited is looked up again when it has its turn (``InTurn``): its transaction
  may have moved on.

Turns are given when something happens to the participant, and every ``PACE_MS``; no
timer rings for a call that waits, but for the one that calls a person after
``STILL_WAITING_MS``.

A participant *returns* when it gets a link that takes calls and had none, when it
answers after it let calls time out and was silent for a while, or when its probes
succeed. The engine is told, so that whoever waits need not wait for its next attempt's
time (V8). One that is slow or overloaded answers between its time-outs, and never
returns.

A node that has just started is one that participants are about to attach to: until
then calls wait in the queue instead of using up their attempts. One that leaves asks
nothing any more and reports no failure: whoever owns the transactions next asks, as
after a crash, and no attempt is lost.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from coordinator import telemetry
from coordinator.core.actions import CallBranch
from coordinator.core.breaker import State
from coordinator.core.inputs import BranchReplied, Outcome, Succeeded, Unknown
from coordinator.core.model import (
    Instant,
    Key,
    Milliseconds,
    participant_of,
)
from coordinator.core.saga import OUTPUT_NEEDED
from coordinator.engine.lane import Attached, Lane
from coordinator.engine.timers import Timers
from coordinator.ports import Clock, InTurn, Link, OnReplies, OnReturned, OnWaiting

_log = structlog.get_logger(__name__)

QUEUE_MAX = 50_000
"""Calls that wait for one participant's credit; the rest is asked again later. Those
who wait for a participant that returns may be more: whoever finds no room, or no time
in the queue, has had its turn and keeps to its own back-off."""

WAITING_MAX = 200_000
"""Calls that wait for one participant's turns: twice what a node holds of transactions.
Beyond it their attempts are counted, as if the queue were full."""

PACE_MS: Milliseconds = 50
"""Between two looks at who waits: a ramp's first turns are ten milliseconds apart."""

STILL_WAITING_MS: Milliseconds = 120_000
"""After which a person should know: as long as the attempts take that call one when a
participant answers with failures."""

FIRST_ATTACH_MS: Milliseconds = 5_000
"""After a node's start: two heartbeats until its peers have told of it, and the longest
pause of a participant between two attempts to reach it."""


def _alone() -> int:
    return 1


class Dispatcher:
    """The ``Participants`` port over any number of links.

    Args:
        on_replies: receives every outcome; it must not call back at once.
        on_returned: is told of a participant that was away and is back; the same.
        in_turn: says what has become of a call that had to wait.
        on_waiting: is told of calls that have been waiting for long.
        waits_ms: for so long calls to who is not attached wait for it to attach.
        living: how many nodes there are, this one included; they share the probes.
    """

    def __init__(
        self,
        clock: Clock,
        on_replies: OnReplies,
        on_returned: OnReturned,
        *,
        in_turn: InTurn,
        on_waiting: OnWaiting,
        waits_ms: Milliseconds = 0,
        living: Callable[[], int] = _alone,
    ) -> None:
        self._clock = clock
        self._on_replies = on_replies
        self._on_returned = on_returned
        self._in_turn = in_turn
        self._on_waiting = on_waiting
        self._waits_until = clock.now() + waits_ms
        self._living = living
        self._is_leaving = False
        self._lanes: dict[str, Lane] = {}
        self._since: dict[str, Instant] = {}
        self._by_link: dict[Link, Attached] = {}
        # A call is in one of them, until it has its outcome.
        self._here: dict[int, CallBranch] = {}
        self._out: dict[int, Attached] = {}
        self._last_call_id = 0
        self._timers: Timers[int] = Timers(clock, self._expire)
        self._pace: Timers[str] = Timers(clock, self._look_again)

    # ---- Links --------------------------------------------------------------------

    def attach(self, participant: str, link: Link, *, credits: int) -> None:  # noqa: A002
        """Calls may go out on this link, at most ``credits`` unanswered at a time."""
        attached = Attached(participant, link, credits)
        lane = self._lane(participant)
        was_away = all(other.drains for other in lane.links)
        self._by_link[link] = attached
        lane.links.append(attached)
        self._since.setdefault(participant, self._clock.now())
        _log.info(telemetry.PARTICIPANT_ATTACHED, participant=participant)
        if was_away:
            lane.breaker.attached(self._clock.monotonic_ms())
            self._on_returned(participant)
        self._move(lane)

    def drain(self, link: Link) -> None:
        """No new calls on this link; what is out may still be answered."""
        if attached := self._by_link.get(link):
            attached.drains = True

    def detach(self, link: Link) -> None:
        """The link is gone; what was out on it has an unknown outcome."""
        attached = self._by_link.pop(link, None)
        if attached is None:
            return
        lane = self._lanes[attached.participant]
        lane.links.remove(attached)
        _log.info(telemetry.PARTICIPANT_DETACHED, participant=attached.participant)
        out = {i: call for i, call in attached.open.items() if call is not None}
        for call_id in out:
            del self._out[call_id]
        self._fail(out, Unknown("DISCONNECTED", "its session ended"))
        if not lane.links:
            lane.breaker.detached()
            del self._since[attached.participant]
            gone = [*lane.queue, *self._with_attempts_to_use_up(lane)]
            lane.queue.clear()
            self._fail(
                {call_id: self._here.pop(call_id) for call_id in gone},
                _unavailable(attached.participant),
            )

    def attached(self) -> Mapping[str, Instant]:
        """The participants that have a link now, and since when they have one."""
        return self._since

    def leave(self) -> None:
        """Ask nothing any more, and report no failure; answers still count."""
        self._is_leaving = True
        for lane in self._lanes.values():
            for call_id in (*lane.queue, *lane.waiting.values()):
                self._timers.discard(call_id)
                self._here.pop(call_id, None)
            lane.queue.clear()
            lane.waiting.clear()

    def close(self) -> None:
        """Stop all timers; nothing is answered any more."""
        self._timers.close()
        self._pace.close()

    # ---- Calls --------------------------------------------------------------------

    def send(self, calls: Sequence[CallBranch]) -> None:
        """Ask; see :class:`coordinator.ports.Participants`."""
        if self._is_leaving:
            return
        refused: list[tuple[CallBranch, Unknown]] = []
        lets_out: list[Callable[[], None]] = []
        for participant, its_calls in _by_participant(calls).items():
            lane = self._lane(participant)
            if attached := _at_once(lane, its_calls):
                ids = self._numbered(its_calls)
                out = partial(
                    self._hand_over, lane, attached, ids, its_calls, first=len(ids)
                )
                lets_out.append(out)
                continue
            its_refused = self._take_in_all(lane, its_calls)
            refused += its_refused
            if len(its_refused) < len(its_calls):
                lets_out.append(partial(self._move, lane))
        for let_out in lets_out:
            let_out()
        if refused:
            self._on_replies([_reply(call, why) for call, why in refused])

    def answered(self, link: Link, replies: Sequence[tuple[int, Outcome]]) -> None:
        """A participant's answers; those to nothing that is open are dropped."""
        attached = self._by_link.get(link)
        if attached is None:
            return
        lane, now = self._lanes[attached.participant], self._clock.monotonic_ms()
        awaited, out = attached.open, self._out
        is_back = False
        well = 0
        answered: list[int] = []
        outcomes: list[tuple[Key, BranchReplied]] = []
        for call_id, outcome in replies:
            if call_id not in awaited:
                continue
            call = awaited.pop(call_id)
            if call is None or type(outcome) is Unknown:  # faster than isinstance
                is_back |= self._heard_well(lane, well, now)
                is_back |= self._heard(lane, outcome, now, is_late=call is None)
                well = 0
            else:
                well += 1
            if call is not None:
                del out[call_id]
                answered.append(call_id)
                what = BranchReplied(call.branch_id, call.phase, call.attempt, outcome)
                outcomes.append((call.key, what))
        is_back |= self._heard_well(lane, well, now)
        self._timers.discard_all(answered)
        if is_back:
            self._on_returned(lane.participant)
        if outcomes:
            self._on_replies(outcomes)
        self._move(lane)

    def lapsed(self, link: Link, call_ids: Sequence[int]) -> None:
        """Their time is up, and no answer can come any more: their credit is free.

        It says nothing about the participant that the time-out did not say.
        """
        attached = self._by_link.get(link)
        if attached is None:
            return
        not_told = [i for i in call_ids if attached.open.get(i) is not None]
        self._timers.discard_all(not_told)
        self._expire(not_told)
        for call_id in call_ids:
            attached.open.pop(call_id, None)
        self._move(self._lanes[attached.participant])

    def _lane(self, participant: str) -> Lane:
        lane = self._lanes.get(participant)
        if lane is None:
            lane = self._lanes[participant] = Lane(participant)
        return lane

    def _take_in_all(
        self, lane: Lane, calls: Sequence[CallBranch]
    ) -> list[tuple[CallBranch, Unknown]]:
        """Let calls wait; which of them cannot, and why."""
        has_room = len(lane.queue) + len(calls) <= QUEUE_MAX
        if has_room and lane.links and _are_first(calls):
            self._enqueue(lane, calls)
            return []
        return [(call, why) for call in calls if (why := self._take_in(lane, call))]

    def _take_in(self, lane: Lane, call: CallBranch) -> Unknown | None:
        """Let a call wait for credit, or for its turn; or say why it cannot."""
        if self._has_to_wait(lane, call):
            place = (call.key, call.branch_id)
            if len(lane.waiting) < WAITING_MAX or place in lane.waiting:
                self._put_off(lane, call)
                return None
            return _overloaded()
        if not lane.links and self._clock.now() >= self._waits_until:
            return _unavailable(lane.participant)
        if len(lane.queue) >= QUEUE_MAX:
            return _overloaded()
        self._enqueue(lane, [call])
        return None

    def _has_to_wait(self, lane: Lane, call: CallBranch) -> bool:
        if call.attempt == 1:
            return False
        if lane.breaker.state is not State.CLOSED:
            return call.endless
        now = self._clock.monotonic_ms()
        return bool(lane.waiting) or not lane.breaker.take_turn(
            now, has_room=lane.has_room
        )

    def _enqueue(self, lane: Lane, calls: Sequence[CallBranch]) -> None:
        ids = self._numbered(calls)
        self._here.update(zip(ids, calls, strict=True))
        lane.queue.update(dict.fromkeys(ids))

    def _numbered(self, calls: Sequence[CallBranch]) -> Sequence[int]:
        """Ids for calls whose time begins to run."""
        first = self._last_call_id + 1
        self._last_call_id += len(calls)
        ids = range(first, first + len(calls))
        now = self._clock.now()
        waits = [call.timeout_ms for call in calls]
        if waits.count(waits[0]) == len(waits):  # as nearly always
            self._timers.set_all(ids, now + waits[0])
        else:
            for call_id, wait in zip(ids, waits, strict=True):
                self._timers.set(call_id, now + wait)
        return ids

    # ---- Waiting for a turn -------------------------------------------------------

    def _put_off(self, lane: Lane, call: CallBranch) -> None:
        place = (call.key, call.branch_id)
        call_id = lane.waiting.get(place)
        if call_id is None:
            self._last_call_id += 1
            call_id = lane.waiting[place] = self._last_call_id
            self._timers.set(call_id, self._clock.now() + STILL_WAITING_MS)
        self._here[call_id] = call

    def _next_waiting(self, lane: Lane) -> CallBranch | None:
        """Take out who waits the longest; ``None`` when it is not wanted any more."""
        _, call_id = lane.waiting.popitem(last=False)
        self._timers.discard(call_id)
        call = self._here.pop(call_id)
        return self._in_turn(call)

    def _with_attempts_to_use_up(self, lane: Lane) -> list[int]:
        """Take out those who are not to wait without a time limit."""
        found = [
            (place, call_id)
            for place, call_id in lane.waiting.items()
            if not self._here[call_id].endless
        ]
        for place, _ in found:
            del lane.waiting[place]
        return [call_id for _, call_id in found]

    def _give_turns(self, lane: Lane) -> None:
        now = self._clock.monotonic_ms()
        while (
            lane.waiting
            and len(lane.queue) < QUEUE_MAX
            and lane.breaker.take_turn(now, has_room=lane.has_room)
        ):
            if call := self._next_waiting(lane):
                self._enqueue(lane, [call])

    def _look_again(self, participants: list[str]) -> None:
        for participant in participants:
            lane = self._lanes[participant]
            lane.is_paced = False
            self._move(lane)

    # ---- Sending ------------------------------------------------------------------

    def _move(self, lane: Lane) -> None:
        """Let out what may go out now."""
        state = lane.breaker.state
        if state is State.CLOSED:
            self._give_turns(lane)
            self._pump(lane)
        elif state is State.PROBING:
            self._probe(lane)
        goes_on = lane.waiting or (lane.queue and state is State.PROBING)
        if goes_on and state is not State.OPEN and not lane.is_paced:
            lane.is_paced = True
            self._pace.set(lane.participant, self._clock.now() + PACE_MS)

    def _pump(self, lane: Lane) -> None:
        """Send what is queued as far as there is credit."""
        if not lane.queue:
            return
        for attached in lane.by_room():
            if call_ids := lane.take(attached.room):
                self._dequeue(lane, attached, call_ids)

    def _probe(self, lane: Lane) -> None:
        """Send who came first, or else who waits the longest, if a probe is due."""
        now = self._clock.monotonic_ms()
        for attached in lane.by_room():
            while (
                attached.room > 0
                and (lane.queue or lane.waiting)
                and lane.breaker.take_probe(now, nodes=self._living())
            ):
                if not lane.queue and (call := self._next_waiting(lane)):
                    self._enqueue(lane, [call])
                if lane.queue:
                    self._dequeue(lane, attached, lane.take(1))

    def _dequeue(self, lane: Lane, attached: Attached, ids: Sequence[int]) -> None:
        calls = list(map(self._here.pop, ids))
        self._hand_over(lane, attached, ids, calls, first=_count_first(calls))

    def _hand_over(
        self,
        lane: Lane,
        attached: Attached,
        ids: Sequence[int],
        calls: Sequence[CallBranch],
        *,
        first: int,
    ) -> None:
        """Send calls, so many of which are made for the first time."""
        batch = list(zip(ids, calls, strict=True))
        self._out.update(dict.fromkeys(ids, attached))
        attached.open.update(batch)
        lane.breaker.first_calls(first)
        attached.link.send(batch)

    # ---- Outcomes -----------------------------------------------------------------

    def _heard(
        self, lane: Lane, outcome: Outcome, now: Milliseconds, *, is_late: bool = False
    ) -> bool:
        """Let the breaker know; whether the participant is back."""
        works = not isinstance(outcome, Unknown) or outcome.code == OUTPUT_NEEDED
        was = lane.breaker.state
        is_back = lane.breaker.heard(now, works=works, is_late=is_late)
        if lane.breaker.state is not was:
            self._judged(lane)
        return is_back

    def _heard_well(self, lane: Lane, times: int, now: Milliseconds) -> bool:
        """The same of answers in time that say that it works."""
        if not times or lane.breaker.goes_on_well(now, times):
            return False
        is_back = False
        for _ in range(times):
            is_back |= self._heard(lane, Succeeded(), now)
        return is_back

    def _judged(self, lane: Lane) -> None:
        """The breaker has come to a conclusion about a participant with a link."""
        if lane.breaker.state is State.CLOSED:
            _log.info(telemetry.PARTICIPANT_WORKS_AGAIN, participant=lane.participant)
            return
        _log.warning(telemetry.PARTICIPANT_FAILING, participant=lane.participant)
        for call_id in self._with_attempts_to_use_up(lane):
            self._timers.discard(call_id)
            if wanted := self._in_turn(self._here.pop(call_id)):
                self._enqueue(lane, [wanted])

    def _expire(self, call_ids: list[int]) -> None:
        outcomes, overdue = [], []
        now = self._clock.monotonic_ms()
        for call_id in call_ids:
            attached = self._out.pop(call_id, None)
            call = (attached.open if attached else self._here).get(call_id)
            if call is None:
                continue  # another one's time-out has just given it its turn
            lane = self._lanes[participant_of(call.operation)]
            if attached is not None:
                attached.open[call_id] = None
            elif lane.waiting.get((call.key, call.branch_id)) == call_id:
                overdue.append(call)
                continue
            else:
                del self._here[call_id], lane.queue[call_id]
            was, since = lane.breaker.state, now - call.timeout_ms
            lane.breaker.missed(now, since=since, was_out=attached is not None)
            if lane.breaker.state is not was:
                self._judged(lane)
            outcomes.append(_reply(call, Unknown("TIMEOUT", "no answer in time")))
        if overdue:
            self._on_waiting(overdue)
        if outcomes:
            self._on_replies(outcomes)

    def _fail(self, calls: Mapping[int, CallBranch], why: Unknown) -> None:
        for call_id in calls:
            self._timers.discard(call_id)
        if calls and not self._is_leaving:
            self._on_replies([_reply(call, why) for call in calls.values()])


def _by_participant(calls: Sequence[CallBranch]) -> Mapping[str, list[CallBranch]]:
    """In their order; whose an operation is is looked at once for all of its calls."""
    by_operation: dict[str, list[CallBranch]] = {}
    by_participant: defaultdict[str, list[CallBranch]] = defaultdict(list)
    for call in calls:
        its_calls = by_operation.get(call.operation)
        if its_calls is None:
            its_calls = by_participant[participant_of(call.operation)]
            by_operation[call.operation] = its_calls
        its_calls.append(call)
    return by_participant


def _at_once(lane: Lane, calls: Sequence[CallBranch]) -> Attached | None:
    """The link on which, as nearly always, all would leave the queue together."""
    if lane.breaker.state is not State.CLOSED or lane.queue or lane.waiting:
        return None
    emptiest = next(lane.by_room(), None)
    if emptiest is None or emptiest.room < len(calls) or not _are_first(calls):
        return None
    return emptiest


def _count_first(calls: Sequence[CallBranch]) -> int:
    return [call.attempt for call in calls].count(1)


def _are_first(calls: Sequence[CallBranch]) -> bool:
    return _count_first(calls) == len(calls)


def _unavailable(participant: str) -> Unknown:
    return Unknown("PARTICIPANT_UNAVAILABLE", f"{participant} is not attached")


def _overloaded() -> Unknown:
    return Unknown("PARTICIPANT_OVERLOADED", "too many calls wait for it")


def _reply(call: CallBranch, outcome: Outcome) -> tuple[Key, BranchReplied]:
    return call.key, BranchReplied(call.branch_id, call.phase, call.attempt, outcome)
