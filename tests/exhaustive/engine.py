"""One node: the protocol of the engine, without its event loop.

What is *decided* here is decided by the core; what is *modelled* is the order in which
``coordinator/engine/engine.py`` decides, stores and acts: the resident copy, its
backlog while a statement is under way, taking back after a conflict, forgetting when
an outcome is unknown, and acting in one place only, :meth:`Tick.release`. Each method
stands for the engine's own of a similar name. A tick takes one input; several meet in
one commit through the backlog.

A node's state is a value. Revisions are not counted: a copy is *current* or stale, and
any write to the row makes all other copies stale for good. That is all that comparing
revisions can tell, because a revision never comes back.
"""

from typing import NamedTuple, TypeAlias

from coordinator.core.errors import IllegalTransition, InvariantViolated
from coordinator.core.inputs import Begin, BranchReplied, Submit, Unknown
from coordinator.core.words import Phase
from tests.exhaustive.decisions import EAGER, LAZY, Decisions

GONE = 2
"""The owner of a row whose process ended; its id never comes back (L2)."""

COMMIT = 1
LOAD = 2

Message: TypeAlias = tuple[str | int, ...]
"""Its kind, then what it carries; kinds stand in :meth:`Tick.hear`."""


class Copy(NamedTuple):
    """A row as somebody read or wrote it."""

    tx: int
    owner: int
    current: bool


class Delivery(NamedTuple):
    """An input on its way, whether somebody still waits for its answer, and whether
    the row was read since it came.
    """

    what: int
    asked: bool
    fresh: bool


class Resident(NamedTuple):
    """The transaction in a node's memory; see the engine's own.

    Attributes:
        facts: what ``tx`` has and ``stored`` has not: 0, ``LAZY`` or ``EAGER``.
    """

    stored: Copy | None = None
    tx: int = 0
    facts: int = 0
    busy: int = 0
    absorbed: tuple[Delivery, ...] = ()
    backlog: tuple[Delivery, ...] = ()
    waiting: tuple[Delivery, ...] = ()
    in_flight: tuple[tuple[str, Phase], ...] = ()


class Node(NamedTuple):
    """A process, its clock, and what has arrived for it.

    Attributes:
        late: its clock has passed the deadline.
        claims: its sweeper waits for a claim.
        inbox: in no order; the network keeps none.
    """

    late: int = 0
    claims: bool = False
    resident: Resident | None = None
    inbox: tuple[Message, ...] = ()


class Moved(NamedTuple):
    """One thing that a node can do next, and what leaves it."""

    label: str
    node: Node
    sent: tuple[Message, ...]
    bug: str = ""


def moves(decisions: Decisions, me: int, node: Node) -> list[Moved]:
    """Everything that this node can do, but for looking at what others left."""
    found = []
    for message in dict.fromkeys(node.inbox):
        tick = Tick(decisions, me, node)
        tick.node = tick.node._replace(inbox=without(node.inbox, message))
        found.append(tick.run(spoken(decisions, message), message))
    resident = node.resident
    if resident is None or resident.busy or resident.stored is None:
        return found
    if resident.stored.owner != me:
        if resident.waiting:
            found.append(Tick(decisions, me, node).run("reads again", ("poll",)))
        return found
    out = tuple(branch_id for branch_id, _ in resident.in_flight)
    if decisions.is_due(resident.tx, out, node.late):
        found.append(Tick(decisions, me, node).run("wakes up", ("wake",)))
    if resident.facts == LAZY:
        found.append(Tick(decisions, me, node).run("stores what it knows", ("waited",)))
    return found


