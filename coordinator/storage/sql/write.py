"""How a batch becomes durable: a handful of statements, whatever its size.

Theory. Every header is written under its guard: an UPDATE carries the revision that
was read in its WHERE, an INSERT the primary key. All statements run first, as if no
guard could fail, for that is the rule; the number of rows they changed proves it.
If the number is short, or a key exists, everything is rolled back; then the stored
revisions tell who lost, and the rest is written again, still guarded, because
between the reading and the writing another node may have come by. So correctness
rests on one-row compare-and-set and on unique keys alone, at READ COMMITTED too.

All functions here are plain and synchronous; who calls them decides on which thread
or greenlet. A connection that is passed in has no transaction begun.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter

from msgspec import Struct
from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import IntegrityError

from coordinator.core.apart import is_entry_apart
from coordinator.core.errors import InvariantViolated, StoreUnavailable
from coordinator.core.model import GlobalTransaction, Key
from coordinator.ports import AuditEntry, Change, SweepRow
from coordinator.storage.audit import AuditRecord, append_record
from coordinator.storage.journal import journal_entry, journal_line
from coordinator.storage.sql import rows, tables
from coordinator.storage.sql.batch import insert_batch, update_batch
from coordinator.storage.sql.flavour import Flavour
from coordinator.storage.sql.read import latest_audit_record, stored_revisions
from coordinator.storage.sql.rows import Row

_ROUND_MAX = 10
"""Rounds in which others may come between before the batch is given up; each round
that fails means that somebody else's write went through."""

HEADER_KEY = ("namespace", "gid")
CLAIMED = ("revision", "owner", "takeovers")

_key_of = attrgetter("after.request.key")


class Statements:
    """The hot statements, compiled once for a database."""

    def __init__(self, dialect: Dialect, flavour: Flavour) -> None:
        self.insert_header = insert_batch(dialect, tables.global_transactions)
        self.update_header = update_batch(
            flavour,
            tables.global_transactions,
            rows.HEADER_MOVING + rows.HEADER_GROWING,
            (*HEADER_KEY, "revision"),
        )
        self.insert_branch = insert_batch(dialect, tables.branches)
        self.update_branch = update_batch(
            flavour,
            tables.branches,
            rows.BRANCH_MOVING,
            (*HEADER_KEY, "branch_id"),
        )
        self.insert_journal = insert_batch(dialect, tables.journal)
        self.insert_audit = insert_batch(dialect, tables.audit)
        self.claim = update_batch(
            flavour,
            tables.global_transactions,
            CLAIMED,
            (*HEADER_KEY, "revision"),
        )


def write(
    connection: Connection, statements: Statements, changes: Sequence[Change]
) -> list[Key]:
    """Make all changes whose guard holds durable; return the keys of the others."""
    planned = plan(changes)
    guards = {key: plan.revision for key, plan in planned.items()}
    asked = [(c.key, c.audit) for c in changes if c.audit is not None]

    def apply(keys: Sequence[Key]) -> bool:
        audits = [(key, entry) for key, entry in asked if key in keys]
        return _write_all(connection, statements, [planned[k] for k in keys], audits)

    return settle(connection, guards, apply)


def plan(changes: Sequence[Change]) -> dict[Key, "Planned"]:
    """The rows of a commit, in the order in which all others lock them."""
    planned = {_key_of(c): _planned(c) for c in sorted(changes, key=_key_of)}
    if len(planned) < len(changes):
        raise InvariantViolated("two changes of one transaction in one commit")
    return planned


def claim(
    connection: Connection,
    statements: Statements,
    listed: Sequence[SweepRow],
    owner: str,
) -> list[Key]:
    """Make ``owner`` the owner where the revision holds; return the keys it got."""
    listed_by_key = by_order_of_locks(listed)
    guards = {key: row.revision for key, row in listed_by_key.items()}

    def take(keys: Sequence[Key]) -> bool:
        claimed = [claimed_row(listed_by_key[key], owner) for key in keys]
        return statements.claim.run(connection, claimed) == len(keys)

    lost = set(settle(connection, guards, take))
    return [key for key in guards if key not in lost]


def by_order_of_locks(listed: Sequence[SweepRow]) -> dict[Key, SweepRow]:
    """Of two rows of one transaction the later listed one counts."""
    return dict(sorted({row.key: row for row in listed}.items()))


def claimed_row(row: SweepRow, owner: str) -> Row:
    """What ``CLAIMED`` shall be, and the guard."""
    return (row.revision + 1, owner, row.takeovers, *row.key, row.revision)


