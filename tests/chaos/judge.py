"""What must never be, looked for in the three logs. Believes no single one of them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.chaos.evidence import Evidence, Record
from tests.chaos.history import ABSENT, Line
from tests.chaos.ledger import Account, Effect
from tests.chaos.transfer import OPENING, Transfer

COMMIT, ABORT = "COMMIT", "ABORT"
DECISION_OF = {
    "CONFIRMING": COMMIT,
    "CONFIRMED": COMMIT,
    "COMPLETED": COMMIT,
    "CANCELLING": ABORT,
    "CANCELLED": ABORT,
    "COMPENSATING": ABORT,
    "COMPENSATED": ABORT,
}
ENDS = {
    ("TCC", COMMIT): "CONFIRMED",
    ("TCC", ABORT): "CANCELLED",
    ("SAGA", COMMIT): "COMPLETED",
    ("SAGA", ABORT): "COMPENSATED",
}
FULL: Mapping[str, Sequence[str]] = {
    "CONFIRMED": ("TRY", "CONFIRM"),
    "CANCELLED": ("TRY", "CANCEL"),
    "COMPLETED": ("ACTION",),
    "COMPENSATED": ("ACTION", "COMPENSATION"),
}
"""What a branch leaves in the ledger; of a branch that was aborted also nothing."""

Money = tuple[int, int, int]
"""Available, frozen, incoming."""


class Violation(NamedTuple):
    """A rule that was broken. ``gid`` is empty when it is of none alone."""

    rule: str
    gid: str
    text: str


def judge(evidence: Evidence) -> list[Violation]:
    """All that is wrong."""
    by_gid: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.lines:
        by_gid[line.gid].append(line)
    effects: dict[str, list[Effect]] = defaultdict(list)
    for effect in evidence.effects:
        effects[effect.gid].append(effect)
    found = [*check_accounts(evidence.accounts, evidence.effects)]
    for gid, lines in by_gid.items():
        found += check_told(gid, lines, evidence.records.get(gid))
    for gid, record in evidence.records.items():
        found += check_journal(record)
        found += check_branches(record, effects[gid])
        if gid not in by_gid:
            found.append(Violation("HISTORY", gid, "no client asked for it"))
            continue
        asked = next((n.transfer for n in by_gid[gid] if n.transfer), None)
        if asked is not None:
            found += check_money_moved(record, asked, effects[gid])
    for gid in effects.keys() - evidence.records.keys():
        text = f"{len(effects[gid])} effects of what the coordinator does not know"
        found.append(Violation("T4", gid, text))
    return found


def check_accounts(
    accounts: Sequence[Account], effects: Sequence[Effect]
) -> Iterator[Violation]:
    """MONEY and FROZEN: no cent more or less, nothing reserved any more."""
    sums: dict[tuple[str, str], Money] = defaultdict(lambda: (0, 0, 0))
    for e in effects:
        sums[e.bank, e.account] = _plus(sums[e.bank, e.account], e)
    for a in accounts:
        where = f"{a.bank} {a.name}"
        available, frozen, incoming = sums[a.bank, a.name]
        wanted = (OPENING + available, frozen, incoming)
        if wanted != (a.available, a.frozen, a.incoming):
            has = (a.available, a.frozen, a.incoming)
            yield Violation("MONEY", "", f"{where} has {has}, by its ledger {wanted}")
        if a.frozen or a.incoming:
            text = f"{where} still has {a.frozen} frozen and {a.incoming} incoming"
            yield Violation("FROZEN", "", text)
    total = sum(a.available + a.frozen for a in accounts)
    if total != OPENING * len(accounts):
        text = f"there are {total - OPENING * len(accounts):+d} cents"
        yield Violation("MONEY", "", text)


def check_journal(record: Record) -> Iterator[Violation]:
    """T1, T11 and L7, of the coordinator's own words."""
    gid = record.gid
    numbers = [entry.seq for entry in record.entries]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        yield Violation("T11", gid, f"its journal's numbers are {numbers}")
    events = [event for entry in record.entries for event in entry.events]
    decisions = [str(e["decision"]) for e in events if e["type"] == "Decided"]
    if len(set(decisions)) > 1:
        yield Violation("T1", gid, f"it was decided {' and then '.join(decisions)}")
    if decisions and decisions[0] != record.decision:
        text = f"decided {decisions[0]}, and its row says {record.decision}"
        yield Violation("T1", gid, text)
    ends = [str(e["status"]) for e in events if e["type"] == "Finished"]
    if not ends:
        yield Violation("L7", gid, f"it has not ended: {record.status}")
    elif ends != [record.status]:
        text = f"it ended {' and then '.join(ends)}, and its row says {record.status}"
        yield Violation("T1", gid, text)
    elif ENDS.get((record.mode, record.decision)) != record.status:
        text = f"{record.mode} {record.decision} has ended {record.status}"
        yield Violation("T8", gid, text)


