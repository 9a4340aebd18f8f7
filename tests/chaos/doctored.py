"""A small run that went well, as evidence; tests spoil one thing of it each."""

from collections.abc import Sequence
from dataclasses import replace

from tests.chaos.evidence import Branch, Entry, Evidence, Record
from tests.chaos.history import Line
from tests.chaos.ledger import Account, Effect
from tests.chaos.transfer import OPENING, Transfer

TCC = Transfer("g-tcc", "tcc", "bank-1", "a-001", "bank-2", "a-002", 70)
LOST = replace(TCC, gid="g-lost")
"""It was cancelled at its deadline; the client never heard of it."""

SAGA = replace(TCC, gid="g-saga", kind="saga", source="bank-3", target="bank-4")
BACK = replace(SAGA, gid="g-back")


def effect(bank: str, gid: str, branch_id: str, phase: str, *money: int) -> Effect:
    """Of the account that the transfers use at this bank."""
    account = "a-001" if bank in ("bank-1", "bank-3") else "a-002"
    return Effect(bank, gid, branch_id, phase, account, *money)


def tcc_effects(gid: str, end: str) -> list[Effect]:
    """All that a transfer leaves whose end is CONFIRM or CANCEL."""
    debit = (0, -70, 0) if end == "CONFIRM" else (70, -70, 0)
    credit = (70, 0, -70) if end == "CONFIRM" else (0, 0, -70)
    return [
        effect("bank-1", gid, "1", "TRY", -70, 70, 0),
        effect("bank-2", gid, "2", "TRY", 0, 0, 70),
        effect("bank-1", gid, "1", end, *debit),
        effect("bank-2", gid, "2", end, *credit),
    ]


def saga_effects(gid: str, *, is_undone: bool) -> list[Effect]:
    """All that a saga leaves."""
    forward = [
        effect("bank-3", gid, "withdraw", "ACTION", -70, 0, 0),
        effect("bank-4", gid, "deposit", "ACTION", 70, 0, 0),
    ]
    back = [
        effect(e.bank, gid, e.branch_id, "COMPENSATION", -e.available, 0, 0)
        for e in reversed(forward)
    ]
    return forward + (back if is_undone else [])


def record(gid: str, mode: str, status: str, decision: str) -> Record:
    """As the coordinator's tables have it."""
    operations = {"1": "bank-1.debit", "2": "bank-2.credit"}
    if mode == "SAGA":
        operations = {"withdraw": "bank-3.withdraw", "deposit": "bank-4.deposit"}
    return Record(
        gid,
        mode,
        status,
        decision,
        {branch_id: Branch(name, "") for branch_id, name in operations.items()},
        (
            Entry(1, ({"type": "Began"},)),
            Entry(2, ({"type": "Decided", "decision": decision},)),
            Entry(3, ({"type": "Finished", "status": status},)),
        ),
    )


def told(transfer: Transfer, *words: str, status: str = "") -> list[Line]:
    """The lines of its client; ``status`` is the last one's."""
    lines = [Line("invoke", transfer.gid, 1.0, transfer=transfer)]
    lines += [Line(word, transfer.gid, 1.0) for word in words[:-1]]
    return [*lines, Line(words[-1], transfer.gid, 2.0, status)]


def accounts_after(effects: Sequence[Effect]) -> list[Account]:
    """Balances that agree with a ledger."""
    found = {}
    for bank, name in (
        ("bank-1", "a-001"),
        ("bank-2", "a-002"),
        ("bank-3", "a-001"),
        ("bank-4", "a-002"),
    ):
        own = [e for e in effects if (e.bank, e.account) == (bank, name)]
        found[bank] = Account(
            bank,
            name,
            OPENING + sum(e.available for e in own),
            sum(e.frozen for e in own),
            sum(e.incoming for e in own),
        )
    return list(found.values())


def good() -> Evidence:
    """Every end once, and one transfer whose client was told nothing."""
    effects = [
        *tcc_effects(TCC.gid, "CONFIRM"),
        *tcc_effects(LOST.gid, "CANCEL"),
        *saga_effects(SAGA.gid, is_undone=False),
        *saga_effects(BACK.gid, is_undone=True),
    ]
    records = [
        record(TCC.gid, "TCC", "CONFIRMED", "COMMIT"),
        record(LOST.gid, "TCC", "CANCELLED", "ABORT"),
        record(SAGA.gid, "SAGA", "COMPLETED", "COMMIT"),
        record(BACK.gid, "SAGA", "COMPENSATED", "ABORT"),
    ]
    lines = [
        *told(TCC, "begun", "tried", "asking", "ok", status="CONFIRMED"),
        *told(LOST, "begun", "tried", "asking", "info", "final", status="CANCELLED"),
        *told(SAGA, "asking", "begun", "ok", status="COMPLETED"),
        *told(BACK, "asking", "begun", "fail", status="COMPENSATED"),
    ]
    return Evidence(
        lines, {r.gid: r for r in records}, effects, accounts_after(effects)
    )
