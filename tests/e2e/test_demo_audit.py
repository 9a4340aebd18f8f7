"""The demo's audit finds each kind of violation, and nothing where all is well."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from examples.demo import audit
from examples.demo.audit import BANKS, SERVICES, Violation
from examples.demo.show import result_lines
from examples.loan_saga.schema import create_service
from examples.transfer_tcc.schema import create_bank

COORDINATOR_TABLES = """
CREATE TABLE global_transactions
    (gid TEXT, mode TEXT, status TEXT, decision TEXT, branches TEXT, entries TEXT);
CREATE TABLE branches (gid TEXT, branch_id TEXT, operation TEXT, status TEXT);
CREATE TABLE journal (gid TEXT, seq INTEGER);
"""

ENTRIES = '[3,9,[]]\n[2,8,[]]\n[1,7,[{"type":"Began"}]]\n'
"""Of a journal that stands in its transaction's row: number, instant, facts."""

TRANSFER_OF_40 = """
INSERT INTO holds (gid, branch_id, account, direction, amount, phase)
VALUES ('{gid}', '{branch_id}', 'acc-0001', '{direction}', 40, 'TRY');
UPDATE holds SET phase = '{phase}' WHERE gid = '{gid}';
UPDATE accounts SET available = available + {change} WHERE account = 'acc-0001';
"""

DEED_OF_70 = """
INSERT INTO {table} (gid, branch_id, loan_id, amount, phase)
VALUES ('{gid}', '{service}', '{gid}', 70, 'ACTION');
"""

TABLES = {
    "risk": "assessments",
    "treasury": "reservations",
    "ledger": "entries",
    "payout": "transfers",
}


@pytest.fixture
def books(books_once: Path, tmp_path: Path) -> Path:
    """A copy of the small world, to be altered."""
    return Path(shutil.copytree(books_once, tmp_path / "books"))


@pytest.fixture(scope="module")
def books_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases of a small world in which all is well.

    ``t-yes`` was confirmed, ``t-no`` cancelled, ``l-yes`` completed, and ``l-no``
    compensated after its payout was refused.
    """
    tmp_path = tmp_path_factory.mktemp("books")
    write_coordinator(tmp_path)
    for bank, direction, change in (("bank-a", "DEBIT", -40), ("bank-b", "CREDIT", 40)):
        engine = create_engine(f"sqlite:///{tmp_path / bank}.sqlite")
        create_bank(engine, account_count=4, opening_cents=1_000)
        engine.dispose()
        branch = {"branch_id": direction, "direction": direction}
        run(
            tmp_path,
            bank,
            TRANSFER_OF_40.format(
                gid="t-yes", phase="CONFIRM", change=change, **branch
            ),
        )
        run(
            tmp_path,
            bank,
            TRANSFER_OF_40.format(gid="t-no", phase="CANCEL", change=0, **branch),
        )
    for service in SERVICES:
        write_service(tmp_path, service)
    lines = [
        {"gid": "t-yes", "asked_commit": True, "status": "CONFIRMED"},
        {"gid": "t-no", "asked_commit": False, "status": ""},
        {"gid": "l-yes", "asked_commit": True, "status": "COMPLETED"},
        {"gid": "l-no", "asked_commit": True, "status": "COMPENSATED"},
        {"gid": "never-began", "asked_commit": False, "status": ""},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "history.jsonl").write_text(text)
    return tmp_path


def together(status: str) -> str:
    """The branches of ``l-yes``, as they stand in its row."""
    specs = [
        {"branch_id": s, "operation": f"{s}.{'check' if s == 'risk' else 'do'}"}
        for s in SERVICES
    ]
    return json.dumps([{"spec": spec, "status": status} for spec in specs])


def write_coordinator(directory: Path) -> None:
    """The coordinator's rows of the small world."""
    run(directory, "coordinator", COORDINATOR_TABLES)
    transactions = [
        ("t-yes", "TCC", "CONFIRMED", "COMMIT", "", ""),
        ("t-no", "TCC", "CANCELLED", "ABORT", "", ""),
        ("l-yes", "SAGA", "COMPLETED", "COMMIT", together("SUCCEEDED"), ENTRIES),
        ("l-no", "SAGA", "COMPENSATED", "ABORT", "", ""),
    ]
    branches = [
        ("t-yes", "DEBIT", "bank-a.debit", "CONFIRMED"),
        ("t-yes", "CREDIT", "bank-b.credit", "CONFIRMED"),
        ("t-no", "DEBIT", "bank-a.debit", "CANCELLED"),
        ("t-no", "CREDIT", "bank-b.credit", "CANCELLED"),
        ("l-no", "risk", "risk.check", "SUCCEEDED"),
        ("l-no", "treasury", "treasury.do", "COMPENSATED"),
        ("l-no", "ledger", "ledger.do", "COMPENSATED"),
        ("l-no", "payout", "payout.do", "REFUSED"),
    ]  # fmt: skip
    path = directory / "coordinator.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO global_transactions VALUES (?, ?, ?, ?, ?, ?)", transactions
        )
        connection.executemany("INSERT INTO branches VALUES (?, ?, ?, ?)", branches)
        connection.executemany(
            "INSERT INTO journal VALUES (?, ?)",
            [(row[0], seq) for row in transactions if not row[5] for seq in (1, 2, 3)],
        )


