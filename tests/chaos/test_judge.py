"""The judge, judged: each thing that must never be is put into good evidence."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.doctored import BACK, LOST, SAGA, TCC, accounts_after, effect, good
from tests.chaos.evidence import Entry, Evidence
from tests.chaos.history import Line
from tests.chaos.judge import Violation, judge
from tests.chaos.ledger import Effect


def with_effects(
    evidence: Evidence, *more: Effect, without: Callable[[Effect], bool] | None = None
) -> Evidence:
    """Balances follow, as they do where a trigger writes the ledger."""
    kept = [e for e in evidence.effects if without is None or not without(e)]
    effects = [*kept, *more]
    return replace(evidence, effects=effects, accounts=accounts_after(effects))


def with_record(evidence: Evidence, gid: str, **changes: object) -> Evidence:
    record = replace(evidence.records[gid], **changes)
    return replace(evidence, records={**evidence.records, gid: record})


def with_line(evidence: Evidence, *lines: Line) -> Evidence:
    return replace(evidence, lines=[*evidence.lines, *lines])


def without_words(evidence: Evidence, gid: str, *words: str) -> Evidence:
    kept = [n for n in evidence.lines if n.gid != gid or n.word not in words]
    return replace(evidence, lines=kept)


def money_lost(e: Evidence) -> Evidence:
    first = e.accounts[0]
    poorer = first._replace(available=first.available - 1)
    return replace(e, accounts=[poorer, *e.accounts[1:]])


def money_still_frozen(e: Evidence) -> Evidence:
    return with_effects(e, effect("bank-1", TCC.gid, "1", "TRY", -5, 5, 0))


def money_still_announced(e: Evidence) -> Evidence:
    return with_effects(e, effect("bank-2", TCC.gid, "2", "TRY", 0, 0, 5))


def ledger_row_lost(e: Evidence) -> Evidence:
    return replace(e, effects=e.effects[1:])


def confirmed_twice(e: Evidence) -> Evidence:
    return with_effects(e, effect("bank-2", TCC.gid, "2", "CONFIRM", 70, 0, -70))


def confirmed_after_cancel(e: Evidence) -> Evidence:
    return with_effects(e, effect("bank-2", LOST.gid, "2", "CONFIRM", 70, 0, 0))


def tried_after_cancel(e: Evidence) -> Evidence:
    evidence = with_effects(e, without=lambda x: x.gid == LOST.gid)
    return with_effects(
        evidence,
        effect("bank-1", LOST.gid, "1", "CANCEL", 0, 0, 0),
        effect("bank-1", LOST.gid, "1", "TRY", 0, 0, 0),
    )


def committed_and_not_confirmed(e: Evidence) -> Evidence:
    return with_effects(e, without=lambda x: x.gid == TCC.gid and x.phase == "CONFIRM")


def another_amount_moved(e: Evidence) -> Evidence:
    effects = [
        x._replace(available=x.available + 1)
        if x.gid == TCC.gid and x.phase == "CONFIRM"
        else x
        for x in e.effects
    ]
    return replace(e, effects=effects, accounts=accounts_after(effects))


def effect_of_an_unknown_branch(e: Evidence) -> Evidence:
    return with_effects(e, effect("bank-1", TCC.gid, "9", "TRY", 0, 0, 0))


def effect_of_an_unknown_transaction(e: Evidence) -> Evidence:
    return with_effects(e, effect("bank-1", "g-none", "1", "TRY", 0, 0, 0))


def saga_not_compensated(e: Evidence) -> Evidence:
    return with_effects(
        e, without=lambda x: x.gid == BACK.gid and x.phase == "COMPENSATION"
    )


def saga_compensated_twice(e: Evidence) -> Evidence:
    again = effect("bank-4", BACK.gid, "deposit", "COMPENSATION", -70, 0, 0)
    return with_effects(e, again)


def step_of_a_completed_saga_undone(e: Evidence) -> Evidence:
    return with_effects(
        e, effect("bank-4", SAGA.gid, "deposit", "COMPENSATION", -70, 0, 0)
    )


def acknowledged_commit_lost(e: Evidence) -> Evidence:
    records = {gid: r for gid, r in e.records.items() if gid != TCC.gid}
    effects = with_effects(e, without=lambda x: x.gid == TCC.gid)
    return replace(effects, records=records)


def acknowledged_begin_lost(e: Evidence) -> Evidence:
    evidence = acknowledged_commit_lost(e)
    return without_words(evidence, TCC.gid, "tried", "asking", "ok")


def acknowledged_commit_cancelled(e: Evidence) -> Evidence:
    return with_line(e, Line("ok", LOST.gid, 2.0, "CONFIRMED"))


def clients_told_both(e: Evidence) -> Evidence:
    return with_line(e, Line("read", TCC.gid, 3.0, "CANCELLED"))


def acknowledged_and_not_found(e: Evidence) -> Evidence:
    return with_line(e, Line("read", TCC.gid, 3.0, "NOT_FOUND"))


def decided_twice(e: Evidence) -> Evidence:
    first, decided, last = e.records[TCC.gid].entries
    other = Entry(3, ({"type": "Decided", "decision": "ABORT"},))
    return with_record(
        e, TCC.gid, entries=(first, decided, other, replace(last, seq=4))
    )


def row_and_journal_differ(e: Evidence) -> Evidence:
    return with_record(e, TCC.gid, decision="ABORT")


def journal_with_a_gap(e: Evidence) -> Evidence:
    first, _, last = e.records[SAGA.gid].entries
    decided = e.records[SAGA.gid].entries[1].events
    return with_record(
        e, SAGA.gid, entries=(first, replace(last, events=(*decided, *last.events)))
    )


def end_without_its_decision(e: Evidence) -> Evidence:
    first, decided, _ = e.records[LOST.gid].entries
    end = Entry(3, ({"type": "Finished", "status": "CONFIRMED"},))
    return with_record(e, LOST.gid, status="CONFIRMED", entries=(first, decided, end))


def never_ended(e: Evidence) -> Evidence:
    entries = e.records[TCC.gid].entries[:-1]
    return with_record(e, TCC.gid, status="CONFIRMING", entries=entries)


def committed_unasked(e: Evidence) -> Evidence:
    return without_words(e, TCC.gid, "asking")


def unknown_dropped(e: Evidence) -> Evidence:
    return without_words(e, LOST.gid, "final")


def transaction_of_nobody(e: Evidence) -> Evidence:
    return replace(e, lines=[n for n in e.lines if n.gid != SAGA.gid])


def odd_answer(e: Evidence) -> Evidence:
    return with_line(e, Line("odd", TCC.gid, 2.0, text="INTERNAL"))


SPOILT = {
    money_lost: "MONEY",
    money_still_frozen: "FROZEN",
    money_still_announced: "FROZEN",
    ledger_row_lost: "MONEY",
    confirmed_twice: "T6",
    confirmed_after_cancel: "T5",
    tried_after_cancel: "T6",
    committed_and_not_confirmed: "T6",
    another_amount_moved: "T6",
    effect_of_an_unknown_branch: "T4",
    effect_of_an_unknown_transaction: "T4",
    saga_not_compensated: "S3",
    saga_compensated_twice: "T6",
    step_of_a_completed_saga_undone: "S3",
    acknowledged_commit_lost: "T7",
    acknowledged_begin_lost: "T7",
    acknowledged_commit_cancelled: "T7",
    clients_told_both: "T1",
    acknowledged_and_not_found: "T7",
    decided_twice: "T1",
    row_and_journal_differ: "T1",
    journal_with_a_gap: "T11",
    end_without_its_decision: "T8",
    never_ended: "L7",
    committed_unasked: "T2",
    unknown_dropped: "SETTLED",
    transaction_of_nobody: "HISTORY",
    odd_answer: "CLIENT",
}


def test_good_evidence_is_not_accused() -> None:
    """A run in which all went well has no violation."""
    assert judge(good()) == []


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_judge_finds(spoil: Callable[[Evidence], Evidence]) -> None:
    """T1, T2, T4, T5, T6, T7, T8, T11, S3, L7: whatever is spoilt is found, by its
    rule, and is accused of by gid where it belongs to one transaction.
    """
    found: list[Violation] = judge(spoil(good()))

    assert SPOILT[spoil] in {violation.rule for violation in found}
    if SPOILT[spoil] not in ("MONEY", "FROZEN"):
        assert any(v.gid for v in found if v.rule == SPOILT[spoil])


def test_aborted_branch_may_leave_nothing() -> None:
    """T6: a try that never ran leaves nothing, and that is as good as a cancel."""
    evidence = with_effects(good(), without=lambda e: e.gid in (LOST.gid, BACK.gid))

    assert judge(evidence) == []


def test_unacknowledged_transfer_may_be_unknown() -> None:
    """A client that died before any answer may have asked for nothing."""
    lines = [
        Line("invoke", "g-new", 1.0, transfer=replace(TCC, gid="g-new")),
        Line("final", "g-new", 2.0, "NOT_FOUND"),
    ]

    assert judge(with_line(good(), *lines)) == []
