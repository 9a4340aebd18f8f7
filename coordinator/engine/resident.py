"""A transaction that this node holds in memory, and who waits for it."""

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from coordinator.core import machine, quarantine
from coordinator.core.errors import CoordinatorError
from coordinator.core.events import BranchSucceeded, Event
from coordinator.core.inputs import DEFERRED, BranchReplied, Input
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Key,
    Milliseconds,
)
from coordinator.core.words import Phase
from coordinator.engine.limits import EngineLimits
from coordinator.ports import AuditEntry

LAZY_MS_MAX: Milliseconds = 500
"""An initiator that goes on decides sooner, and its decision's commit carries them
along; one that is slow, or has gone to another node, costs one commit more."""

SURVIVED_MS: Milliseconds = 10_000
"""After which what was taken up and has stored nothing counts as survived: longer than
its calls wait for their turn where they have one, so that what kills a node when it is
called does so before (V6)."""

Answer: TypeAlias = GlobalTransaction | CoordinatorError
Reply: TypeAlias = Callable[[Answer], None]


class Ticket:
    """Somebody waits for an answer; it can be given up."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply | None) -> None:
        self._reply = reply

    def cancel(self) -> None:
        """Never be answered. What was asked goes on all the same."""
        self._reply = None

    @property
    def is_waiting(self) -> bool:
        """Not answered and not given up."""
        return self._reply is not None

    def answer(self, answer: Answer) -> None:
        """Answer once; later answers go nowhere."""
        reply, self._reply = self._reply, None
        if reply is not None:
            reply(answer)


_UNASKED = Ticket(None)
"""Of what nobody waits for an answer to."""


class Delivery(Struct, frozen=True, eq=False):
    """One input on its way to a transaction.

    Attributes:
        is_fresh: it was decided before, and the transaction has been read since.
    """

    what: Input
    ticket: Ticket = _UNASKED
    audit: AuditEntry | None = None
    is_fresh: bool = False

    @property
    def is_unasked(self) -> bool:
        """An outcome that was reported and not asked for (attempt 0)."""
        what = self.what
        return isinstance(what, BranchReplied) and not what.attempt


class Resident(Struct):
    """One transaction in memory.

    Attributes:
        stored: as the database has it, to the best of our knowledge; ``None`` when
            it is new or not loaded yet.
        tx: ``stored`` and ``unstored`` folded; what the core decides on.
        unstored: facts that no commit carries yet.
        absorbed: the inputs behind ``unstored``: decided again after a conflict.
        busy: a load or a commit is under way; inputs go to the backlog.
        waiting: asked, and not answerable yet.
        has_deferred: among them may be some that wait until they can be decided.
        in_flight: branch id to the phase that its participant was asked for, or will
            be when the call has its turn.
        asked: branch id to the latest participant's return when it was last asked.
        survived_at: when this node, which has just taken it up, perhaps on trial,
            will have survived it.
        heard_at: when anything but time last moved it, or it was read.
        weight: bytes of its payloads, when it was last weighed.
        due_at: when the row is due, if this node has written it; else ``None``.
    """

    key: Key
    stored: GlobalTransaction | None = None
    tx: GlobalTransaction | None = None
    unstored: tuple[Event, ...] = ()
    absorbed: list[Delivery] = []
    backlog: list[Delivery] = []
    busy: bool = False
    waiting: list[Delivery] = []
    has_deferred: bool = False
    in_flight: dict[str, Phase] = {}
    asked: dict[str, int] = {}
    survived_at: Instant | None = None
    heard_at: Instant = 0
    weight: int = 0
    due_at: Instant | None = None

    @property
    def needs_commit(self) -> bool:
        """Whether anything unstored must not wait in memory.

        Lazy facts may: they can be had again by asking the participant again. An
        outcome that was reported unasked cannot, and what a check-back rests on would
        come too late. An operator's wish behind them makes room for the next one.
        """
        if not self.unstored:
            return False
        return not machine.is_lazy(self.unstored, self.tx) or any(
            delivery.audit or delivery.is_unasked for delivery in self.absorbed
        )

    def keep_waiting(self, delivery: Delivery) -> None:
        """It is answered later."""
        self.waiting.append(delivery)
        self.has_deferred |= isinstance(delivery.what, DEFERRED)

    @property
    def deferred(self) -> list[Delivery]:
        """Those that wait until they can be decided."""
        return [d for d in self.waiting if isinstance(d.what, DEFERRED)]

    def answer(self, tx: GlobalTransaction) -> None:
        """Tell whoever can be answered with this state, which is durable."""
        waiting, self.waiting = self.waiting, []
        for delivery in waiting:
            if machine.answerable(delivery.what, tx):
                delivery.ticket.answer(tx)
            elif delivery.ticket.is_waiting:
                self.waiting.append(delivery)

    @property
    def store_at(self) -> Instant | None:
        """When what does not press is stored at the latest.

        Lazy facts: nobody else knows them, and a confirm that reaches another node
        waits for them. And that nobody died of it here (V6): a transaction whose calls
        wait for their turn stores nothing else by which that could be told.
        """
        for event in self.unstored:
            if isinstance(event, BranchSucceeded):
                at = event.at + LAZY_MS_MAX
                return at if self.survived_at is None else min(at, self.survived_at)
        return self.survived_at

    def has_survived(self, now: Instant) -> bool:
        """Whether nobody has died of it here for long enough."""
        return self.survived_at is not None and self.survived_at <= now

    def has_waited(self, now: Instant) -> bool:
        """Whether that has been in memory alone for long enough."""
        store_at = self.store_at
        return store_at is not None and store_at <= now

    def park_at(self, due_at: Instant | None, limits: EngineLimits) -> Instant | None:
        """When it may leave memory, all of it being stored; ``None`` = it stays.

        Args:
            due_at: when the next thing is to be done about it, if ever.
        """
        is_needed = self.busy or self.unstored or self.waiting or self.backlog
        if is_needed or self.in_flight or self.survived_at is not None:
            return None
        park_at = self.heard_at + limits.parked_after_ms
        if due_at is not None and due_at - park_at < limits.parked_for_ms:
            return None
        return park_at

    def was_read(self, tx: GlobalTransaction | None, *, me: str, now: Instant) -> None:
        """The database has it like this. Unstored facts are lost; they are lazy at
        most, and the owner asks again.
        """
        was_mine = self.stored is not None and self.stored.owner == me
        if tx is None or tx.owner != me or tx.status.is_final:
            self.survived_at = None
        elif not was_mine:
            self.survived_at = now + SURVIVED_MS
        self.heard_at = now
        self._is_stored(tx, None)

    def was_written(self, tx: GlobalTransaction, due_at: Instant | None) -> None:
        """A commit has made it so."""
        if self.survived_at is not None and not quarantine.is_on_trial(tx):
            self.survived_at = None
        self._is_stored(tx, due_at)

    def _is_stored(self, tx: GlobalTransaction | None, due_at: Instant | None) -> None:
        self.stored = self.tx = tx
        self.due_at = due_at
        self.unstored = ()
        self.absorbed.clear()
        self.busy = False

    @property
    def audit(self) -> AuditEntry | None:
        """The operator's action that the next commit carries; it has room for one."""
        for delivery in self.absorbed:
            if delivery.audit is not None:
                return delivery.audit
        return None

    def take_back(self) -> None:
        """Undo what is not stored: all absorbed inputs wait in the backlog again."""
        undone = set(self.absorbed)
        self.waiting = [d for d in self.waiting if d not in undone]
        self.backlog[:0] = self.absorbed
        self.absorbed.clear()
        self.unstored = ()
        self.tx = self.stored