def write_service(directory: Path, service: str) -> None:
    """One service's rows: ``l-yes`` stands, ``l-no`` was undone or refused."""
    engine = create_engine(f"sqlite:///{directory / service}.sqlite")
    create_service(service, engine)
    engine.dispose()
    table = TABLES[service]
    run(
        directory,
        service,
        DEED_OF_70.format(table=table, gid="l-yes", service=service),
    )
    if service != "payout":
        run(
            directory,
            service,
            DEED_OF_70.format(table=table, gid="l-no", service=service),
        )
    if service in {"treasury", "ledger"}:
        undo = f"UPDATE {table} SET phase = 'COMPENSATION' WHERE gid = 'l-no'"
        run(directory, service, undo)
    if service == "treasury":
        reserve = "UPDATE funds SET available = available - 70, reserved = 70"
        run(directory, service, reserve)


def run(directory: Path, name: str, script: str) -> None:
    """Change a member's database."""
    with closing(sqlite3.connect(directory / f"{name}.sqlite")) as connection:
        connection.executescript(script)


def found(directory: Path) -> set[tuple[str, str]]:
    """Rule and gid of all violations."""
    return {(v.rule, v.gid) for v in audit.audit(directory).violations}


def test_nothing_is_found_where_all_is_well(books: Path) -> None:
    """The small world is in order, and every transaction is counted."""
    report = audit.audit(books)

    assert report.violations == ()
    assert report.modes == {"TCC": 2, "SAGA": 2}
    assert (report.ends) == {
        "CONFIRMED": 1,
        "CANCELLED": 1,
        "COMPLETED": 1,
        "COMPENSATED": 1,
    }