class Tick:
    """What one message does to a node."""

    def __init__(self, decisions: Decisions, me: int, node: Node) -> None:
        self._core = decisions
        self._me = me
        self._late = node.late
        self._waited = False
        self._it = node.resident
        self.node = node
        self.sent: list[Message] = []

    def run(self, label: str, message: Message) -> Moved:
        """Let the message happen."""
        bug = ""
        try:
            self.hear(message)
        except (InvariantViolated, IllegalTransition) as error:
            bug = f"BUG {error}"
        node = self.node._replace(resident=self._it)
        return Moved(label, node, tuple(self.sent), bug)

    def hear(self, message: Message) -> None:
        """One message of any kind."""
        match message:
            case ("request", int(what)):
                self.deliver(Delivery(what, asked=True, fresh=False))
            case ("reply", int(what)):
                self.deliver(Delivery(what, asked=False, fresh=False))
            case ("committed", current):
                self.committed(current=bool(current))
            case ("conflict",):
                self.conflict()
            case ("loaded", int(tx), int(owner), current):
                self.loaded(Copy(tx, owner, bool(current)) if tx else None)
            case ("unavailable",):
                self.forget()
            case ("claimed", taken):
                self.node = self.node._replace(claims=False)
                if taken:
                    self.take_over()
            case ("wake",) | ("taken",):
                self.take_over()
            case ("waited",):
                self._waited = True
                self.take_over()
            case ("poll",):
                self.read()
            case _:
                raise AssertionError(message)

    # ---- Ticks ----------------------------------------------------------------------

    @property
    def it(self) -> Resident:
        if self._it is None:
            raise AssertionError("nothing is resident")
        return self._it

    def change(self, **fields: object) -> None:
        self._it = self.it._replace(**fields)

    def take_over(self) -> None:
        """Go on with a transaction that this node owns, or reads for others."""
        it = self._it
        if it is not None and it.stored is not None and it.stored.owner != self._me:
            if not it.busy:
                self.read()
            return
        self.deliver(Delivery(self._core.woken, asked=False, fresh=False))

    def deliver(self, delivery: Delivery) -> None:
        if self._it is None:
            self._it = Resident()
            if not isinstance(self._core.input(delivery.what), Begin | Submit):
                self.read()
                delivery = delivery._replace(fresh=True)
        if self.absorb(delivery):
            self.settle()

    def absorb(self, delivery: Delivery) -> bool:
        """Let the core decide; whether the resident has to be settled."""
        it = self.it
        if it.busy:
            self.change(backlog=(*it.backlog, delivery))
            return False
        what = self._core.input(delivery.what)
        if isinstance(what, BranchReplied):
            mark = (what.branch_id, what.phase)
            self.change(in_flight=tuple(m for m in it.in_flight if m != mark))
        step = self._core.step(it.tx, delivery.what, self._late)
        if step.refusal:
            if not delivery.fresh:
                self.take_back()
                again = delivery._replace(fresh=True)
                self.change(backlog=(*self.it.backlog, again))
                self.read()
                return False
            self.answer(delivery, ("no",))
            return True
        self.change(tx=step.tx, facts=max(it.facts, step.facts))
        if self.it.facts:
            self.change(absorbed=(*self.it.absorbed, delivery))
        if delivery.asked:
            self.change(waiting=(*self.it.waiting, delivery))
        return True

    def settle(self) -> None:
        """Store what has to be stored; act at once where nothing has to."""
        if tx := self.it.tx:
            ready = [d for d in self.it.waiting if self._core.is_ready(d.what, tx)]
            for delivery in ready:
                self.change(waiting=without(self.it.waiting, delivery))
                self.absorb(delivery)
        it = self.it
        if it.busy:
            return
        if not it.tx:
            self.evict()
        elif it.facts == EAGER or (self._waited and it.facts):
            current = it.stored.current if it.stored else True
            self.change(busy=COMMIT)
            self.sent.append(("commit", it.tx, current, it.stored is None))
        else:
            self.release(it.stored.owner if it.stored else GONE)

    # ---- What a statement brings ----------------------------------------------------

    def committed(self, *, current: bool) -> None:
        stored = Copy(self.it.tx, self._me, current)
        self.change(stored=stored, facts=0, absorbed=(), busy=0)
        self.release(self._me)
        if self._it is not None and self.work_off():
            self.settle()

    def conflict(self) -> None:
        self.take_back()
        self.read()

    def loaded(self, stored: Copy | None) -> None:
        tx = stored.tx if stored else 0
        self.change(stored=stored, tx=tx, facts=0, absorbed=(), busy=0)
        self.work_off()
        self.settle()

    def work_off(self) -> bool:
        backlog = self.it.backlog
        self.change(backlog=())
        for delivery in backlog:
            self.absorb(delivery)
        return bool(backlog)

    def read(self) -> None:
        self.change(busy=LOAD)
        self.sent.append(("load",))

    def take_back(self) -> None:
        """What is not stored is undone; its inputs wait to be decided again."""
        it = self.it
        waiting = it.waiting
        for delivery in it.absorbed:
            waiting = without(waiting, delivery)
        self._it = it._replace(
            tx=it.stored.tx if it.stored else 0,
            facts=0,
            absorbed=(),
            backlog=(*it.absorbed, *it.backlog),
            waiting=waiting,
        )

    # ---- Acting ---------------------------------------------------------------------

    def release(self, owner: int) -> None:
        """Answer whoever can be answered, and send the calls that are due."""
        for delivery in self.it.waiting:
            if self._core.answerable(delivery.what, self.it.tx):
                self.answer(delivery, ("yes", self.it.tx))
        if owner != self._me:
            if not self.it.waiting:
                self.evict()
            return
        if self._core.stored(self.it.tx).status.is_final:
            self.evict()
            return
        for branch_id, phase, call in self._core.due(self.it.tx, self._late):
            marks = dict(self.it.in_flight)
            if marks.get(branch_id) is not phase:
                marks[branch_id] = phase
                self.change(in_flight=tuple(sorted(marks.items())))
                self.sent.append(("call", call, self.it.tx))

    def answer(self, delivery: Delivery, answer: Message) -> None:
        if not delivery.asked:
            return
        self.sent.append(("answer", delivery.what, *answer))
        told = delivery._replace(asked=False)
        self.change(
            waiting=without(self.it.waiting, delivery),
            absorbed=tuple(told if d == delivery else d for d in self.it.absorbed),
            backlog=tuple(told if d == delivery else d for d in self.it.backlog),
        )

    def evict(self) -> None:
        if not self.it.backlog:
            self._it = None

    def forget(self) -> None:
        it = self.it
        for delivery in dict.fromkeys((*it.absorbed, *it.waiting, *it.backlog)):
            if delivery.asked:
                self.sent.append(("answer", delivery.what, "unavailable"))
        self._it = None


