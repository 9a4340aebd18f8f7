"""One run of a saga in memory, on virtual time, by the rules of production.

The real core decides; this keeps its facts as the engine and the store do: durable
before anything that depends on them leaves, lazy ones with the next commit. A crash
drops whatever is not stored, and the saga goes on from the fold of its facts.

Pure and deterministic: the same definition and scenario give the same run.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias
from zlib import crc32

from coordinator.core import machine
from coordinator.core.actions import CallBranch
from coordinator.core.definition import BranchKind, SagaDefinition
from coordinator.core.errors import CoordinatorError, Refusal
from coordinator.core.events import BranchSucceeded, Event, StepStarted
from coordinator.core.inputs import (
    BranchReplied,
    Cancel,
    Input,
    Outcome,
    Pending,
    Refused,
    Signal,
    Submit,
    Succeeded,
    Unknown,
    Woken,
)
from coordinator.core.model import (
    DEFAULT_NAMESPACE,
    GlobalTransaction,
    Instant,
    Key,
    Payload,
    TransactionRequest,
)
from coordinator.core.place import locate, place_of
from coordinator.core.words import (
    Mode,
    Phase,
    Status,
)
from coordinator.saga_kit.participants import REFUSAL, Answer, Participants
from coordinator.saga_kit.scenario import FaultKind, Moment, Point, Scenario

STARTED_AT = 1_700_000_000_000
"""The virtual clock's first instant, the same for every run."""

INPUTS_MAX = 4_000
"""Of one run: more than a saga of a thousand steps needs, and an end for one that
never ends."""

UNANSWERED_MAX = 12
"""Calls that nobody answers where the coordinator asks without end: enough for it to
call a person."""

REFUSED_MAX = 2
"""Refusals of a confirm, cancel or compensation before it succeeds."""

SIGNAL_AFTER_MS = 1_000
PENDING_FOR_MS = 7_000
LATE_BY_MS = 3_600_000
DOWN_AFTER_DEADLINE_MS = 1_000
_POLLS_WHILE_LATE = 50


class End(StrEnum):
    """How a run ended."""

    COMPLETED = "COMPLETED"
    COMPENSATED = "COMPENSATED"
    ATTENTION = "ATTENTION"
    """It waits, and a person was called."""
    AWAITING = "AWAITING"
    """It waits for a signal that never comes."""
    STUCK = "STUCK"
    """It does not go on, and nobody was called."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A call left the coordinator."""

    at: Instant
    call: CallBranch


@dataclass(frozen=True, slots=True)
class Stored:
    """A fact became durable."""

    at: Instant
    fact: Event


@dataclass(frozen=True, slots=True)
class Crashed:
    """The coordinator lost its memory."""

    at: Instant


Entry: TypeAlias = Sent | Stored | Crashed


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened in one run.

    Attributes:
        calls: how many calls left the coordinator.
        duration_ms: on the virtual clock, from its start to its end.
        trace: calls and facts in the order in which they left and became durable.
        points: where something might have gone wrong, in order.
        broken: what the core itself or a participant found wrong.
        wishes_refused: reasons for which the coordinator refused a wish.
    """

    scenario: Scenario
    end: End
    reason_code: str
    reason_text: str
    calls: int
    duration_ms: int
    trace: tuple[Entry, ...]
    points: tuple[Point, ...]
    broken: tuple[str, ...]
    wishes_refused: tuple[str, ...]
    tx: GlobalTransaction
    participants: Participants


def rehearse(
    definition: SagaDefinition,
    saga_input: Payload,
    answer: Answer,
    scenario: Scenario = Scenario(),  # noqa: B008 - frozen
) -> Rehearsal:
    """Run a saga to its end; what goes wrong is the scenario's."""
    return _Run(definition, saga_input, answer, scenario).to_its_end()


@dataclass(frozen=True, slots=True, order=True)
class _Coming:
    """Something that will happen to the coordinator.

    Attributes:
        is_lost: on its way over a connection of the coordinator; a crash loses it.
    """

    at: Instant
    number: int
    what: Input = field(compare=False)
    is_lost: bool = field(compare=False)


