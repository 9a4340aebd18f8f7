"""F32: an upgrade that is killed anywhere goes on, or was never there."""

from collections import Counter

import pytest
from sqlalchemy import Connection

from coordinator.storage.sql import migrate
from coordinator.storage.sql import upgrade as upgrades
from coordinator.storage.sql.flavour import Flavour
from coordinator.storage.sql.migrate import (
    SchemaState,
    _written_down,
    preview,
    state,
    upgrade,
)
from coordinator.storage.sql.upgrade import Step, run_as_one, steps_of
from coordinator.storage.sql.url import parse_url
from tests.servers import MariaDB, PostgreSQL
from tests.storage.test_server import columns


class Killed(Exception):
    """The process ends here; nothing handles it."""


def test_an_upgrade_killed_at_every_statement_goes_on(
    mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each statement and after it; then it is met once more, and passed."""
    url = mariadb.create("tercet_killed")
    statement_count = preview(url).count(";\n") + 1
    real = upgrades._run_one
    visits = Counter[Step]()

    def die(connection: Connection, step: Step, *, was_begun: bool) -> None:
        visits[step] += 1
        if visits[step] > 1:
            real(connection, step, was_begun=was_begun)
        if visits[step] < 3:
            raise Killed

    kill_count = 0
    with monkeypatch.context() as deadly:
        deadly.setattr(upgrades, "_run_one", die)
        while state(url) is not SchemaState.CURRENT:
            with pytest.raises(Killed):
                upgrade(url)
            kill_count += 1
    assert upgrade(url) == []
    assert kill_count == 2 * statement_count > 40
    upgrade(mariadb.create("tercet_whole"))
    whole = columns(mariadb, "tercet_whole")
    assert whole == columns(mariadb, "tercet_killed")


def test_what_only_speaks_postgresql_is_upgraded_one_by_one(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after a table, an index, a column and a version, it goes on there."""
    version = "CockroachDB CCL v24.3.1 (x86_64-pc-linux-gnu)"
    monkeypatch.setattr(migrate, "ask_version", lambda _: version)
    url = postgresql.create("tercet_stepwise")
    real = upgrades._run_one
    last_words = [
        "UPDATE alembic_version",
        "ALTER TABLE branches",
        "CREATE INDEX ix_definitions",
        "CREATE TABLE branches",
    ]

    def die(connection: Connection, step: Step, *, was_begun: bool) -> None:
        real(connection, step, was_begun=was_begun)
        if last_words and step.statement.startswith(last_words[-1]):
            last_words.pop()
            raise Killed

    monkeypatch.setattr(upgrades, "_run_one", die)
    for _ in range(len(last_words)):
        with pytest.raises(Killed):
            upgrade(url)
    upgrade(url)
    assert last_words == []
    assert state(url) is SchemaState.CURRENT
    assert upgrade(url) == []


def test_a_table_of_somebody_else_is_never_taken_for_ours(mariadb: MariaDB) -> None:
    """Only the statement that was begun before a kill may find its work done."""
    url = mariadb.create("tercet_foreign")
    mariadb.run("CREATE TABLE nodes (x INTEGER)", database="tercet_foreign")
    for _ in range(2):
        with pytest.raises(Exception, match="1050"):
            upgrade(url)
        assert state(url) is not SchemaState.CURRENT


def test_a_killed_upgrade_of_postgresql_was_never_there(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction carries all of it."""
    url = postgresql.create("tercet_killed")

    def die_late(connection: Connection, steps: list[Step]) -> None:
        run_as_one(connection, [*steps[:-1], Step("", 0, "SELECT 1 / 0")])

    monkeypatch.setattr("coordinator.storage.sql.migrate.run_as_one", die_late)
    with pytest.raises(Exception, match="22012"):
        upgrade(url)
    monkeypatch.undo()
    assert state(url) is SchemaState.EMPTY
    assert columns(postgresql, "tercet_killed") == set()
    upgrade(url)
    assert state(url) is SchemaState.CURRENT


def test_tables_are_written_down_in_words_that_each_database_takes() -> None:
    """No name for CockroachDB's only order of text, no default for TiDB's texts, and
    of the pages that PostgreSQL alone has nobody else is told.
    """
    shown = {
        flavour: "\n".join(
            step.statement for step in _written_down(parse_url(url), flavour, None)
        )
        for flavour, url in (
            (Flavour.POSTGRESQL, "postgresql://u@h/d"),
            (Flavour.COCKROACHDB, "postgresql://u@h/d"),
            (Flavour.YUGABYTEDB, "postgresql://u@h/d"),
            (Flavour.POSTGRESQL_LIKE, "postgresql://u@h/d"),
            (Flavour.MYSQL, "mysql://u@h/d"),
            (Flavour.TIDB, "mysql://u@h/d"),
        )
    }
    assert 'COLLATE "C"' in shown[Flavour.POSTGRESQL]
    assert "COLLATE" not in shown[Flavour.COCKROACHDB]
    assert "description LONGTEXT NOT NULL DEFAULT ('')" in shown[Flavour.MYSQL]
    assert "description LONGTEXT NOT NULL\n" in shown[Flavour.TIDB]
    for setting in ("fillfactor", "toast_tuple_target"):
        told = {flavour for flavour, text in shown.items() if setting in text}
        assert told == {Flavour.POSTGRESQL}


def test_what_alembic_writes_down_is_read_as_steps() -> None:
    """Numbered within a revision; remarks and transactions are left out."""
    text = (
        "BEGIN;\n\nCREATE TABLE v (x INT);\n\n-- Running upgrade  -> 0001\n\n"
        "CREATE TABLE a (\n    x INT\n);\n\nINSERT INTO v VALUES (1);\n\n"
        "-- Running upgrade 0001 -> 0002\n\nUPDATE v SET x = 2;\n\nCOMMIT;\n\n"
    )
    assert steps_of(text) == [
        Step("0001", 1, "CREATE TABLE v (x INT)"),
        Step("0001", 2, "CREATE TABLE a (\n    x INT\n)"),
        Step("0001", 3, "INSERT INTO v VALUES (1)"),
        Step("0002", 1, "UPDATE v SET x = 2"),
    ]