def drives(node: Node, me: int) -> bool:
    """Whether the sweeper must leave the transaction alone here."""
    it = node.resident
    return it is not None and not (it.stored is not None and it.stored.owner != me)


def crashed(node: Node) -> tuple[Node, tuple[int, ...]]:
    """Its successor, and the requests that nobody will answer.

    The successor is there at once; to come later is to do nothing for a while.
    """
    lost: list[int] = []
    if (it := node.resident) is not None:
        deliveries = dict.fromkeys((*it.absorbed, *it.waiting, *it.backlog))
        lost += [d.what for d in deliveries if d.asked]
    return Node(late=node.late), tuple(dict.fromkeys(lost))


def staled(node: Node) -> Node:
    """The node when somebody else has written the row."""
    it = node.resident
    if it is not None and it.stored is not None and it.stored.current:
        node = node._replace(
            resident=it._replace(stored=it.stored._replace(current=False))
        )
    inbox = tuple(sorted(_stale(message) for message in node.inbox))
    return node if inbox == node.inbox else node._replace(inbox=inbox)


def _stale(message: Message) -> Message:
    if message[0] in ("committed", "loaded"):
        return (*message[:-1], False)
    return message


def mirrored(node: Node) -> Node:
    """The same with the two nodes' names exchanged."""
    it = node.resident
    if it is not None and it.stored is not None and it.stored.owner != GONE:
        stored = it.stored._replace(owner=1 - it.stored.owner)
        node = node._replace(resident=it._replace(stored=stored))
    inbox = tuple(sorted(map(_mirrored, node.inbox)))
    return node if inbox == node.inbox else node._replace(inbox=inbox)


def _mirrored(message: Message) -> Message:
    match message:
        case ("loaded", tx, owner, current) if owner != GONE:
            return ("loaded", tx, 1 - int(owner), current)
    return message


def buried(node: Node, gone: int) -> Node:
    """The node's memory, when the process behind a name has ended."""
    it = node.resident
    if it is not None and it.stored is not None and it.stored.owner == gone:
        stored = it.stored._replace(owner=GONE)
        node = node._replace(resident=it._replace(stored=stored))
    inbox = tuple(
        ("loaded", m[1], GONE, m[3]) if m[0] == "loaded" and m[2] == gone else m
        for m in node.inbox
    )
    return node._replace(inbox=tuple(sorted(inbox)))


def without(items: tuple, item: object) -> tuple:
    """All but the first of these."""
    if item not in items:
        return items
    at = items.index(item)
    return items[:at] + items[at + 1 :]


def spoken(decisions: Decisions, message: Message) -> str:
    """A message, for people."""
    match message:
        case ("request", int(what)):
            return f"is asked to {named(decisions, what)}"
        case ("reply", int(what)):
            return f"hears that {named(decisions, what)}"
        case ("loaded", 0, *_):
            return "reads that there is no such transaction"
        case ("loaded", int(tx), int(owner), _):
            by = "a dead node" if owner == GONE else f"n{owner}"
            return f"reads {decisions.stored(tx).status}, written by {by}"
        case ("committed", _):
            return "hears that its write is durable"
        case ("conflict",):
            return "hears that its write met a conflict"
        case ("unavailable",):
            return "hears that the database did not answer"
        case ("claimed", taken):
            return "hears that it has claimed it" if taken else "claimed in vain"
    return str(message)


def named(decisions: Decisions, number: int) -> str:
    """An input, for people."""
    what = decisions.input(number)
    match what:
        case BranchReplied(branch_id, phase, attempt, outcome):
            code = getattr(outcome, "code", "")
            how = type(outcome).__name__.lower() + (f" ({code})" if code else "")
            if isinstance(outcome, Unknown) and not code:
                how = "unknown"
            return f"{phase} {attempt} of {branch_id} {how}"
    specs = ", ".join(s.branch_id for s in getattr(what, "specs", ()))
    return f"{type(what).__name__}({specs})"
