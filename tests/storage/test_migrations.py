"""Migrations build the tables that the code declares, and nothing else."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, make_url
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateIndex, CreateTable

from coordinator.core.errors import InvalidRequest, PreconditionFailed, StoreUnavailable
from coordinator.storage.sql import migrate
from coordinator.storage.sql import schema as schema_state
from coordinator.storage.sql.migrate import SchemaState, state, upgrade
from coordinator.storage.sql.sqlite import create_sqlite_engine
from coordinator.storage.sql.store import open_store
from coordinator.storage.sql.tables import METADATA


def schema(path: Path) -> set[str]:
    """The statements that made a database, spaced alike."""
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")
        texts = {" ".join(re.sub(r"([(),])", r" \1 ", sql).split()) for (sql,) in found}
    connection.close()
    return {text for text in texts if "alembic_version" not in text}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path / "tercet.db"


def made_from_code(path: Path) -> None:
    """A database with the declared tables."""
    engine = create_sqlite_engine(path, writer=True)
    METADATA.create_all(engine)
    engine.dispose()


def test_migrations_build_what_the_code_declares(tmp_path: Path, empty: Path) -> None:
    """Column by column, type by type, index by index."""
    made_from_code(tmp_path / "declared.db")
    upgrade(f"sqlite:///{empty}")
    declared = schema(tmp_path / "declared.db")
    assert declared == schema(empty)
    assert len(METADATA.tables) + 4 == len(declared)


def test_upgrade_says_what_it_did_and_is_repeatable(empty: Path) -> None:
    """A second run finds nothing to do."""
    url = f"sqlite:///{empty}"
    assert SchemaState.EMPTY is state(url)
    assert not empty.exists()
    assert migrate.migration_names() == upgrade(url)
    assert SchemaState.CURRENT is state(url)
    assert upgrade(url) == []


def test_migrations_are_named_by_number_and_time() -> None:
    """NNNN_{pre|post}_slug, numbered without a gap."""
    names = migrate.migration_names()
    assert names
    for number, name in enumerate(names, 1):
        assert re.fullmatch(rf"{number:04}_(pre|post)_[a-z0-9_]+", name)


def test_newer_tables_are_left_alone(empty: Path) -> None:
    """An old version neither upgrades nor serves what it does not know."""
    url = f"sqlite:///{empty}"
    upgrade(url)
    set_revision(empty, "9999")
    assert SchemaState.AHEAD is state(url)
    with pytest.raises(PreconditionFailed, match="newer"):
        upgrade(url)


def test_older_tables_are_behind(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version tells that there is something to run."""
    url = f"sqlite:///{empty}"
    upgrade(url)
    later = [*migrate.migration_names(), "0999_post_later"]
    monkeypatch.setattr(schema_state, "migration_names", lambda: later)
    assert SchemaState.BEHIND is state(url)


async def test_a_store_opens_on_current_tables_alone(empty: Path) -> None:
    """And says which command helps."""
    url = f"sqlite:///{empty}"
    with pytest.raises(PreconditionFailed, match="tercet db upgrade"):
        await open_store(url)
    upgrade(url)
    set_revision(empty, "9999")
    with pytest.raises(PreconditionFailed, match="newer"):
        await open_store(url)


def test_a_failed_upgrade_leaves_no_half_of_it(empty: Path) -> None:
    """All migrations run in one transaction."""
    with sqlite3.connect(empty) as connection:
        connection.execute("CREATE TABLE nodes (x INTEGER)")
    connection.close()
    url = f"sqlite:///{empty}"
    with pytest.raises(StoreUnavailable):
        upgrade(url)
    assert {"CREATE TABLE nodes ( x INTEGER )"} == schema(empty)
    assert SchemaState.EMPTY is state(url)


def test_a_file_that_is_no_database_is_refused(empty: Path) -> None:
    """Without touching it, and without its path in the text."""
    empty.write_bytes(b"precious notes, not a database" * 40)
    url = f"sqlite:///{empty}"
    for call in (state, upgrade):
        with pytest.raises(StoreUnavailable) as caught:
            call(url)
        assert str(empty) not in str(caught.value)
        assert caught.value.__context__ is None
    assert empty.read_bytes().startswith(b"precious")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("oracle://bob:s3cret@db/tercet", "oracle"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("sqlite:///file:x?mode=memory", "parameters"),
        ("sqlite:////nowhere/at/all/tercet.db", "does not exist"),
        ("sqlite://host/tercet.db", "host"),
        ("s3cret", "cannot be read"),
    ],
)
async def test_what_is_not_supported_is_named(url: str, said: str) -> None:
    """With what is expected instead, and without any password."""
    for call in (state, upgrade):
        with pytest.raises(InvalidRequest, match=said) as caught:
            call(url)
        assert "s3cret" not in str(caught.value)
        assert caught.value.field == "database_url"
    with pytest.raises(InvalidRequest, match=said):
        await open_store(url)


def test_state_does_not_import_alembic(empty: Path) -> None:
    """A start on current tables is quick."""
    url = f"sqlite:///{empty}"
    upgrade(url)
    program = (
        "import sys; from coordinator.storage.sql.store import state;"
        f"print(state({url!r}), 'alembic' in sys.modules, 'mako' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "CURRENT False False"


def test_embedded_database_needs_no_driver_of_a_server(tmp_path: Path) -> None:
    """Nor greenlet, which comes with them: `pip install tercet` is enough."""
    url = f"sqlite:///{tmp_path}/tercet.db"
    program = (
        "import asyncio, sys; sys.modules['greenlet'] = None;"
        "import coordinator.bootstrap, participant_sdk;"
        "from coordinator.storage.sql.migrate import upgrade;"
        "from coordinator.storage.sql.store import open_store;"
        f"upgrade({url!r}); asyncio.run(open_store({url!r})); print('open')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "open", done.stderr


@pytest.mark.parametrize("name", ["postgresql", "mysql+pymysql"])
def test_tables_can_be_declared_on_other_databases(name: str) -> None:
    """Portable types, and identifiers that compare byte by byte."""
    dialect = make_url(f"{name}://").get_dialect()()
    for table in METADATA.sorted_tables:
        text = str(CreateTable(table).compile(dialect=dialect))
        assert "COLLATE" in text
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


def set_revision(path: Path, revision: str) -> None:
    """Pretend that another version has been here."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.close()


def test_tables_of_others_keep_the_options_that_they_name() -> None:
    """A program may use the coordinator's store beside tables of its own."""
    theirs = Table("t", MetaData(), Column("n", Integer), mysql_engine="MEMORY")
    made = str(CreateTable(theirs).compile(dialect=mysql.dialect()))

    assert made.count("ENGINE=") == 1
    assert "ENGINE=MEMORY" in made