PLANTED = {
    "a cent appeared": (
        "bank-a",
        "UPDATE accounts SET available = available + 1 WHERE account = 'acc-0002'",
        ("MONEY", ""),
    ),
    "money went from one account to another": (
        "bank-a",
        (
            "UPDATE accounts SET available = available + CASE account WHEN 'acc-0001'"
            " THEN 1 ELSE -1 END WHERE account IN ('acc-0001', 'acc-0002')"
        ),
        ("MONEY", ""),
    ),
    "money stayed frozen": (
        "bank-a",
        (
            "UPDATE accounts SET available = available - 5, frozen = 5"
            " WHERE account = 'acc-0001'"
        ),
        ("FROZEN", ""),
    ),
    "a hold stayed open": (
        "bank-b",
        "UPDATE holds SET phase = 'TRY' WHERE gid = 't-yes'",
        ("FROZEN", "t-yes"),
    ),
    "a transaction did not end": (
        "coordinator",
        "UPDATE global_transactions SET status = 'CONFIRMING' WHERE gid = 't-yes'",
        ("ENDED", "t-yes"),
    ),
    "an end without its decision": (
        "coordinator",
        "UPDATE global_transactions SET decision = 'NONE' WHERE gid = 'l-yes'",
        ("DECISION", "l-yes"),
    ),
    "a branch that does not follow its transaction": (
        "coordinator",
        (
            "UPDATE branches SET status = 'CANCELLED'"
            " WHERE gid = 't-yes' AND branch_id = 'DEBIT'"
        ),
        ("DECISION", "t-yes"),
    ),
    "branches in the row of a transaction that they do not follow": (
        "coordinator",
        (
            "UPDATE global_transactions"
            " SET branches = replace(branches, 'SUCCEEDED', 'COMPENSATED')"
            " WHERE gid = 'l-yes'"
        ),
        ("DECISION", "l-yes"),
    ),
    "a confirmed transfer with one half": (
        "coordinator",
        "DELETE FROM branches WHERE gid = 't-yes' AND branch_id = 'DEBIT'",
        ("DECISION", "t-yes"),
    ),
    "a gap in a journal": (
        "coordinator",
        "DELETE FROM journal WHERE gid = 't-no' AND seq = 2",
        ("JOURNAL", "t-no"),
    ),
    "a gap in a journal that stands in its transaction's row": (
        "coordinator",
        (
            "UPDATE global_transactions SET entries = replace(entries, '[2,', '[1,')"
            " WHERE gid = 'l-yes'"
        ),
        ("JOURNAL", "l-yes"),
    ),
    "a journal that is gone": (
        "coordinator",
        "DELETE FROM journal WHERE gid = 't-no'",
        ("JOURNAL", "t-no"),
    ),
    "a confirm that is missing": (
        "bank-a",
        "DELETE FROM effects WHERE gid = 't-yes' AND phase = 'CONFIRM'",
        ("EFFECT", "t-yes"),
    ),
    "a confirm that came twice": (
        "bank-b",
        "UPDATE holds SET phase = 'CONFIRM' WHERE gid = 't-yes'",
        ("EFFECT", "t-yes"),
    ),
    "a confirm of what was cancelled": (
        "bank-b",
        "UPDATE holds SET phase = 'CONFIRM' WHERE gid = 't-no'",
        ("EFFECT", "t-no"),
    ),
    "a cancel that is missing": (
        "bank-b",
        "DELETE FROM effects WHERE gid = 't-no' AND phase = 'CANCEL'",
        ("EFFECT", "t-no"),
    ),
    "different amounts taken and given": (
        "bank-b",
        "UPDATE effects SET amount = 41 WHERE gid = 't-yes'",
        ("EFFECT", "t-yes"),
    ),
    "an action that came twice": (
        "payout",
        DEED_OF_70.format(table="transfers", gid="l-yes", service="payout"),
        ("EFFECT", "l-yes"),
    ),
    "a compensation that is missing": (
        "treasury",
        "DELETE FROM effects WHERE gid = 'l-no' AND phase = 'COMPENSATION'",
        ("EFFECT", "l-no"),
    ),
    "a compensation of what was completed": (
        "ledger",
        "UPDATE entries SET phase = 'COMPENSATION' WHERE gid = 'l-yes'",
        ("EFFECT", "l-yes"),
    ),
    "a loan paid that was refused": (
        "payout",
        DEED_OF_70.format(table="transfers", gid="l-no", service="payout"),
        ("EFFECT", "l-no"),
    ),
    "a fund that does not add up": (
        "treasury",
        "UPDATE funds SET reserved = reserved + 1",
        ("MONEY", ""),
    ),
    "an effect of a transaction that nobody knows": (
        "payout",
        DEED_OF_70.format(table="transfers", gid="ghost", service="payout"),
        ("UNKNOWN", "ghost"),
    ),
    "an effect at a participant that had no branch": (
        "risk",
        DEED_OF_70.format(table="assessments", gid="t-yes", service="risk"),
        ("UNKNOWN", "t-yes"),
    ),
    "a confirmed transaction that is lost": (
        "coordinator",
        "DELETE FROM global_transactions WHERE gid = 't-yes'",
        ("HISTORY", "t-yes"),
    ),
    "a transaction that no client asked for": (
        "coordinator",
        (
            "INSERT INTO global_transactions"
            " VALUES ('extra', 'TCC', 'CANCELLED', 'ABORT', '[]', '')"
        ),
        ("HISTORY", "extra"),
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_each_kind_of_violation_is_found(books: Path, what: str) -> None:
    """One altered row is enough."""
    name, script, violation = PLANTED[what]
    run(books, name, script)

    assert violation in found(books)


@pytest.mark.parametrize(
    ("line", "gid"),
    [
        ({"gid": "t-yes", "asked_commit": True, "status": "CANCELLED"}, "t-yes"),
        ({"gid": "t-no", "asked_commit": True, "status": "CONFIRMED"}, "t-no"),
        ({"gid": "ghost", "asked_commit": True, "status": "CONFIRMED"}, "ghost"),
    ],
)
def test_a_client_that_was_told_otherwise_is_found(
    books: Path, line: dict[str, object], gid: str
) -> None:
    """What a client was told is compared with what is stored."""
    (books / "history-other.jsonl").write_text(json.dumps(line) + "\n")

    assert ("HISTORY", gid) in found(books)


def test_a_commit_that_nobody_asked_for_is_found(books: Path) -> None:
    """A client that died before it confirmed must not find its transfer confirmed."""
    line = {"gid": "t-yes", "asked_commit": False, "status": ""}
    (books / "history.jsonl").write_text(json.dumps(line) + "\n")

    assert ("HISTORY", "t-yes") in found(books)


@pytest.mark.parametrize("has_confirms", [True, False])
def test_what_is_planted_is_found(books: Path, has_confirms: bool) -> None:
    """The violation that the demo's flag plants is found, whatever there is."""
    if not has_confirms:
        run(books, "bank-a", "DELETE FROM effects WHERE phase = 'CONFIRM'")
    before = len(audit.audit(books).violations)

    audit.plant_violation(books)

    assert before < len(audit.audit(books).violations)


def test_a_missing_database_is_a_violation(books: Path) -> None:
    """What cannot be read is not passed over."""
    (books / f"{BANKS[1]}.sqlite").unlink()

    assert ("UNREADABLE", "") in found(books)


def test_the_last_line_says_that_all_is_well(books: Path) -> None:
    """The line has every number, in a fixed order."""
    lines, is_well = result_lines(audit.audit(books), kills=3, seconds=12.34)

    assert is_well
    assert lines == [
        (
            "AUDIT OK transfers=2 loans=2 confirmed=1 cancelled=1 completed=1"
            " compensated=1 kills=3 violations=0 seconds=12.3"
        )
    ]


def test_the_last_line_names_the_gids_at_fault(books: Path) -> None:
    """Each once, sorted; violations of no transaction are counted too."""
    extra = [Violation("TIME", "", "late"), Violation("EFFECT", "b", "twice")]
    extra += [Violation("EFFECT", "a", "twice"), Violation("ENDED", "a", "not")]
    lines, is_well = result_lines(audit.audit(books), kills=0, seconds=1, extra=extra)

    assert not is_well
    assert lines[-1] == "AUDIT FAILED violations=4 gids=a,b"
    assert lines[0] == "violation TIME (no single transaction): late"


def test_a_long_list_of_violations_is_cut(books: Path) -> None:
    """The lines stay readable; the count stays true."""
    extra = [Violation("EFFECT", f"g{n:03d}", "twice") for n in range(70)]
    lines, _ = result_lines(audit.audit(books), kills=0, seconds=1, extra=extra)

    assert lines[-2] == "and 50 more"
    assert lines[-1].startswith("AUDIT FAILED violations=70 gids=g000,g001,")
    assert lines[-1].endswith(",g049,...")
