"""``tercet db``: upgrades say what they did, and status has an exit code."""

import json
import sqlite3

import pytest


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
