"""The reference store: what the ports promise, in a few dictionaries.

Tests and the simulator run on it, so it is deterministic: no thread, no clock, and
nothing waits but where a test holds a commit back to crash in the middle of it. Data
outlive their handle: :meth:`MemoryStore.reopen` is what a restart finds, and several
handles on the same data are several nodes.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter

from coordinator.core import retention
from coordinator.core.changed import changed
from coordinator.core.errors import InvariantViolated, StoreUnavailable
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Key,
    Operation,
)
from coordinator.core.quarantine import takeovers_after
from coordinator.core.retention import OldRow
from coordinator.core.sweep import Ask, Gap, Line, Place
from coordinator.ports import (
    AuditEntry,
    Change,
    History,
    JournalEntry,
    NodeRow,
    Queries,
    Retention,
    Store,
    StoredDefinition,
    SweepRow,
    TransactionFilter,
)
from coordinator.storage.audit import AuditRecord, append_record
from coordinator.storage.journal import journal_entry, read_journal

LIST_MAX = 1_000
"""Rows of one listing, whoever asks."""


@dataclass(slots=True)
class _Data:
    """What is on the disk that this store does not have."""

    transactions: dict[Key, GlobalTransaction] = field(default_factory=dict)
    due_at: dict[Key, Instant | None] = field(default_factory=dict)
    takeovers: dict[Key, int] = field(default_factory=dict)
    journal: dict[Key, list[tuple[int, Instant, str]]] = field(default_factory=dict)
    audit: list[AuditRecord] = field(default_factory=list)
    definitions: dict[tuple[str, str, str], StoredDefinition] = field(
        default_factory=dict
    )
    operations: dict[tuple[str, str], Operation] = field(default_factory=dict)
    nodes: dict[str, NodeRow] = field(default_factory=dict)


@dataclass(slots=True)
class _Held:
    """A commit that was called and has not returned."""

    changes: Sequence[Change]
    returned: asyncio.Future[list[Key]]


class MemoryStore(Store, Queries, Retention):
    """See the ports for what each method promises; one object serves all.

    Attributes:
        holding: while true, a commit does not return before :meth:`release`,
            :meth:`lose` or :meth:`crash` says how it went.
    """

    def __init__(self, *, holding: bool = False) -> None:
        self.holding = holding
        self._data = _Data()
        self._held: list[_Held] = []
        self._arrived = asyncio.Event()
        self._gone = ""

    # ---- What a test does to it ---------------------------------------------------

    def reopen(self) -> "MemoryStore":
        """A fresh handle on the durable data, as another process would have it."""
        store = MemoryStore()
        store._data = self._data
        return store

    def held(self) -> list[Sequence[Change]]:
        """The commits that have not returned, the oldest first."""
        return [held.changes for held in self._held]

    async def until_held(self) -> None:
        """Return when at least one commit is held."""
        while not self._held:
            self._arrived.clear()
            await self._arrived.wait()

    def release(self) -> None:
        """Carry out all held commits, in order, and let them return."""
        for held in self._take():
            _carry_out(self._data, held)

    def lose(self, *, kept: bool) -> None:
        """Break the connection under all held commits; the handle lives on (L6).

        Args:
            kept: whether they became durable; the caller cannot tell.
        """
        for held in self._take():
            _lose(self._data, held, kept=kept)

    def crash(self, *, kept: Callable[[Sequence[Change]], bool] | bool = False) -> None:
        """End this handle: held commits fail, and so does every later call.

        Args:
            kept: whether a held commit became durable, or who decides it for each.
        """
        self._gone = "the store crashed"
        for held in self._take():
            keep = kept if isinstance(kept, bool) else kept(held.changes)
            _lose(self._data, held, kept=keep)

    # ---- Store --------------------------------------------------------------------

    async def load(self, keys: Sequence[Key]) -> list[GlobalTransaction]:
        """The stored states of those that exist."""
        stored = self._open().transactions
        return [stored[key] for key in dict.fromkeys(keys) if key in stored]

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        """Make all changes whose guard holds durable; return the others' keys."""
        data = self._open()
        if not self.holding:
            return _apply(data, changes)
        loop = asyncio.get_running_loop()
        held = _Held(changes, loop.create_future())
        self._held.append(held)
        self._arrived.set()
        return await held.returned

    async def lines(self, gaps: Sequence[Gap], *, limit: int) -> list[Line]:
        """The lines in these gaps that have anything unfinished, in order."""
        data = self._open()
        there = sorted({_line(data, tx) for tx in _unfinished(data)})
        found = [
            line
            for gap in gaps
            for line in there
            if line > gap.after
            and (line.owner < gap.below or line.owner == gap.after.owner)
        ]
        return found[:limit]

    async def unfinished(
        self, asks: Sequence[Ask], *, due_before: Instant
    ) -> list[SweepRow]:
        """Unfinished rows that are due, line by line, the longest due first."""
        data = self._open()
        lines: dict[Line, list[tuple[Place, SweepRow]]] = {}
        for tx in _unfinished(data):
            due_at = data.due_at[tx.key]
            if due_at is not None and due_at <= due_before:
                line = _line(data, tx)
                row = SweepRow(tx.key, tx.revision, tx.owner, due_at, line.takeovers)
                lines.setdefault(line, []).append((Place(due_at, tx.key.gid), row))
        found: list[SweepRow] = []
        for line, after, skip, limit in asks:
            there = sorted(lines.get(line, ()), key=itemgetter(0))
            rows = [row for place, row in there if after is None or place > after]
            found += rows[skip : skip + limit]
        return found

    async def claim(self, rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        """Become the owner of each row whose revision still holds."""
        data = self._open()
        stored = data.transactions
        claimed = []
        # Of two rows of one transaction the later listed one counts.
        for key, row in {row.key: row for row in rows}.items():
            tx = stored.get(key)
            if tx is not None and tx.revision == row.revision:
                stored[key] = changed(tx, owner=owner, revision=row.revision + 1)
                data.takeovers[key] = row.takeovers
                claimed.append(key)
        return claimed

    async def beat(self, node: NodeRow) -> list[NodeRow]:
        """Store this node's heartbeat and return all nodes' rows."""
        nodes = self._open().nodes
        nodes[node.node_id] = node
        return [nodes[node_id] for node_id in sorted(nodes)]

    async def forget_node(self, node_id: str) -> None:
        """Remove a node's row."""
        self._open().nodes.pop(node_id, None)

    async def close(self) -> None:
        """End this handle; commits that are held fail and are not durable."""
        if not self._gone:
            self.crash()
            self._gone = "the store was closed"

    # ---- Retention ----------------------------------------------------------------

    async def old(
        self, *, created_before: Instant, after: OldRow | None, limit: int
    ) -> list[OldRow]:
        """Transactions that began before an instant, the oldest first."""
        found = [
            OldRow(
                key,
                tx.revision,
                tx.request.created_at,
                tx.finished_at,
                tx.attention_since,
                tx.request.depth,
                1 + tx.branches_apart * len(tx.branches) + tx.journal_seq,
            )
            for key, tx in self._open().transactions.items()
            if tx.request.created_at < created_before
        ]
        found.sort(key=_place)
        shown = 0 if after is None else bisect_right(found, _place(after), key=_place)
        return found[shown : shown + limit]

    async def histories(self, keys: Sequence[Key]) -> list[History]:
        """All of those that exist."""
        return [
            History(tx, tuple(await self.journal(tx.key)))
            for tx in await self.load(keys)
        ]

    async def remove(self, rows: Sequence[OldRow]) -> list[Key]:
        """Remove what has finished; return the keys of what is not as it was."""
        data = self._open()
        lost = []
        for key, revision in retention.guards(rows).items():
            tx = data.transactions.get(key)
            if tx is None or tx.revision != revision:
                lost.append(key)
                continue
            del data.transactions[key], data.due_at[key], data.journal[key]
        return lost

    # ---- Queries ------------------------------------------------------------------

    async def list_transactions(
        self, what: TransactionFilter
    ) -> list[GlobalTransaction]:
        """Newest first; without branches and definition."""
        found = [
            changed(tx, branches={}, open={})
            for tx in self._open().transactions.values()
            if _is_listed(tx, what)
        ]
        found.sort(key=_age, reverse=True)
        return found[: max(1, min(what.limit, LIST_MAX))]

    async def journal(self, key: Key) -> list[JournalEntry]:
        """The journal of one transaction, in order of ``seq``."""
        data = self._open()
        tx = data.transactions.get(key)
        return read_journal(tx.request, "", data.journal.get(key, ())) if tx else []

    async def publish(self, definition: StoredDefinition) -> StoredDefinition:
        """Store a definition unless its name and version are taken."""
        key = (definition.namespace, definition.name, definition.version)
        return self._open().definitions.setdefault(key, definition)

    async def find_definition(
        self, namespace: str, name: str, version: str
    ) -> StoredDefinition | None:
        """One version, or the one published last."""
        if version != "latest":
            return self._open().definitions.get((namespace, name, version))
        versions = [d for d in self._published(namespace) if d.name == name]
        return versions[-1] if versions else None

    async def find_definition_by_digest(
        self, namespace: str, digest: str
    ) -> StoredDefinition | None:
        """What a running saga is pinned to."""
        found = [d for d in self._published(namespace) if d.digest == digest]
        return min(found, key=attrgetter("name"), default=None)

    async def list_definitions(
        self,
        namespace: str,
        *,
        name: str = "",
        after: tuple[str, str] | None = None,
        limit: int = LIST_MAX,
    ) -> list[StoredDefinition]:
        """Names and versions, newest first within a name."""
        newest_first = reversed(self._published(namespace))
        found = sorted(newest_first, key=attrgetter("name"))
        if after is not None:
            shown = [(d.name, d.version) for d in found]
            start = shown.index(after) + 1 if after in shown else 0
            found = [d for d in found[start:] if start or d.name > after[0]]
        return [d for d in found if name in ("", d.name)][
            : max(1, min(limit, LIST_MAX))
        ]

    async def unfinished_with(
        self,
        namespace: str,
        *,
        operations: Collection[str],
        digests: Collection[str],
        limit: int,
    ) -> list[GlobalTransaction]:
        """Unfinished transactions that name an operation or run a definition."""
        found = [
            changed(tx, branches={}, open={})
            for tx in self._open().transactions.values()
            if tx.key.namespace == namespace
            and tx.finished_at is None
            and (
                tx.request.definition_digest in digests
                or any(b.spec.operation in operations for b in tx.branches.values())
            )
        ]
        found.sort(key=_age, reverse=True)
        return found[: max(1, min(limit, LIST_MAX))]

    async def save_operations(
        self,
        namespace: str,
        operations: Sequence[Operation],
        audit: AuditEntry | None = None,
    ) -> None:
        """Add to the catalogue, or renew what is there."""
        data = self._open()
        for operation in operations:
            data.operations[namespace, operation.name] = operation
        if audit is not None:
            _append_audit(data, Key(namespace, ""), audit)

    async def remove_operation(
        self, namespace: str, name: str, audit: AuditEntry
    ) -> bool:
        """Take an operation out of the catalogue; whether it was there."""
        data = self._open()
        if data.operations.pop((namespace, name), None) is None:
            return False
        _append_audit(data, Key(namespace, ""), audit)
        return True

    async def list_operations(self, namespace: str) -> list[Operation]:
        """The catalogue, by name."""
        stored = self._open().operations
        return [stored[key] for key in sorted(stored) if key[0] == namespace]

    async def audit_trail(
        self, *, after: int = 0, limit: int = LIST_MAX
    ) -> list[AuditRecord]:
        """Operators' actions of all namespaces, from the one after number ``after``."""
        return self._open().audit[after : after + limit]

    # ---- Inside -------------------------------------------------------------------

    def _open(self) -> _Data:
        if self._gone:
            raise StoreUnavailable(self._gone)
        return self._data

    def _published(self, namespace: str) -> list[StoredDefinition]:
        """In order of publication: dictionaries keep it."""
        stored = self._open().definitions.values()
        return [d for d in stored if d.namespace == namespace]

    def _take(self) -> list[_Held]:
        held, self._held = self._held, []
        return held


def _carry_out(data: _Data, held: _Held) -> None:
    # A caller that gave up waiting does not undo a commit.
    try:
        conflicts = _apply(data, held.changes)
    except InvariantViolated as error:
        if not held.returned.done():
            held.returned.set_exception(error)
    else:
        if not held.returned.done():
            held.returned.set_result(conflicts)


def _lose(data: _Data, held: _Held, *, kept: bool) -> None:
    if kept:
        _apply(data, held.changes)
    if not held.returned.done():
        held.returned.set_exception(StoreUnavailable())


def _apply(data: _Data, changes: Sequence[Change]) -> list[Key]:
    """All changes whose guard holds, or, when one of them is a bug, none at all."""
    entries = {change.key: journal_entry(change) for change in changes}
    if len(entries) < len(changes):
        raise InvariantViolated("two changes of one transaction in one commit")
    conflicts = []
    for change in changes:
        key, before, after = change.key, change.before, change.after
        stored = data.transactions.get(key)
        if (stored.revision if stored else 0) != (before.revision if before else 0):
            conflicts.append(key)
            continue
        is_saga = after.definition is not None
        data.transactions[key] = changed(after, definition=None) if is_saga else after
        data.due_at[key] = change.due_at
        data.takeovers[key] = takeovers_after(after)
        if (text := entries[key]) is not None:
            entry = (after.journal_seq, after.updated_at, text)
            data.journal.setdefault(key, []).append(entry)
        if change.audit is not None:
            _append_audit(data, key, change.audit)
    return conflicts


def _append_audit(data: _Data, key: Key, entry: AuditEntry) -> None:
    last = data.audit[-1] if data.audit else None
    data.audit.append(append_record(last, key, entry))


def _unfinished(data: _Data) -> Iterator[GlobalTransaction]:
    return (tx for tx in data.transactions.values() if tx.finished_at is None)


def _line(data: _Data, tx: GlobalTransaction) -> Line:
    return Line(tx.owner, tx.key.namespace, data.takeovers.get(tx.key, 0))


def _place(row: OldRow) -> tuple[str, Instant, str]:
    """Where it stands in a walk."""
    return (row.key.namespace, row.created_at, row.key.gid)


def _is_listed(tx: GlobalTransaction, what: TransactionFilter) -> bool:
    return (
        tx.key.namespace == what.namespace
        and (not what.statuses or tx.status in what.statuses)
        and (not what.name or tx.request.name == what.name)
        and (not what.attention or tx.attention_since is not None)
        and (what.before is None or _age(tx) < what.before)
    )


def _age(tx: GlobalTransaction) -> tuple[Instant, str]:
    return tx.request.created_at, tx.key.gid
