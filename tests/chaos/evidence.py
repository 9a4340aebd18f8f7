"""The three logs, read by plain means into plain values, and written down as lines.

Nothing here uses the coordinator's code: a journal that only its writer can read proves
nothing. What is read is also kept as files, because databases end with the run.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from tests.chaos.history import Line
from tests.chaos.ledger import Account, Effect


@dataclass(frozen=True)
class Branch:
    """A participant's share, as the coordinator's table has it."""

    operation: str
    status: str

    @property
    def bank(self) -> str:
        """Who carries it out."""
        return self.operation.rpartition(".")[0]


@dataclass(frozen=True)
class Entry:
    """One commit of a transaction: its number, and the facts of it."""

    seq: int
    events: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Record:
    """A transaction, as the coordinator's database has it."""

    gid: str
    mode: str
    status: str
    decision: str
    branches: Mapping[str, Branch] = field(default_factory=dict)
    entries: Sequence[Entry] = ()


@dataclass(frozen=True)
class Evidence:
    """All that is judged.

    Attributes:
        lines: of the clients' histories.
        records: by gid.
        effects: of all banks, each bank's in the order in which they happened.
        accounts: of all banks.
    """

    lines: Sequence[Line]
    records: Mapping[str, Record]
    effects: Sequence[Effect]
    accounts: Sequence[Account]


_TRANSACTIONS = (
    "SELECT gid, mode, status, decision, branches, entries FROM global_transactions"
)
_BRANCHES = "SELECT gid, branch_id, operation, status FROM branches"
_JOURNAL = "SELECT gid, seq, events FROM journal"
_UNFINISHED = (
    "SELECT gid, attention_reason FROM global_transactions WHERE finished_at IS NULL"
)


def read_records(store: Connection) -> dict[str, Record]:
    """All transactions, by gid."""
    branches: dict[str, dict[str, Branch]] = defaultdict(dict)
    for gid, branch_id, operation, status in store.execute(text(_BRANCHES)):
        branches[gid][branch_id] = Branch(operation, status)
    entries: dict[str, list[Entry]] = defaultdict(list)
    for gid, seq, events in store.execute(text(_JOURNAL)):
        entries[gid].append(Entry(int(seq), json.loads(events)))
    found = {}
    for gid, mode, status, decision, few, first in store.execute(text(_TRANSACTIONS)):
        of_its_own = branches[gid] | _together(few)
        noted = [*_in_row(first), *entries.pop(gid, [])]
        noted.sort(key=attrgetter("seq"))
        found[gid] = Record(gid, mode, status, decision, of_its_own, noted)
    for gid, orphans in entries.items():
        found[gid] = Record(gid, "", "", "", {}, orphans)
    return found


def _together(text: str) -> dict[str, Branch]:
    """Branches that stand in their transaction's row."""
    return {
        branch["spec"]["branch_id"]: Branch(
            branch["spec"]["operation"], branch["status"]
        )
        for branch in json.loads(text or "[]")
    }


def _in_row(text: str) -> list[Entry]:
    """Entries that stand in their transaction's row, a line each."""
    lines = map(json.loads, filter(None, text.split("\n")))
    return [Entry(seq, events) for seq, _at, events in lines]


def read_unfinished(store: Connection) -> dict[str, bool]:
    """The gids of transactions that have not ended, and whether each is quarantined."""
    rows = store.execute(text(_UNFINISHED))
    return {gid: reason.startswith("QUARANTINED") for gid, reason in rows}


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Files of JSON lines, for whoever looks into a failure."""
    _write(folder / "journal.jsonl", map(asdict, evidence.records.values()))
    _write(folder / "ledger.jsonl", (e._asdict() for e in evidence.effects))
    _write(folder / "accounts.jsonl", (a._asdict() for a in evidence.accounts))


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
