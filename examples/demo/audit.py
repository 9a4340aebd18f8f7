"""The audit: reads every database itself and compares what it finds.

It shares no code with what it judges: the standard library's sqlite3 and the
tables. It believes the triggers' ``effects``, not the handlers; the coordinator's
rows, not its answers; and holds what the clients were told against both.

What is checked, and the name a violation carries:

==========  ======================================================================
MONEY       no cent appeared or vanished; balances follow from the effects
FROZEN      nothing is left frozen, held or reserved without a transaction that ended
ENDED       every global transaction is at one of its proper ends
DECISION    the end agrees with the decision, and the branches with the end
JOURNAL     every journal is gapless from 1
EFFECT      every branch had exactly the effects that the end demands, each once
UNKNOWN     no effect of a transaction or branch that the coordinator does not know
HISTORY     every client was told the truth, and nothing it was told is lost
UNREADABLE  a database is missing or damaged, so that nothing can be said
==========  ======================================================================
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

BANKS = ("bank-a", "bank-b")
SERVICES = ("risk", "treasury", "ledger", "payout")
WITHOUT_COMPENSATION = frozenset({"risk.check"})
"""Of these an effect stays when the saga is compensated: the definition says so."""

COMMIT_ENDS = frozenset({"CONFIRMED", "COMPLETED"})
ABORT_ENDS = frozenset({"CANCELLED", "COMPENSATED"})
BRANCH_ENDS: Mapping[str, frozenset[str]] = {
    "CONFIRMED": frozenset({"CONFIRMED"}),
    "CANCELLED": frozenset({"CANCELLED", "REFUSED"}),
    "COMPLETED": frozenset({"SUCCEEDED"}),
    "COMPENSATED": frozenset({"COMPENSATED", "REFUSED", "ABANDONED", "SUCCEEDED"}),
}
FULL_EFFECTS: Mapping[str, Mapping[str, int]] = {
    "CONFIRMED": {"TRY": 1, "CONFIRM": 1},
    "CANCELLED": {"TRY": 1, "CANCEL": 1},
    "COMPLETED": {"ACTION": 1},
    "COMPENSATED": {"ACTION": 1, "COMPENSATION": 1},
}
PARTICIPANT_COUNT = {"TCC": len(BANKS), "SAGA": len(SERVICES)}


class Violation(NamedTuple):
    """Something that must never be. ``gid`` is empty when it is of none alone."""

    rule: str
    gid: str
    text: str


class Effect(NamedTuple):
    """One business change, as a trigger in a participant's database saw it."""

    participant: str
    gid: str
    branch_id: str
    phase: str
    amount: int


class Branch(NamedTuple):
    """A branch, as the coordinator stored it."""

    operation: str
    status: str

    @property
    def participant(self) -> str:
        """Who carried it out."""
        return self.operation.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Transaction:
    """A global transaction, as the coordinator stored it."""

    gid: str
    mode: str
    status: str
    decision: str
    branches: Mapping[str, Branch]


class Told(NamedTuple):
    """What clients asked for, and all that they were told of one transaction."""

    gid: str
    asked_commit: bool
    statuses: frozenset[str]


class Account(NamedTuple):
    """An account as stored, and what its effects say it should be."""

    name: str
    opening: int
    available: int
    frozen: int
    debits: Mapping[str, int]
    credits: Mapping[str, int]


