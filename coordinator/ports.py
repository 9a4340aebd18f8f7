"""Every outside thing, as a Protocol. The engine knows nothing else of the world.

Each method says who owns what is returned, what is durable when it returns, and
which errors it may raise. All values are immutable and may be shared.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from coordinator.core.actions import CallBranch
from coordinator.core.definition import SagaDefinition
from coordinator.core.events import Event
from coordinator.core.inputs import BranchReplied
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Key,
    Milliseconds,
    Operation,
)
from coordinator.core.retention import OldRow
from coordinator.core.sweep import Ask, Gap, Line
from coordinator.core.words import Status


class Timer(Protocol):
    """Something that will happen once, unless it is cancelled."""

    def cancel(self) -> None:
        """Make it not happen. Harmless when it has happened or was cancelled."""


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> Instant:
        """The wall clock: for deadlines and stored times."""

    def monotonic_ms(self) -> Milliseconds:
        """Never goes back: for measuring how long something took, here."""

    def call_at(self, at: Instant, callback: Callable[[], None]) -> Timer:
        """Call back on the event loop, not before ``at``."""


class AuditEntry(Struct, frozen=True):
    """An operator's action, stored in the same database transaction as its effect."""

    actor: str
    action: str
    reason: str
    at: Instant


class Change(Struct, frozen=True):
    """One transaction's move from one stored state to the next.

    Attributes:
        before: as it was stored; ``None`` when it is new.
        after: as it shall be. ``after.revision == before.revision + 1``.
        events: all facts that lead from one to the other, in order. Those that
            ``is_journaled`` become one journal entry with ``seq`` =
            ``after.journal_seq``; when there are none, no entry is written and
            ``after.journal_seq == before.journal_seq``.
        due_at: when the sweeper should look at it, if nobody drives it; ``None``
            when it has ended or only the initiator can move it.
    """

    before: GlobalTransaction | None
    after: GlobalTransaction
    events: tuple[Event, ...]
    due_at: Instant | None
    audit: AuditEntry | None = None

    @property
    def key(self) -> Key:
        """Whose change it is."""
        return self.after.request.key


class SweepRow(Struct, frozen=True):
    """What the sweeper sees of an unfinished transaction.

    Attributes:
        takeovers: claims from dead nodes since anything was committed of it; of what
            is quarantined or on trial as many as one death more is too much for.
    """

    key: Key
    revision: int
    owner: str
    due_at: Instant
    takeovers: int = 0


class NodeRow(Struct, frozen=True):
    """A node, as its heartbeat shows it."""

    node_id: str
    address: str
    heartbeat: int


