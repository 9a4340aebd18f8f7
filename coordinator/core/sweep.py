"""Which unfinished transactions a node should take up, and why, row by row.

The sweeper lists what is due in the database. The plan is computed from values alone,
so that the simulator and an operator's question get the same answer as production.

Fairness (V3). What is unfinished stands in *lines*, one for each owner, namespace and
count of take-overs, the longest due first. A sweep passes over the living owners
without looking at what they drive, and lets the other lines take turns at its pages, so
each line's oldest is attempted in the same sweep, whatever stands in the other lines.
What is claimed has left its line; so nothing needs to be remembered from one sweep to
the next, but for where to go on if there were more lines than a sweep looks at. Nodes
begin at different lines, and who lost a page to another node goes on at a distance
behind it.

A node's own rows are nearly all driven by it. It walks through them all the same, page
by page, for what it has let go of unknown to itself; a dear walk is made rarely.

Poison (V6). A transaction may be what kills the nodes that drive it. So a claim from a
dead node counts *before* any work is done, in the statement that claims; whatever that
node then commits of it sets the count back to nought, for it has survived driving it.
One that only waits, for a participant's return as it may be, has something committed of
it after a while all the same, for that purpose alone.
A node that left in good order does not count: it took its row among the nodes with it,
while a crash leaves the row there, its heart standing still. Where ``OWNERS_LOST_MAX``
owners in a row died with it, nobody takes it over: it is *quarantined* for a while (see
:mod:`coordinator.core.quarantine`).

Whatever else a node drives dies with it, and is innocent. So what was claimed once and
did not move before its owner died is a *suspect*, and is claimed by itself: when the
node dies again, it died with that one.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Generic, NamedTuple, Protocol, TypeVar
from zlib import crc32

from coordinator.core.model import (
    Instant,
    Key,
    Milliseconds,
)

OWNERS_LOST_MAX = 3
"""Distinct nodes that may die with a transaction. Two can be bad luck: a machine that
fails, and its successor that is restarted at that moment."""

LINES_MAX = 64
"""Lines that one sweep looks at; with more, the next sweep goes on behind them. Each
costs a statement or two even where nothing of it is due."""

REST_FACTOR = 20
"""A walk through a node's own rows rests for so many times as long as its first look
took. That look passes all that the node ever had under way and that the database still
keeps, for a snapshot that somebody holds; so it takes a twentieth of the time at most,
until the rest is as long as it gets."""

REST_MS_MAX: Milliseconds = 30_000
"""For so long at most a walk rests. Only what nobody can know of waits for it: a commit
that takes effect after its transaction was read again."""

LINES_PER_PAGE = 16
"""Lines that share a page: enough that short ones do not each take a claim of their
own, few enough that a page is not a crowd of statements."""

_LAST = "\x7f"
"""Comes behind every namespace and every owner: both are printable ASCII."""


class Line(NamedTuple):
    """Unfinished transactions that are alike to the plan."""

    owner: str
    namespace: str
    takeovers: int

    @property
    def end(self) -> "Line":
        """Comes behind all lines of the owner."""
        return Line(self.owner, _LAST, 0)


class Gap(NamedTuple):
    """The lines behind one, of its owner and of those below another."""

    after: Line
    below: str


class Place(NamedTuple):
    """Where a transaction stands in its line."""

    due_at: Instant
    gid: str


class Ask(NamedTuple):
    """Which rows of a line are to be listed.

    Attributes:
        after: behind this one; ``None`` = from the beginning.
        skip: so many, for others to take.
    """

    line: Line
    after: Place | None
    skip: int
    limit: int


class Row(Protocol):
    """What the plan reads of an unfinished transaction."""

    @property
    def key(self) -> Key:
        """Which transaction."""

    @property
    def owner(self) -> str:
        """The node that wrote it last."""

    @property
    def due_at(self) -> Instant:
        """When somebody should do something about it."""

    @property
    def takeovers(self) -> int:
        """Claims from dead nodes since anything was committed of it."""


R = TypeVar("R", bound=Row)


class Reason(StrEnum):
    """Why a row is taken or left."""

    DRIVEN_HERE = "DRIVEN_HERE"
    OWNED_BY_LIVING_PEER = "OWNED_BY_LIVING_PEER"
    NOT_DUE = "NOT_DUE"
    FORGOTTEN_HERE = "FORGOTTEN_HERE"
    """This node wrote it last and let go of it."""
    OWNER_DEAD = "OWNER_DEAD"
    OWNER_GONE = "OWNER_GONE"
    """It left in good order, or died so long ago that it is forgotten."""
    QUARANTINED = "QUARANTINED"
    """Too many owners died with it."""


@dataclass(frozen=True, slots=True)
class Verdict(Generic[R]):
    """One row's part of the plan.

    Attributes:
        takeovers: what the claim stores, where the row is to be claimed.
    """

    row: R
    take: bool
    reason: Reason
    takeovers: int = 0

    @property
    def is_suspect(self) -> bool:
        """It is to be claimed by itself, because its owners may have died of it."""
        is_claimed = self.reason in (Reason.OWNER_DEAD, Reason.OWNER_GONE)
        return is_claimed and self.takeovers > 1


def others(passing: Collection[str], after: Line | None = None) -> list[Gap]:
    """Where the lines are whose owners are none of these, behind ``after``."""
    start = after or Line("", "", -1)
    gaps = []
    for owner in sorted(passing):
        if owner >= start.owner:
            gaps.append(Gap(start, owner))
            start = Line(owner, "", 0).end
    return [*gaps, Gap(start, _LAST)]


def own(owner: str, after: Line | None = None) -> list[Gap]:
    """Where the lines of one owner are, behind ``after``."""
    return [Gap(after or Line(owner, "", -1), owner)]


def rest_ms(look_ms: Milliseconds) -> Milliseconds:
    """How long after its first look the next walk through a node's own rows begins."""
    return min(REST_FACTOR * look_ms, REST_MS_MAX)