def settle(
    connection: Connection,
    guards: Mapping[Key, int],
    apply: Callable[[Sequence[Key]], bool],
) -> list[Key]:
    """Apply to all keys whose stored revision is their guard; return the others.

    Args:
        guards: the revision that each row must have; 0 = there is no row.
        apply: writes for these keys and tells whether every guard held. What it
            wrote is rolled back when it says no, or meets a key that exists.
    """
    left, lost = list(guards), list[Key]()
    key_exists = False
    for attempt in range(_ROUND_MAX):
        with connection.begin() as transaction:
            if attempt:
                stored = stored_revisions(connection, left)
                lost += [key for key in left if stored.get(key, 0) != guards[key]]
                left = [key for key in left if stored.get(key, 0) == guards[key]]
            try:
                if not left or apply(left):
                    transaction.commit()
                    return lost
                key_exists = False
            except IntegrityError:
                key_exists = True  # The next round finds out whose.
            transaction.rollback()
    if key_exists:
        raise InvariantViolated("rows exist that no stored transaction accounts for")
    raise StoreUnavailable("other nodes keep writing what this one wants to write")


class Planned(Struct, gc=False):
    """A change as rows, made before the database is locked.

    Attributes:
        revision: that the stored row must have; 0 = there is no row.
    """

    revision: int
    header: Row
    journal: Row | None
    branches_new: list[Row] | tuple[()] = ()
    branches_changed: list[Row] | tuple[()] = ()


def _planned(change: Change) -> Planned:
    before, after = change.before, change.after
    request = after.request
    key = request.key
    moving = rows.header_moving(after, change.due_at)
    line, journal = "", None
    facts = journal_entry(change)
    if facts is not None:
        if is_entry_apart(after, len(facts)):
            journal = (*key, after.journal_seq, after.updated_at, facts)
        else:
            line = journal_line(after.journal_seq, after.updated_at, facts)
    if before is None:
        revision, header = 0, (*rows.header_fixed(request), *moving, line)
    else:
        revision = before.revision
        header = (*moving, line, *key, revision)
    planned = Planned(revision, header, journal)
    if after.branches_apart:
        _plan_branches(planned, before, after)
    return planned


def _plan_branches(
    planned: Planned, before: GlobalTransaction | None, after: GlobalTransaction
) -> None:
    """Their rows; all of them are new when they leave their transaction's."""
    known = before.branches if before and before.branches_apart else {}
    key = after.key
    new, changed = list[Row](), list[Row]()
    for number, (branch_id, branch) in enumerate(after.branches.items()):
        old = known.get(branch_id)
        if old is None:
            fixed = rows.branch_fixed(key, branch.spec, number)
            added = rows.branch_added(branch.spec)
            new.append((*fixed, *rows.branch_moving(branch), *added))
        elif old is not branch and old != branch:
            changed.append((*rows.branch_moving(branch), *key, branch_id))
    planned.branches_new, planned.branches_changed = new, changed


def _write_all(
    connection: Connection,
    statements: Statements,
    plans: Sequence[Planned],
    audits: Sequence[tuple[Key, AuditEntry]],
) -> bool:
    """Write everything; whether all guards held. Raises ``IntegrityError``."""
    moved, begun, branches_new, branches_changed, entries = grouped(plans)
    if statements.update_header.run(connection, moved) != len(moved):
        return False
    statements.insert_header.run(connection, begun)
    statements.insert_branch.run(connection, branches_new)
    statements.update_branch.run(connection, branches_changed)
    statements.insert_journal.run(connection, entries)
    _append_audit(connection, statements, audits)
    return True


def grouped(plans: Collection[Planned]) -> tuple[list[Row], ...]:
    """Rows by statement, in the order in which everybody takes the locks."""
    return (
        [plan.header for plan in plans if plan.revision],
        [plan.header for plan in plans if not plan.revision],
        [row for plan in plans for row in plan.branches_new],
        [row for plan in plans for row in plan.branches_changed],
        [plan.journal for plan in plans if plan.journal is not None],
    )


def _append_audit(
    connection: Connection,
    statements: Statements,
    entries: Sequence[tuple[Key, AuditEntry]],
) -> None:
    if not entries:
        return
    last: AuditRecord | None = latest_audit_record(connection)
    records: list[Row] = []
    for key, entry in entries:
        last = append_record(last, key, entry)
        records.append(
            (
                last.number,
                *key,
                last.actor,
                last.action,
                last.reason,
                last.at,
                last.previous_hash,
                last.hash,
            )
        )
    statements.insert_audit.run(connection, records)