class Store(Protocol):
    """Where transactions are durable.

    Every method raises ``StoreUnavailable`` when the database does not answer. From
    ``commit`` that error leaves the outcome *unknown*: it may have happened or not,
    wholly; the caller re-reads before it acts (L6). From all others it means that
    nothing happened that matters.
    """

    async def load(self, keys: Sequence[Key]) -> list[GlobalTransaction]:
        """The stored states of those that exist, in any order; one query batch.

        ``definition`` is ``None`` in what is returned; the caller attaches it.
        """

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        """Make all changes whose guard holds durable, in one database transaction.

        A guard holds when the stored revision equals ``before.revision``, or, for
        ``before=None``, when no row with that key exists. At most one change a key.

        Returns:
            The keys whose guard did not hold; nothing of their changes is written.
            Everything else is durable when this returns (fsync included).
        """

    async def lines(self, gaps: Sequence[Gap], *, limit: int) -> list[Line]:
        """The lines in these gaps that have anything unfinished, due or not, in order.

        Each costs a look-up, however long it is; what is in no gap is not looked at.
        """

    async def unfinished(
        self, asks: Sequence[Ask], *, due_before: Instant
    ) -> list[SweepRow]:
        """Unfinished rows whose ``due_at`` is not after ``due_before``.

        Line by line as asked, in each the longest due first, then by gid. Read in that
        order from an index over unfinished rows only.
        """

    async def claim(self, rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        """Make ``owner`` the owner of each row whose revision still holds.

        One compare-and-set a row, which also raises the revision (L3) and stores the
        row's ``takeovers`` as given. Every commit stores ``takeovers_after``
        its state, which is 0 but for a quarantine (V6).

        Returns:
            The keys that were claimed; having listed a row gives no right to it.
        """

    async def beat(self, node: NodeRow) -> list[NodeRow]:
        """Store this node's heartbeat and return all nodes' rows, its own included."""

    async def forget_node(self, node_id: str) -> None:
        """Remove a node that left, or that is long dead."""

    async def close(self) -> None:
        """Release connections; tolerates being called twice."""


class TransactionFilter(Struct, frozen=True):
    """Which transactions a listing shows.

    Attributes:
        statuses: empty = all.
        name: exact name, empty = all.
        attention: only those that need a person.
        limit: at most this many, 1 to 1,000.
        before: continue a listing: (created_at, gid) of the last one shown.
    """

    namespace: str
    statuses: frozenset[Status] = frozenset()
    name: str = ""
    attention: bool = False
    limit: int = 50
    before: tuple[Instant, str] | None = None


class JournalEntry(Struct, frozen=True):
    """One commit's facts of one transaction, readable."""

    seq: int
    at: Instant
    events: tuple[Mapping[str, object], ...]


class History(Struct, frozen=True):
    """Everything that is stored of one transaction, for the records."""

    transaction: GlobalTransaction
    journal: tuple[JournalEntry, ...]


class Retention(Protocol):
    """How what has finished leaves the database.

    Any number may do so at once. Raises ``StoreUnavailable`` like :class:`Store`; from
    ``remove`` it says that all of it was removed or nothing.
    """

    async def old(
        self, *, created_before: Instant, after: OldRow | None, limit: int
    ) -> list[OldRow]:
        """Transactions that began before an instant, finished or not, the oldest first
        within a namespace. ``after`` continues a listing.
        """

    async def histories(self, keys: Sequence[Key]) -> list[History]:
        """All of those that exist, in any order; ``definition`` is ``None``."""

    async def remove(self, rows: Sequence[OldRow]) -> list[Key]:
        """Remove finished transactions, branches and journals, whose revision still
        holds, in one database transaction. Operators' actions (the audit) stay.

        Returns:
            The keys of the others: removed by somebody else, or changed.
        """


class Archive(Protocol):
    """Where histories are kept that leave the database."""

    async def write(self, histories: Sequence[History]) -> None:
        """Take them; they are durable when a later :meth:`sync` has returned."""

    async def sync(self) -> None:
        """Make all that was written durable (fsync included).

        Raises ``PreconditionFailed``, as ``write`` does, when it cannot be; then
        nothing that was written since the last ``sync`` counts.
        """


@dataclass(frozen=True, slots=True)
class StoredDefinition:
    """A published saga: the text as it was published, and its digest."""

    namespace: str
    name: str
    version: str
    digest: str
    text: str
    published_at: Instant = field(compare=False)


class Queries(Protocol):
    """What people and tools ask; never on the hot path, never stale by design.

    Raises ``StoreUnavailable`` like :class:`Store`.
    """

    async def list_transactions(
        self, what: TransactionFilter
    ) -> list[GlobalTransaction]:
        """Newest first; without branches and definition."""

    async def journal(self, key: Key) -> list[JournalEntry]:
        """The journal of one transaction, in order of ``seq``; empty when unknown."""

    async def publish(self, definition: StoredDefinition) -> StoredDefinition:
        """Store a definition unless (namespace, name, version) exists.

        Returns:
            What is stored under that name and version now: the argument, or what
            was there before; the caller compares digests.
        """

    async def find_definition(
        self, namespace: str, name: str, version: str
    ) -> StoredDefinition | None:
        """One version, or with ``version="latest"`` the one published last."""

    async def find_definition_by_digest(
        self, namespace: str, digest: str
    ) -> StoredDefinition | None:
        """What a running saga is pinned to."""

    async def list_definitions(
        self,
        namespace: str,
        *,
        name: str = "",
        after: tuple[str, str] | None = None,
        limit: int = 1_000,
    ) -> list[StoredDefinition]:
        """Names and versions, by name, newest first within a name.

        Args:
            name: only of this name; empty = all.
            after: continue a listing: name and version of the last one shown.
            limit: at most this many, 1 to 1,000.
        """

    async def unfinished_with(
        self,
        namespace: str,
        *,
        operations: Collection[str],
        digests: Collection[str],
        limit: int,
    ) -> list[GlobalTransaction]:
        """Unfinished transactions that have a branch of one of these operations, or
        run one of these definitions; newest first, without branches and definition.
        """

    async def save_operations(
        self,
        namespace: str,
        operations: Sequence[Operation],
        audit: AuditEntry | None = None,
    ) -> None:
        """Add to the catalogue, or renew what is there; durable on return.

        The audit entry is written in the same database transaction.
        """

    async def remove_operation(
        self, namespace: str, name: str, audit: AuditEntry
    ) -> bool:
        """Take an operation out of the catalogue, and write the audit entry in the
        same database transaction; whether it was there. If not, nothing is written.
        """

    async def list_operations(self, namespace: str) -> list[Operation]:
        """The catalogue, by name."""


class Participants(Protocol):
    """Whoever carries branches out."""

    def send(self, calls: Sequence[CallBranch]) -> None:
        """Ask; never blocks and never raises.

        Each call is answered exactly once through the callback that was given when
        this object was made, with the outcome ``Unknown`` when its time is up, its
        participant is not there, or its connection broke; and never, once this node
        leaves. A call that was made before may have to wait for its turn; it goes out
        as ``InTurn`` says then, and is dropped without an answer when that says so.
        """


OnReplies = Callable[[Sequence[tuple[Key, BranchReplied]]], None]
"""How outcomes come back: any number at a time, on the event loop."""


InTurn = Callable[[CallBranch], CallBranch | None]
"""A call that waited is about to go out: as it is to be made now, or ``None`` when it
is not wanted any more. On the event loop; it must not send anything."""


OnWaiting = Callable[[Sequence[CallBranch]], None]
"""Calls that have been waiting for their turn for long; they go on waiting."""


OnReturned = Callable[[str], None]
"""A participant was away from this node and is back; its name. On the event loop."""


class Link(Protocol):
    """One connection to one participant."""

    def send(self, calls: Sequence[tuple[int, CallBranch]]) -> None:
        """Hand over calls, each with the id that its answer will carry.

        Never blocks and never raises; a link that broke says so by being detached.
        """


class Definitions(Protocol):
    """Compiled sagas, cached on this node."""

    async def get(self, namespace: str, digest: str) -> SagaDefinition:
        """The saga with this digest. Raises ``NotFound`` or ``StoreUnavailable``."""