def may_be_suspect(line: Line, known: Collection[str]) -> bool:
    """Whether its rows are to be claimed one by one, if its owner is not alive."""
    if line.owner not in known:
        return line.takeovers > 1
    return 0 < line.takeovers < OWNERS_LOST_MAX - 1


def in_turn(lines: Iterable[Line], me: str) -> list[Line]:
    """Of every namespace one, then of every namespace the next one, and so on.

    In an order of each node's own, so that several do not begin at the same line.
    """
    met: Counter[str] = Counter()
    numbered = []
    for line in sorted(lines, key=lambda line: _mix(me, *line)):
        met[line.namespace] += 1
        numbered.append((met[line.namespace], _mix(me, line.namespace), line))
    return [line for _, _, line in sorted(numbered)]


def _mix(*words: object) -> int:
    """A number that means nothing but is the same for the same words, anywhere."""
    return crc32("\0".join(map(str, words)).encode()) * 2_654_435_761 % 2**32


class Turns:
    """Whose turn it is, page by page.

    Args:
        lines: in their order.
        behind: rows to leave to others after a page was lost to them.
    """

    def __init__(self, lines: Iterable[Line], *, behind: int = 0) -> None:
        self._waiting = deque(Ask(line, None, 0, 0) for line in lines)
        self._asked: list[Ask] = []
        self._behind = behind

    @property
    def are_over(self) -> bool:
        """Every line was exhausted."""
        return not self._waiting

    def next_page(self, size: int) -> list[Ask]:
        """What the next page lists; nothing when all lines are exhausted."""
        count = min(len(self._waiting), LINES_PER_PAGE, size)
        if not count:
            return []
        share = size // count
        turns = [self._waiting.popleft() for _ in range(count)]
        self._asked = [ask._replace(limit=share) for ask in turns]
        return self._asked

    def listed(self, rows: Iterable[Row], lost: Mapping[Line, int]) -> None:
        """What the page brought, and how many of each line others had taken first.

        A line that filled its share has another turn, behind those that wait.
        """
        met: dict[Line, list[Row]] = {}
        for row in rows:
            met.setdefault(line_of(row), []).append(row)
        for line, _, _, limit in self._asked:
            page = met.get(line, [])
            if len(page) == limit:
                place = Place(page[-1].due_at, page[-1].key.gid)
                skip = self._behind if 2 * lost.get(line, 0) >= limit else 0
                self._waiting.append(Ask(line, place, skip, 0))
        self._asked = []


def due_since(
    stored: Instant | None, due_at: Instant | None, now: Instant
) -> Instant | None:
    """When a transaction is due whose row is about to be written again.

    What is due and stays so keeps its place in its line, by which it is found, and a
    database the index entry for it: a chain of steps that follow each other at once is
    due since its first one.

    Args:
        stored: when the row is due as it stands; ``None`` = never, or nobody knows.
        due_at: when the next thing is to be done.
    """
    if stored is None or due_at is None or due_at > now:
        return due_at
    return min(stored, due_at)


def line_of(row: Row) -> Line:
    """Where a row stands."""
    return Line(row.owner, row.key.namespace, row.takeovers)


def distance(me: str, living: Collection[str], page: int) -> int:
    """How far behind a lost page a node goes on: each living one at another place."""
    return page * sorted({me, *living}).index(me)


def interleaved(rows: Sequence[R]) -> list[R]:
    """Of every line the first, then of every line the second, and so on."""
    met: Counter[Line] = Counter()
    numbered = []
    for row in rows:
        met[line_of(row)] += 1
        numbered.append((met[line_of(row)], row.due_at, row.key, row))
    return [row for _, _, _, row in sorted(numbered, key=itemgetter(0, 1, 2))]


def plan(
    rows: Iterable[R],
    *,
    me: str,
    drives: Callable[[R], bool],
    living: Collection[str],
    known: Collection[str],
    now: Instant,
) -> tuple[Verdict[R], ...]:
    """What to do with each row.

    Args:
        me: this node's id.
        drives: whether this node drives it, as the row shows it.
        living: ids of nodes not known to be dead, this one included.
        known: ids of all nodes that have a row, dead or alive.
    """
    return tuple(_judge(row, me, drives, living, known, now) for row in rows)


def _judge(
    row: R,
    me: str,
    drives: Callable[[R], bool],
    living: Collection[str],
    known: Collection[str],
    now: Instant,
) -> Verdict[R]:
    if drives(row):
        return Verdict(row, take=False, reason=Reason.DRIVEN_HERE)
    if row.due_at > now:
        return Verdict(row, take=False, reason=Reason.NOT_DUE)
    if row.owner == me:
        return Verdict(row, take=True, reason=Reason.FORGOTTEN_HERE)
    if row.owner in living:
        return Verdict(row, take=False, reason=Reason.OWNED_BY_LIVING_PEER)
    if row.owner not in known:
        return Verdict(row, True, Reason.OWNER_GONE, row.takeovers)
    lost = row.takeovers + 1
    if lost >= OWNERS_LOST_MAX:
        return Verdict(row, take=False, reason=Reason.QUARANTINED)
    return Verdict(row, True, Reason.OWNER_DEAD, lost)