class Fund(NamedTuple):
    """The treasury's fund."""

    opening: int
    available: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the audit found.

    Attributes:
        ends: status to the number of global transactions.
        modes: mode to the number of global transactions.
    """

    violations: tuple[Violation, ...]
    ends: Mapping[str, int]
    modes: Mapping[str, int]


class Unreadable(Exception):
    """A database is missing, or is not what it should be."""


def audit(directory: Path) -> Report:
    """Read all databases and histories below ``directory`` and judge them."""
    try:
        return judge(directory)
    except Unreadable as error:
        return Report((Violation("UNREADABLE", "", str(error)),), {}, {})


def judge(directory: Path) -> Report:
    """What :func:`audit` finds. Raises :class:`Unreadable`."""
    transactions = read_transactions(directory)
    effects = [e for name in (*BANKS, *SERVICES) for e in read_effects(directory, name)]
    accounts = {name: read_accounts(directory, name) for name in BANKS}
    violations = (
        *check_ends(transactions.values()),
        *check_journal(read_journal(directory), transactions),
        *check_effects(transactions, effects),
        *check_history(transactions, read_histories(directory)),
        *check_accounts(accounts),
        *check_open_holds(directory),
        *check_loans(read_fund(directory), effects),
    )
    return Report(
        violations,
        Counter(t.status for t in transactions.values()),
        Counter(t.mode for t in transactions.values()),
    )


# ---- Readers ----------------------------------------------------------------------


def read_rows(directory: Path, name: str, query: str) -> list[tuple[object, ...]]:
    """All rows of a query against one member's database."""
    path = directory / f"{name}.sqlite"
    if not path.exists():
        raise Unreadable(f"there is no database {path}")
    with closing(sqlite3.connect(path)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.Error as error:
            raise Unreadable(f"{path}: {error}") from error


def read_transactions(directory: Path) -> dict[str, Transaction]:
    """All global transactions with their branches, by gid."""
    branches: dict[str, dict[str, Branch]] = defaultdict(dict)
    for gid, branch_id, operation, status in read_rows(
        directory,
        "coordinator",
        "SELECT gid, branch_id, operation, status FROM branches",
    ):
        branches[str(gid)][str(branch_id)] = Branch(str(operation), str(status))
    rows = read_rows(
        directory,
        "coordinator",
        "SELECT gid, mode, status, decision, branches FROM global_transactions",
    )
    found = {}
    for row in rows:
        gid, mode, status, decision, together = map(str, row)
        branches[gid] |= read_together(together)
        found[gid] = Transaction(gid, mode, status, decision, branches[gid])
    return found


def read_together(text: str) -> dict[str, Branch]:
    """Branches that stand in their transaction's row, as JSON."""
    return {
        branch["spec"]["branch_id"]: Branch(
            branch["spec"]["operation"], branch["status"]
        )
        for branch in json.loads(text or "[]")
    }


def read_journal(directory: Path) -> dict[str, list[int]]:
    """The sequence numbers in each journal, in order."""
    numbers: dict[str, list[int]] = defaultdict(list)
    query = "SELECT gid, seq FROM journal"
    for gid, seq in read_rows(directory, "coordinator", query):
        numbers[str(gid)].append(int(str(seq)))
    query = "SELECT gid, entries FROM global_transactions"
    for gid, lines in read_rows(directory, "coordinator", query):
        for line in filter(None, str(lines).split("\n")):
            seq, _at, _events = json.loads(line)
            numbers[str(gid)].append(seq)
    return {gid: sorted(found) for gid, found in numbers.items()}


def read_effects(directory: Path, participant: str) -> list[Effect]:
    """What happened at one participant, in order."""
    query = "SELECT gid, branch_id, phase, amount FROM effects ORDER BY effect_id"
    return [
        Effect(participant, str(gid), str(branch_id), str(phase), int(str(amount)))
        for gid, branch_id, phase, amount in read_rows(directory, participant, query)
    ]


def read_accounts(directory: Path, bank: str) -> list[Account]:
    """All accounts of a bank, with the sums of their effects by phase."""
    sums: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for account, direction, phase, amount in read_rows(
        directory,
        bank,
        "SELECT account, direction, phase, sum(amount) FROM effects GROUP BY 1, 2, 3",
    ):
        sums[str(account), str(direction)][str(phase)] = int(str(amount))
    query = "SELECT account, opening, available, frozen FROM accounts ORDER BY account"
    return [
        Account(
            str(name),
            int(str(opening)),
            int(str(available)),
            int(str(frozen)),
            sums[str(name), "DEBIT"],
            sums[str(name), "CREDIT"],
        )
        for name, opening, available, frozen in read_rows(directory, bank, query)
    ]


def read_fund(directory: Path) -> Fund:
    """The one fund of the treasury."""
    query = "SELECT sum(opening), sum(available), sum(reserved) FROM funds"
    ((opening, available, reserved),) = read_rows(directory, "treasury", query)
    return Fund(int(str(opening)), int(str(available)), int(str(reserved)))


def read_histories(directory: Path) -> dict[str, Told]:
    """What all clients wrote down, by gid; an empty status says nothing."""
    told: dict[str, Told] = {}
    for path in sorted(directory.glob("history*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            gid, status = record["gid"], record["status"]
            before = told.get(gid, Told(gid, asked_commit=False, statuses=frozenset()))
            told[gid] = Told(
                gid,
                before.asked_commit or bool(record["asked_commit"]),
                before.statuses | ({status} if status else set()),
            )
    return told


# ---- Checks -----------------------------------------------------------------------


def check_ends(transactions: Iterable[Transaction]) -> Iterator[Violation]:
    """ENDED and DECISION."""
    for tx in transactions:
        if tx.status not in BRANCH_ENDS:
            yield Violation("ENDED", tx.gid, f"is {tx.status}")
            continue
        decision = "COMMIT" if tx.status in COMMIT_ENDS else "ABORT"
        if tx.decision != decision:
            yield Violation("DECISION", tx.gid, f"{tx.status} after {tx.decision}")
        for branch_id, branch in tx.branches.items():
            if branch.status not in BRANCH_ENDS[tx.status]:
                text = f"{tx.status}, but branch {branch_id} is {branch.status}"
                yield Violation("DECISION", tx.gid, text)
        participants = {b.participant for b in tx.branches.values()}
        wanted = PARTICIPANT_COUNT[tx.mode]
        if tx.status in COMMIT_ENDS and len(participants) != wanted:
            text = f"{tx.status} with {len(participants)} of {wanted} participants"
            yield Violation("DECISION", tx.gid, text)


def check_journal(
    journals: Mapping[str, list[int]], transactions: Mapping[str, Transaction]
) -> Iterator[Violation]:
    """JOURNAL."""
    for gid in transactions.keys() | journals.keys():
        numbers = journals.get(gid, [])
        if not numbers or numbers != list(range(1, len(numbers) + 1)):
            yield Violation("JOURNAL", gid, f"sequence is {numbers}")


def check_effects(
    transactions: Mapping[str, Transaction], effects: Iterable[Effect]
) -> Iterator[Violation]:
    """EFFECT and UNKNOWN."""
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    amounts: dict[str, set[int]] = defaultdict(set)
    for effect in effects:
        key = (effect.gid, effect.branch_id, effect.participant)
        counts[key][effect.phase] += 1
        amounts[effect.gid].add(abs(effect.amount))
    for tx in transactions.values():
        for branch_id, branch in tx.branches.items():
            found = counts.pop((tx.gid, branch_id, branch.participant), Counter())
            if tx.status in FULL_EFFECTS and not _is_proper(tx.status, branch, found):
                text = f"{tx.status}, but {branch.operation} had {dict(found)}"
                yield Violation("EFFECT", tx.gid, text)
    for (gid, branch_id, participant), found in counts.items():
        text = f"{participant} had {dict(found)} for an unknown branch {branch_id}"
        yield Violation("UNKNOWN", gid, text)
    for gid, values in amounts.items():
        if len(values) > 1:
            yield Violation("EFFECT", gid, f"different amounts {sorted(values)}")


def _is_proper(status: str, branch: Branch, found: Mapping[str, int]) -> bool:
    full = FULL_EFFECTS[status]
    if status in COMMIT_ENDS:
        return found == full
    if branch.operation in WITHOUT_COMPENSATION:
        full = {"ACTION": 1}
    return not found or found == full


def check_history(
    transactions: Mapping[str, Transaction], histories: Mapping[str, Told]
) -> Iterator[Violation]:
    """HISTORY."""
    for told in histories.values():
        tx = transactions.get(told.gid)
        status = tx.status if tx else "not there"
        for lie in sorted(told.statuses - {status}):
            text = f"a client was told {lie}, and it is {status}"
            yield Violation("HISTORY", told.gid, text)
        if status in COMMIT_ENDS and not told.asked_commit:
            yield Violation("HISTORY", told.gid, f"{status}, which nobody asked for")
    for gid in transactions.keys() - histories.keys():
        yield Violation("HISTORY", gid, "no client asked for it")


def check_accounts(banks: Mapping[str, Iterable[Account]]) -> Iterator[Violation]:
    """MONEY and FROZEN, account by account and in all."""
    difference = 0
    for bank, accounts in banks.items():
        for account in accounts:
            where = f"{bank} {account.name}"
            debits, credits_ = account.debits, account.credits
            held = _sum(debits, "TRY") - _sum(debits, "CONFIRM", "CANCEL")
            available = (
                account.opening
                + _sum(credits_, "CONFIRM")
                - _sum(debits, "TRY")
                + _sum(debits, "CANCEL")
            )
            if account.available != available:
                text = f"{where} has {account.available}, by its effects {available}"
                yield Violation("MONEY", "", text)
            if account.frozen != held:
                text = f"{where} has {account.frozen} frozen, by its effects {held}"
                yield Violation("MONEY", "", text)
            if account.frozen:
                yield Violation("FROZEN", "", f"{where} has {account.frozen} frozen")
            difference += account.available + account.frozen - account.opening
    if difference:
        yield Violation("MONEY", "", f"the banks have {difference:+d} cents too many")


def _sum(amounts: Mapping[str, int], *phases: str) -> int:
    return sum(amounts.get(phase, 0) for phase in phases)


def check_open_holds(directory: Path) -> Iterator[Violation]:
    """FROZEN, hold by hold."""
    for bank in BANKS:
        query = "SELECT gid, account, amount FROM holds WHERE phase = 'TRY'"
        for gid, account, amount in read_rows(directory, bank, query):
            text = f"{bank} still holds {amount} of {account}"
            yield Violation("FROZEN", str(gid), text)


def check_loans(fund: Fund, effects: Iterable[Effect]) -> Iterator[Violation]:
    """MONEY of the lender: what was reserved was posted and paid out, no more."""
    standing: Counter[str] = Counter()
    for effect in effects:
        if effect.phase in {"ACTION", "COMPENSATION"}:
            sign = 1 if effect.phase == "ACTION" else -1
            standing[effect.participant] += sign * abs(effect.amount)
    if fund.available + fund.reserved != fund.opening:
        text = f"the fund has {fund.available + fund.reserved}, not {fund.opening}"
        yield Violation("MONEY", "", text)
    for service in ("treasury", "ledger", "payout"):
        if standing[service] != fund.reserved:
            text = f"{service} stands at {standing[service]}, not {fund.reserved}"
            yield Violation("MONEY", "", text)


# ---- The audit of the audit -------------------------------------------------------


def plant_violation(directory: Path) -> str:
    """Alter one row, so that an audit has something to find; says what was done."""
    path = directory / f"{BANKS[0]}.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        row = connection.execute(
            "SELECT effect_id, gid FROM effects WHERE phase = 'CONFIRM' LIMIT 1"
        ).fetchone()
        if row:
            connection.execute("DELETE FROM effects WHERE effect_id = ?", (row[0],))
            return f"removed a confirm of {row[1]} from the effects of {BANKS[0]}"
        connection.execute(
            "UPDATE accounts SET available = available + 1 WHERE account ="
            " (SELECT min(account) FROM accounts)"
        )
    return f"added one cent to an account of {BANKS[0]}"
