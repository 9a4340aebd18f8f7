"""``tercet db``: upgrades say what they did, and status has an exit code."""

import asyncio
import json
import sqlite3

import pytest

from coordinator.cli import database
from coordinator.storage.sql.store import open_store
from tests.storage.samples import NOW, began, commit, key, run_to_end


def test_upgrade_says_what_it_applied_and_then_has_nothing_to_do(run, tmp_path):
    """The second time changes nothing; status follows."""
    url = f"sqlite:///{tmp_path}/a.db"
    before = run("db", "status", "--db", url)
    assert (before.exit_code, before.stdout.partition(":")[0]) == (1, "EMPTY")
    assert not (tmp_path / "a.db").exists()
    first = run("db", "upgrade", "--db", url)
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("applied 0001_")
    again = run("db", "upgrade", "--db", url)
    assert again.stdout == "nothing to do: the tables are current\n"
    after = run("db", "status", "--db", url)
    assert (after.exit_code, after.stdout.partition(":")[0]) == (0, "CURRENT")


def test_both_speak_json(run, tmp_path):
    """With one document on stdout."""
    env = {"TERCET_DATABASE_URL": f"sqlite:///{tmp_path}/a.db", "TERCET_OUTPUT": "json"}
    assert json.loads(run("db", "status", env=env).stdout) == {"state": "EMPTY"}
    (first, *_) = json.loads(run("db", "upgrade", env=env).stdout)["applied"]
    assert first.startswith("0001_")
    assert json.loads(run("db", "upgrade", env=env).stdout) == {"applied": []}
    assert json.loads(run("db", "status", env=env).stdout) == {"state": "CURRENT"}


def test_the_database_can_stand_in_the_file(run, tmp_path):
    """The same settings file serves the node and its upgrade."""
    file = tmp_path / "tercet.toml"
    file.write_text(f'database_url = "sqlite:///{tmp_path}/a.db"\n')
    assert run("db", "upgrade", "--config", str(file)).exit_code == 0
    assert (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("url", "exit_code"),
    [
        ("a.db", 2),
        ("sqlite://", 2),
        ("sqlite:///:memory:", 2),
        ("oracle://u:hunter2@h/db", 2),
        ("sqlite:////nowhere/at/all/a.db", 2),
    ],
)
@pytest.mark.parametrize("command", ["upgrade", "status"])
def test_a_database_that_cannot_be_is_code_2(run, command, url, exit_code):
    """One line that names the setting, without a password."""
    result = run("db", command, "--db", url)
    assert result.exit_code == exit_code
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "database" in line
    assert "hunter2" not in result.output


def test_a_file_that_is_no_database_is_code_5(run, tmp_path):
    """It is left as it is."""
    path = tmp_path / "a.db"
    path.write_bytes(b"something else entirely, and long enough" * 100)
    result = run("db", "upgrade", "--db", f"sqlite:///{path}")
    assert result.exit_code == 5
    assert len(result.stderr.splitlines()) == 1
    assert path.read_bytes().startswith(b"something else")


def test_tables_of_a_newer_version_are_code_4(run, tmp_path):
    """They are neither changed nor served."""
    url = f"sqlite:///{tmp_path}/a.db"
    run("db", "upgrade", "--db", url)
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    assert run("db", "status", "--db", url).stdout.startswith("AHEAD")
    assert run("db", "upgrade", "--db", url).exit_code == 4
    served = run("serve", "--db", url)
    assert served.exit_code == 4
    assert "newer version" in served.stderr


# ---- Purging -----------------------------------------------------------------------


@pytest.fixture
def filled(run, tmp_path):
    """A database with three old finished transactions and one that is under way."""
    url = f"sqlite:///{tmp_path}/a.db"
    run("db", "upgrade", "--db", url)

    async def fill():
        store = await open_store(url)
        for number in range(3):
            await run_to_end(store, number)
        await commit(store, began(9, "debit"))
        await store.close()

    asyncio.run(fill())
    return url


def left(tmp_path) -> list[str]:
    connection = sqlite3.connect(tmp_path / "a.db")
    found = connection.execute("SELECT gid FROM global_transactions ORDER BY gid")
    gids = [gid for (gid,) in found]
    connection.close()
    return gids


def test_a_purge_removes_what_is_old_and_says_how_much(run, tmp_path, filled):
    """A second one finds nothing to do; what is under way stays."""
    dry = run("db", "purge", "--db", filled, "--older-than", "30d", "--dry-run")
    assert dry.stdout == "3 finished transactions would be removed\n"
    assert len(left(tmp_path)) == 4
    done = run("db", "purge", "--db", filled, "--older-than", "30d")
    assert (done.exit_code, done.stdout) == (0, "removed 3 finished transactions\n")
    assert left(tmp_path) == [key(9).gid]
    again = run("db", "purge", "--db", filled, "--older-than", "30d")
    assert again.stdout == "removed 0 finished transactions\n"


def test_a_purge_keeps_what_is_younger(run, tmp_path, filled):
    """The samples finished in 2025."""
    done = run("db", "purge", "--db", filled, "--older-than", "36600d")
    assert (done.exit_code, len(left(tmp_path))) == (0, 4)


def test_a_purge_archives_where_it_is_told_to(run, tmp_path, filled):
    """By the flag, or by the settings that the node has."""
    archive = tmp_path / "archive"
    env = {"TERCET_ARCHIVE": str(archive), "TERCET_OUTPUT": "json"}
    done = run("db", "purge", "--db", filled, "--older-than", "30d", env=env)
    assert json.loads(done.stdout) == {
        "dry_run": False,
        "looked_at": 4,
        "removed": 3,
        "archived": 3,
        "removable": 3,
    }
    (file,) = archive.iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["gid"] for line in lines] == [key(n).gid for n in range(3)]
    assert {line["created_at"] for line in lines} == {NOW}


def test_a_purge_tells_how_far_it_is(run, monkeypatch, filled):
    """On stderr, so that the result stands alone."""
    monkeypatch.setattr(database, "PROGRESS_SECONDS", 0)
    done = run("db", "purge", "--db", filled, "--older-than", "30d")
    assert done.stderr.splitlines() == [
        "looked at 4, removed 0 so far",
        "looked at 4, removed 3 so far",
    ]


@pytest.mark.parametrize("age", ["0d", "soon", "1m", "-3d"])
def test_an_age_that_cannot_be_is_code_2(run, tmp_path, filled, age):
    """With what is expected; nothing is removed."""
    done = run("db", "purge", "--db", filled, f"--older-than={age}")
    assert done.exit_code == 2
    assert "1h to 36600d" in done.stderr
    assert len(left(tmp_path)) == 4


def test_an_archive_that_cannot_be_written_keeps_everything(run, tmp_path, filled):
    """One line that names it."""
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "archive")
    done = run("db", "purge", "--db", filled, "--older-than", "30d", "--archive", place)
    assert done.exit_code == 4
    assert "archive" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(left(tmp_path)) == 4