class _Run:
    def __init__(
        self,
        definition: SagaDefinition,
        saga_input: Payload,
        answer: Answer,
        scenario: Scenario,
    ) -> None:
        self._scenario = scenario
        self._answer = answer
        self._now = STARTED_AT
        self._deadline_at = STARTED_AT + definition.timeout_ms
        self._participants = Participants(answer)
        self._facts: list[Event] = []
        self._unsaved: list[Event] = []
        self._in_flight: set[tuple[str, Phase]] = set()
        self._coming: list[_Coming] = []
        self._number = 0
        self._trace: list[Entry] = []
        self._points: dict[Point, None] = {}
        self._met: set[Point] = set()
        self._broken: list[str] = []
        self._wishes_refused: list[str] = []
        self._calls = 0
        self._done_at: dict[tuple[str, Phase], Instant] = {}
        request = TransactionRequest(
            key=Key(DEFAULT_NAMESPACE, "rehearsal"),
            mode=Mode.SAGA,
            name=definition.name,
            digest="rehearsal",
            created_at=self._now,
            deadline_at=self._deadline_at,
            input=saga_input,
            definition_digest=definition.digest,
            definition_version=definition.version,
        )
        self._tx, events = machine.step(None, Submit(request, definition), self._now)
        self._store(events)
        for name in _early(definition, scenario):
            self._come(0, Signal(name, answer_to_signal(answer, name)))

    def to_its_end(self) -> Rehearsal:
        inputs = 0
        while not self._broken and inputs < INPUTS_MAX:
            inputs += 1
            self._send_what_is_due()
            if not self._go_on():
                break
        self._look_back()
        reason = self._tx.reason_code, self._tx.reason_text
        return Rehearsal(
            scenario=self._scenario,
            end=self._end(),
            reason_code=reason[0],
            reason_text=reason[1],
            calls=self._calls,
            duration_ms=(self._tx.finished_at or self._now) - STARTED_AT,
            trace=tuple(self._trace),
            points=tuple(self._points),
            broken=tuple(self._broken),
            wishes_refused=tuple(self._wishes_refused),
            tx=self._tx,
            participants=self._participants,
        )

    def _end(self) -> End:
        match self._tx.status:
            case Status.COMPLETED:
                return End.COMPLETED
            case Status.COMPENSATED:
                return End.COMPENSATED
        if self._tx.attention_since is not None:
            return End.ATTENTION
        kinds = {fault.kind for fault in self._scenario.faults}
        return End.AWAITING if FaultKind.NEVER in kinds else End.STUCK

    def _look_back(self) -> None:
        """The state is the fold of its facts (T11), and participants have no fault."""
        whole = machine.fold((*self._facts, *self._unsaved))
        if not self._broken and whole != self._tx:
            self._broken.append("T11: the state is not the fold of its facts")
        for branch_id, record in self._participants.records.items():
            self._broken.extend(f"{fault} ({branch_id})" for fault in record.faults)

    # ---- Time ---------------------------------------------------------------------

    def _go_on(self) -> bool:
        """Let the next thing happen; whether there was one."""
        busy = {branch_id for branch_id, _ in self._in_flight}
        due_at = machine.due_at(self._tx, busy)
        coming = self._coming[0] if self._coming else None
        if coming is not None and (due_at is None or coming.at <= due_at):
            heapq.heappop(self._coming)
            self._now = max(self._now, coming.at)
            if isinstance(coming.what, BranchReplied) and coming.is_lost:
                self._in_flight.discard((coming.what.branch_id, coming.what.phase))
            self._decide(coming.what)
        elif due_at is not None:
            self._now = max(self._now, due_at)
            self._decide(Woken())
        return coming is not None or due_at is not None

    def _come(self, after_ms: int, what: Input, *, is_lost: bool = False) -> None:
        self._number += 1
        coming = _Coming(self._now + after_ms, self._number, what, is_lost)
        heapq.heappush(self._coming, coming)

    # ---- Facts --------------------------------------------------------------------

    def _decide(self, what: Input) -> None:
        was_final = self._tx.status.is_final
        try:
            after, events = machine.step(self._tx, what, self._now)
        except Refusal as refusal:
            self._wishes_refused.append(refusal.detail_reason)
            return
        except CoordinatorError as error:
            self._broken.append(f"the core stopped: {error}")
            return
        if was_final and events:
            self._broken.append("T8: something changed after the end")
        crash = self._crash_at(what, events)
        if crash is FaultKind.CRASH_BEFORE:
            self._crash()
            if isinstance(what, Signal):  # nobody said "received", so it comes again
                self._come(SIGNAL_AFTER_MS, what)
            return
        self._tx = after
        self._store(events)
        if crash is FaultKind.CRASH_AFTER:
            self._crash()

    def _store(self, events: tuple[Event, ...]) -> None:
        if events and machine.is_lazy(events):
            self._unsaved.extend(events)
            return
        for event in (*self._unsaved, *events):
            self._facts.append(event)
            self._trace.append(Stored(self._now, event))
        self._unsaved.clear()
        for event in events:
            if isinstance(event, StepStarted):
                self._await(event)

    def _await(self, event: StepStarted) -> None:
        """What happens to a step that no participant is asked about."""
        branch_id = event.spec.branch_id
        match event.spec.kind:
            case BranchKind.AWAIT:
                point = Point(branch_id, Moment.SIGNAL)
            case BranchKind.WAIT:
                point = Point(branch_id, Moment.TIMER)
            case _:
                return
        kind = self._met_at(point)
        if point.moment is Moment.SIGNAL and kind is not FaultKind.NEVER:
            name = place_of(self._tx, branch_id).step.signal
            signal = Signal(name, answer_to_signal(self._answer, name))
            self._come(SIGNAL_AFTER_MS, signal)
        self._disturb(kind)

    def _crash_at(self, what: Input, events: Iterable[Event]) -> FaultKind | None:
        """Whether the coordinator crashes over this input: once at each point."""
        points = []
        if isinstance(what, BranchReplied):
            points = [Point(what.branch_id, Moment(what.phase.lower()))]
        else:
            points = [
                Point(event.branch_id, moment)
                for event in events
                if isinstance(event, BranchSucceeded)
                for moment in (Moment.SIGNAL, Moment.TIMER)
            ]
        for point in points:
            kind = self._scenario.kind_at(point)
            if point not in self._met and kind in (
                FaultKind.CRASH_BEFORE,
                FaultKind.CRASH_AFTER,
            ):
                self._met.add(point)
                return kind
        return None

    def _crash(self) -> None:
        self._trace.append(Crashed(self._now))
        self._unsaved.clear()
        self._in_flight.clear()
        self._coming = [coming for coming in self._coming if not coming.is_lost]
        heapq.heapify(self._coming)
        self._tx = machine.fold(tuple(self._facts))

    def _disturb(self, kind: FaultKind | None) -> None:
        if kind is FaultKind.CANCEL:
            self._come(1, Cancel())
        elif kind is FaultKind.DOWN:
            self._crash()
            self._now = max(self._now, self._deadline_at + DOWN_AFTER_DEADLINE_MS)

    # ---- Calls --------------------------------------------------------------------

    def _send_what_is_due(self) -> None:
        for call in machine.due(self._tx, self._now):
            if (call.branch_id, call.phase) not in self._in_flight:
                self._in_flight.add((call.branch_id, call.phase))
                self._calls += 1
                self._trace.append(Sent(self._now, call))
                point = Point(call.branch_id, Moment(call.phase.lower()))
                kind = self._met_at(point)
                self._call(call, self._scenario.kind_at(point))
                if kind in (FaultKind.CANCEL, FaultKind.DOWN):
                    self._disturb(kind)
                    return  # what was due is looked at again

    def _met_at(self, point: Point) -> FaultKind | None:
        """What goes wrong here, the first time."""
        if point in self._points:
            return None
        self._points[point] = None
        return self._scenario.kind_at(point)

    def _call(self, call: CallBranch, kind: FaultKind | None) -> None:
        is_forward = call.phase in (Phase.TRY, Phase.ACTION)
        outcome, after_ms = self._outcome(call, kind, is_forward=is_forward)
        reply = BranchReplied(call.branch_id, call.phase, call.attempt, outcome)
        self._come(after_ms, reply, is_lost=True)

    def _outcome(
        self, call: CallBranch, kind: FaultKind | None, *, is_forward: bool
    ) -> tuple[Outcome, int]:
        """What a call comes to, and after which time."""
        latency_ms = min(5 + crc32(call.branch_id.encode()) % 20, call.timeout_ms)
        attempt_max = self._tx.branches[call.branch_id].spec.attempt_max
        match kind:
            case FaultKind.REFUSED if is_forward:
                return self._participants.refuse(call), latency_ms
            case FaultKind.REFUSED if call.attempt <= REFUSED_MAX:
                return Refused(REFUSAL, "not now, for this test"), latency_ms
            case FaultKind.REQUEST_LOST | FaultKind.REPLY_LOST if call.attempt <= max(
                UNANSWERED_MAX, attempt_max
            ):
                if kind is FaultKind.REPLY_LOST:
                    self._participants.carry_out(call)
                return Unknown("TIMEOUT", "no answer in time"), call.timeout_ms
            case FaultKind.PENDING:
                return self._pending(call, self._now + PENDING_FOR_MS), latency_ms
            case FaultKind.LATE:
                done_at = max(self._now, self._deadline_at) + LATE_BY_MS
                return self._pending(call, done_at), latency_ms
        return self._participants.carry_out(call), latency_ms

    def _pending(self, call: CallBranch, done_at: Instant) -> Outcome:
        """It is under way, and is reported when it is done."""
        outcome = self._participants.carry_out(call)
        if not isinstance(outcome, Succeeded):
            return outcome
        key = call.branch_id, call.phase
        if key not in self._done_at:
            self._done_at[key] = done_at
            done = BranchReplied(call.branch_id, call.phase, 0, outcome)
            self._come(done_at - self._now, done)
        left_ms = self._done_at[key] - self._now
        if left_ms <= 0:
            return outcome
        return Pending(max(10_000, left_ms // _POLLS_WHILE_LATE))


def _early(definition: SagaDefinition, scenario: Scenario) -> Iterator[str]:
    """The signals that come before anything waits for them."""
    for fault in scenario.faults:
        place = locate(definition, fault.point.branch_id)
        if fault.kind is FaultKind.EARLY and place is not None:
            yield place.step.signal


def answer_to_signal(answer: Answer, name: str) -> Payload:
    """The payload that a signal comes with: asked for like a call's output."""
    return answer(
        CallBranch(
            key=Key(DEFAULT_NAMESPACE, "rehearsal"),
            branch_id=name,
            operation="",
            phase=Phase.ACTION,
            attempt=1,
            input=Payload(),
            output=Payload(),
            timeout_ms=0,
        )
    )
