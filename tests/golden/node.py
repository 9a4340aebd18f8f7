"""One process of the coordinator, on scripted time, that tells what it does.

Real are the engine, the committer, the dispatcher, the sweeper and the store in
memory; scripted are the clock, the participants' connections and the initiator.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.core.actions import CallBranch
from coordinator.core.errors import StoreUnavailable
from coordinator.core.events import is_journaled
from coordinator.core.inputs import BranchReplied, Input, Outcome
from coordinator.core.model import (
    Instant,
    Key,
    Milliseconds,
)
from coordinator.engine.dispatcher import Dispatcher
from coordinator.engine.engine import Engine
from coordinator.engine.leases import Leases
from coordinator.engine.limits import EngineLimits
from coordinator.engine.resident import Answer
from coordinator.engine.sweeper import Sweeper
from coordinator.ports import AuditEntry, Change, SweepRow, Timer
from coordinator.storage.memory import MemoryStore
from tests.engine.world import FakeClock, FakeDefinitions
from tests.golden import wording

Tell = Callable[[str], None]

CREDITS = 1_000

GID = "g-1"
"""The transaction that a script means when it names none; it is not told either."""


def named(key: Key) -> str:
    """``[g-2] `` before what is told of another transaction than the usual one."""
    return "" if key.gid == GID else f"[{key.gid}] "


class ProcessClock:
    """The world's clock as one process sees it, until the process dies."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._missed: list[Callable[[], None]] | None = None
        self.is_running = True

    def now(self) -> Instant:
        """Milliseconds since the script began."""
        return self._clock.now()

    def monotonic_ms(self) -> Milliseconds:
        """The same."""
        return self._clock.monotonic_ms()

    def call_at(self, at: Instant, callback: Callable[[], None]) -> Timer:
        """Call back, unless the process is dead by then."""

        def ring() -> None:
            if self._missed is not None:
                self._missed.append(callback)
            elif self.is_running:
                callback()

        return self._clock.call_at(at, ring)

    @property
    def is_frozen(self) -> bool:
        """The process stands still while time goes on."""
        return self._missed is not None

    def freeze(self) -> None:
        """Let the process stand still, as SIGSTOP or a long pause does."""
        self._missed = []

    def thaw(self) -> None:
        """Let it go on, with everything that it has missed."""
        missed, self._missed = self._missed or [], None
        for callback in missed:
            callback()