def check_branches(record: Record, effects: Sequence[Effect]) -> Iterator[Violation]:
    """T5, T6 and S3: each branch left what the end of its transaction demands."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for effect in effects:
        found[effect.bank, effect.branch_id].append(effect.phase)
    full = list(FULL.get(record.status, ()))
    is_saga = record.mode == "SAGA"
    for branch_id, branch in record.branches.items():
        phases = found.pop((branch.bank, branch_id), [])
        if {"CONFIRM", "CANCEL"} <= set(phases):
            text = f"branch {branch_id} was confirmed and cancelled: {phases}"
            yield Violation("T5", record.gid, text)
        if max(Counter(phases).values(), default=1) > 1:
            text = f"branch {branch_id} took effect twice: {phases}"
            yield Violation("T6", record.gid, text)
        is_proper = phases == full or (not phases and record.decision == ABORT)
        if full and not is_proper:
            text = f"{record.status}, but branch {branch_id} had {phases}"
            yield Violation("S3" if is_saga else "T6", record.gid, text)
    for (bank, branch_id), phases in found.items():
        text = f"{bank} had {phases} of branch {branch_id}, which never joined"
        yield Violation("T4", record.gid, text)


def check_money_moved(
    record: Record, transfer: Transfer, effects: Sequence[Effect]
) -> Iterator[Violation]:
    """T6 and S3: what moved is what was asked for, or nothing."""
    moved: dict[tuple[str, str], Money] = defaultdict(lambda: (0, 0, 0))
    for e in effects:
        moved[e.bank, e.account] = _plus(moved[e.bank, e.account], e)
    wanted: dict[tuple[str, str], Money] = {}
    if record.decision == COMMIT:
        wanted[transfer.source, transfer.payer] = (-transfer.amount, 0, 0)
        wanted[transfer.target, transfer.payee] = (transfer.amount, 0, 0)
    moved = {where: money for where, money in moved.items() if any(money)}
    if record.status in FULL and moved != wanted:
        rule = "S3" if record.mode == "SAGA" else "T6"
        text = f"{record.decision} of {transfer.amount}, and {_told(moved)} moved"
        yield Violation(rule, record.gid, text)


def check_told(
    gid: str, lines: Sequence[Line], record: Record | None
) -> Iterator[Violation]:
    """T1, T7 and V1: what clients were told is so, and stays so."""
    words = {line.word for line in lines}
    said = {d for line in lines if (d := DECISION_OF.get(line.status))}
    if len(said) > 1:
        yield Violation("T1", gid, f"clients were told {' and '.join(sorted(said))}")
    for line in lines:
        if line.word == "odd":
            yield Violation("CLIENT", gid, f"a client was told {line.text}")
    if record is None:
        if words & {"begun", "ok", "fail"}:
            text = f"acknowledged ({', '.join(sorted(words))}), and not there"
            yield Violation("T7", gid, text)
        return
    if any(line.status == ABSENT for line in lines) and "begun" in words:
        yield Violation("T7", gid, "acknowledged, and a client was told NOT_FOUND")
    for decision in said - {record.decision}:
        text = f"a client was told {decision}, and it is {record.decision}"
        yield Violation("T7", gid, text)
    if record.decision == COMMIT and "asking" not in words:
        yield Violation("T2", gid, "committed, and no client asked for that")
    if not words & {"ok", "fail", "final"}:
        yield Violation("SETTLED", gid, "nobody found out how it ended")


def _plus(money: Money, effect: Effect) -> Money:
    return (
        money[0] + effect.available,
        money[1] + effect.frozen,
        money[2] + effect.incoming,
    )


def _told(moved: Mapping[tuple[str, str], Money]) -> str:
    return (
        ", ".join(f"{bank} {a} {m[0]:+d}" for (bank, a), m in moved.items()) or "none"
    )
