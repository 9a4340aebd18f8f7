"""How stored transactions are read; plain functions over a connection."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, bindparam, select

from coordinator.core.model import (
    Branch,
    GlobalTransaction,
    Instant,
    Key,
)
from coordinator.ports import JournalEntry
from coordinator.storage.audit import AuditRecord
from coordinator.storage.journal import read_journal
from coordinator.storage.sql import rows, tables

_KEYS_MAX = 512
"""Keys in one query: far below every database's limit of parameters, and one more
query for each further 512 costs nothing beside reading them."""

_HEADERS = tables.global_transactions.c
_BRANCHES = tables.branches.c
_JOURNAL = tables.journal.c
_AUDIT = tables.audit.c

HEADER_COLUMNS = [_HEADERS[name] for name in rows.HEADER_FIXED + rows.HEADER_MOVING]
_BRANCH_COLUMNS = [
    _BRANCHES[name]
    for name in rows.BRANCH_FIXED + rows.BRANCH_MOVING + rows.BRANCH_ADDED
]

_SELECT_HEADERS = select(*HEADER_COLUMNS).where(
    _HEADERS.namespace == bindparam("namespace"),
    _HEADERS.gid.in_(bindparam("gids", expanding=True)),
)
_SELECT_BRANCHES = (
    select(*_BRANCH_COLUMNS)
    .where(
        _BRANCHES.namespace == bindparam("namespace"),
        _BRANCHES.gid.in_(bindparam("gids", expanding=True)),
    )
    .order_by(_BRANCHES.gid, _BRANCHES.position)
)
_SELECT_ENTRIES = select(
    *(_HEADERS[name] for name in rows.HEADER_FIXED + rows.HEADER_GROWING)
).where(
    _HEADERS.namespace == bindparam("namespace"),
    _HEADERS.gid.in_(bindparam("gids", expanding=True)),
)
_SELECT_JOURNAL = select(tables.journal).where(
    _JOURNAL.namespace == bindparam("namespace"),
    _JOURNAL.gid.in_(bindparam("gids", expanding=True)),
)
_SELECT_REVISIONS = select(_HEADERS.namespace, _HEADERS.gid, _HEADERS.revision).where(
    _HEADERS.namespace == bindparam("namespace"),
    _HEADERS.gid.in_(bindparam("gids", expanding=True)),
)


def load(connection: Connection, keys: Sequence[Key]) -> list[GlobalTransaction]:
    """Those that exist, with their branches; in one transaction's view."""
    found: list[GlobalTransaction] = []
    for parameters in chunks(keys):
        headers = connection.execute(_SELECT_HEADERS, parameters).all()
        together = [rows.read_branches(row) for row in headers]
        apart: dict[Key, dict[str, Branch]] = {}
        if None in together:
            for row in connection.execute(_SELECT_BRANCHES, parameters):
                key, branch = rows.read_branch(row)
                apart.setdefault(key, {})[branch.spec.branch_id] = branch
        for row, branches in zip(headers, together, strict=True):
            its_own = apart.get(Key(row[0], row[1]), {})
            found.append(
                rows.read_header(row, its_own if branches is None else branches)
            )
    return found


def journals(
    connection: Connection, keys: Sequence[Key]
) -> dict[Key, list[JournalEntry]]:
    """The journals of those that exist, each in order; in one transaction's view."""
    found: dict[Key, list[JournalEntry]] = {}
    for parameters in chunks(keys):
        apart: dict[Key, list[tuple[int, Instant, str]]] = {}
        for namespace, gid, *entry in connection.execute(_SELECT_JOURNAL, parameters):
            apart.setdefault(Key(namespace, gid), []).append(tuple(entry))
        for *fixed, entries in connection.execute(_SELECT_ENTRIES, parameters):
            request = rows.read_request(fixed)
            its_own = apart.get(request.key, ())
            found[request.key] = read_journal(request, entries, its_own)
    return found


def stored_revisions(connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """The revision of each key that exists."""
    return {
        Key(namespace, gid): revision
        for parameters in chunks(keys)
        for namespace, gid, revision in connection.execute(
            _SELECT_REVISIONS, parameters
        )
    }


def audit_records(connection: Connection, after: int, limit: int) -> list[AuditRecord]:
    """The chain from the record that follows number ``after``."""
    statement = (
        select(tables.audit)
        .where(_AUDIT.number > after)
        .order_by(_AUDIT.number)
        .limit(limit)
    )
    return [_audit_record(*row) for row in connection.execute(statement)]


def latest_audit_record(connection: Connection) -> AuditRecord | None:
    """The newest record of the chain."""
    statement = select(tables.audit).order_by(_AUDIT.number.desc()).limit(1)
    row = connection.execute(statement).first()
    return _audit_record(*row) if row else None


def _audit_record(  # one argument a column, in their order
    number: int,
    namespace: str,
    gid: str,
    actor: str,
    action: str,
    reason: str,
    at: Instant,
    previous_hash: str,
    seal: str,
) -> AuditRecord:
    key = Key(namespace, gid)
    return AuditRecord(number, key, actor, action, reason, at, previous_hash, seal)


def chunks(keys: Sequence[Key]) -> Iterator[dict[str, Any]]:
    """The keys as parameters ``namespace`` and ``gids`` of one query after another."""
    by_namespace = attrgetter("namespace")
    for namespace, group in groupby(sorted(set(keys)), by_namespace):
        gids = [key.gid for key in group]
        for start in range(0, len(gids), _KEYS_MAX):
            page = gids[start : start + _KEYS_MAX]
            yield {"namespace": namespace, "gids": _padded(page)}


def _padded(gids: list[str]) -> list[str]:
    """As many as a power of two, the last one repeated: a dozen texts of statements
    in place of five hundred, so that each is compiled and planned once.
    """
    size = 1 << (len(gids) - 1).bit_length()
    return gids + gids[-1:] * (size - len(gids))