class TracedStore(MemoryStore):
    """The store in memory; tells every commit and how it went."""

    def __init__(self, tell: Tell, clock: FakeClock) -> None:
        super().__init__()
        self._tell = tell
        self._clock = clock

    def reopened(self, tell: Tell) -> "TracedStore":
        """Another process's handle on the same data."""
        store = TracedStore(tell, self._clock)
        store._data = self._data
        return store

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        """Commit, and tell whether it was."""
        if self.holding:
            self._tell_all("held", changes)
        try:
            conflicts = await super().commit(changes)
        except StoreUnavailable:
            self._tell_all("unknown", changes)
            raise
        self._tell_all("conflict", [c for c in changes if c.key in conflicts])
        self._tell_all("stored", [c for c in changes if c.key not in conflicts])
        return conflicts

    async def claim(self, rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        """Claim, and tell what was."""
        claimed = await super().claim(rows, owner=owner)
        for row in rows:
            if row.key in claimed:
                self._tell(f"{named(row.key)}claimed, was of {row.owner}")
        return claimed

    def _tell_all(self, verb: str, changes: Sequence[Change]) -> None:
        now = self._clock.now()
        for change in changes:
            head = f"{named(change.key)}{verb}"
            for event in change.events:
                seq = change.after.journal_seq if is_journaled(event) else "-"
                self._tell(f"{head} #{seq} {wording.fact(event, now)}")
            if change.audit is not None:
                entry = change.audit
                self._tell(f"{head} audit {entry.actor} {entry.action}: {entry.reason}")


@dataclass(eq=False)
class Sent:
    """A call that left the process."""

    link: "Line"
    call_id: int
    call: CallBranch
    at: Instant
    is_answered: bool = False


class Line:
    """A connection to one participant; what went out on it is remembered."""

    def __init__(self, tell: Tell, clock: FakeClock, sent: list[Sent]) -> None:
        self._tell = tell
        self._clock = clock
        self._sent = sent

    def send(self, calls: Sequence[tuple[int, CallBranch]]) -> None:
        """Remember and tell."""
        for call_id, call in calls:
            self._sent.append(Sent(self, call_id, call, self._clock.now()))
            self._tell(f"-> {named(call.key)}{wording.call(call)}")


class Node:
    """One process; ``tell`` receives each line of its trace."""

    def __init__(
        self,
        name: str,
        *,
        store: TracedStore,
        clock: FakeClock,
        definitions: FakeDefinitions,
        tell: Tell,
    ) -> None:
        self.name = name
        self.store = store
        self.sent: list[Sent] = []
        self._world_clock = clock
        self.clock = ProcessClock(clock)
        self._tell = tell
        self._lines: dict[str, Line] = {}
        self.dispatcher = Dispatcher(
            self.clock,
            self._replied,
            self._returned,
            in_turn=self._in_turn,
            on_waiting=self._waits_long,
        )
        self.engine = Engine(
            store=store,
            participants=self.dispatcher,
            definitions=definitions,
            clock=self.clock,
            node_id=name,
            # Time stands still, so nobody else would ever come.
            limits=EngineLimits(commit_pace_ms=0),
        )
        leases = Leases(store, self.clock, node_id=name, address=name)
        sweeper = Sweeper(
            store=store,
            engine=self.engine,
            leases=leases,
            clock=self.clock,
            node_id=name,
        )
        loop = asyncio.get_running_loop()
        self._loops = [loop.create_task(it) for it in (leases.run(), sweeper.run())]

    @property
    def is_running(self) -> bool:
        """Not crashed."""
        return self.clock.is_running

    def attach(self, participant: str) -> None:
        """A participant connects."""
        if participant not in self._lines:
            line = Line(self._tell, self._world_clock, self.sent)
            self._lines[participant] = line
            self.dispatcher.attach(participant, line, credits=CREDITS)

    def detach(self, participant: str) -> None:
        """A participant's connection breaks."""
        if line := self._lines.pop(participant, None):
            self.dispatcher.detach(line)

    def ask(
        self,
        label: str,
        key: Key,
        what: Input,
        *,
        heard: bool = True,
        audit: AuditEntry | None = None,
    ) -> None:
        """An initiator or operator asks; the answer is told when it comes."""

        def told(answer: Answer) -> None:
            self._tell(f"<- {named(key)}{label}: {wording.answer(answer)}")

        ticket = self.engine.submit(key, what, told, audit=audit)
        if not heard:
            ticket.cancel()

    def answer(self, sent: Sent, outcome: Outcome) -> None:
        """A participant answers a call."""
        sent.is_answered = True
        self.dispatcher.answered(sent.link, [(sent.call_id, outcome)])

    def _in_turn(self, call: CallBranch) -> CallBranch | None:
        return self.engine.in_turn(call)

    def _waits_long(self, calls: Sequence[CallBranch]) -> None:
        self.engine.waits_long(calls)

    def _returned(self, participant: str) -> None:
        self.engine.participant_returned(participant)

    def _replied(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        self.engine.replied(replies)

    async def crash(self, *, kept: bool) -> None:
        """Nothing happens here any more; what was being written is kept or not."""
        self.clock.is_running = False
        self.store.crash(kept=kept)
        for loop in self._loops:
            loop.cancel()
        await asyncio.wait(self._loops)

    async def close(self) -> None:
        """End the process at the end of a script."""
        if self.is_running:
            await self.crash(kept=False)
