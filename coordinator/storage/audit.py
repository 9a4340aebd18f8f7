"""The chain of operators' actions: each record seals the one before it.

Whoever changes, removes or inserts a record breaks the chain from there on, unless
all that follows is rewritten too; so the newest hash, kept elsewhere from time to
time, proves everything before it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from coordinator.core.model import Instant, Key
from coordinator.ports import AuditEntry

FIRST_PREVIOUS = "0" * 64
"""What the first record seals."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One operator's action, as it is stored.

    Attributes:
        number: from 1, without gaps.
        hash: over all other fields, and so over every record before this one.
    """

    number: int
    key: Key
    actor: str
    action: str
    reason: str
    at: Instant
    previous_hash: str
    hash: str


def append_record(last: AuditRecord | None, key: Key, entry: AuditEntry) -> AuditRecord:
    """The record that follows ``last`` in the chain."""
    number = last.number + 1 if last else 1
    previous_hash = last.hash if last else FIRST_PREVIOUS
    return AuditRecord(
        number,
        key,
        entry.actor,
        entry.action,
        entry.reason,
        entry.at,
        previous_hash,
        _seal(number, key, entry, previous_hash),
    )


def find_break(records: Iterable[AuditRecord]) -> int | None:
    """The number at which a chain, read from its first record, is broken, or None."""
    last: AuditRecord | None = None
    for record in records:
        entry = AuditEntry(record.actor, record.action, record.reason, record.at)
        if record != append_record(last, record.key, entry):
            return last.number + 1 if last else 1
        last = record
    return None


def _seal(number: int, key: Key, entry: AuditEntry, previous_hash: str) -> str:
    # A JSON list keeps the fields apart, whatever is written in them.
    fields = msgspec.json.encode((previous_hash, number, *key, entry))
    return sha256(fields).hexdigest()
