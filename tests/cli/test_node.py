"""``tercet serve`` and ``tercet dev``: what they start, and what they refuse."""

import asyncio
import json
import logging
import sys
from types import SimpleNamespace

import pytest
import structlog

import coordinator
from coordinator.cli import node
from coordinator.core.errors import PreconditionFailed, StoreUnavailable
from coordinator.storage.sql import migrate


@pytest.fixture
def started(monkeypatch):
    """Configurations that nodes were started with; each node ends when it is ready."""
    configs = []

    async def serve(config, on_ready):
        configs.append((config, type(asyncio.get_running_loop()).__module__))
        on_ready(config.listen.replace(":0", ":54321"))

    bootstrap = SimpleNamespace(serve=serve)
    monkeypatch.setitem(sys.modules, "coordinator.bootstrap", bootstrap)
    monkeypatch.setattr(coordinator, "bootstrap", bootstrap, raising=False)
    return configs


@pytest.fixture(autouse=True)
def collector(monkeypatch):
    """What was asked of the garbage collector, which this process keeps as it is."""
    asked = []
    mine = SimpleNamespace(
        freeze=lambda: asked.append("freeze"),
        set_threshold=lambda *numbers: asked.append(numbers),
    )
    monkeypatch.setattr(node, "gc", mine)
    return asked


@pytest.fixture(autouse=True)
def lock_seconds(monkeypatch):
    """For how long threads were told to wait for the lock, which this process keeps."""
    asked = []
    monkeypatch.setattr(sys, "setswitchinterval", asked.append)
    return asked


def test_serve_says_where_it_is_ready(run, started, tmp_path):
    """One line on stdout that a script can wait for, with the port that was bound."""
    result = run("serve", "--db", "sqlite:///a.db", "--listen", "localhost:0")
    assert result.exit_code == 0, result.output
    assert result.stdout == "tercet is ready on 127.0.0.1:54321\n"
    ((config, loop),) = started
    assert config.database_url == "sqlite:///a.db"
    assert loop.startswith("uvloop")


def test_a_node_collects_garbage_rarely_once_it_is_ready(run, started, collector):
    """What is loaded by then stays; what transactions leave mostly goes by itself."""
    run("serve", "--db", "sqlite:///a.db")

    assert collector == ["freeze", node.GARBAGE_OBJECTS]


def test_the_writer_does_not_wait_long_for_the_event_loop(run, started, lock_seconds):
    """SQLite's thread has to have the interpreter's lock between two statements."""
    run("serve", "--db", "sqlite:///a.db")

    assert lock_seconds == [node.LOCK_SECONDS]


def test_serve_gives_an_empty_embedded_database_its_tables(run, started, tmp_path):
    """And does nothing to one that is current."""
    first = run("serve", "--db", "sqlite:///a.db")
    assert "database_migrated" in first.stderr
    assert run("db", "status", "--db", "sqlite:///a.db").exit_code == 0
    assert "database_migrated" not in run("serve", "--db", "sqlite:///a.db").stderr


def test_serve_refuses_tables_of_an_older_version(run, started, monkeypatch):
    """An upgrade is somebody's decision, after a backup; the line names it."""
    monkeypatch.setattr(migrate, "state", lambda _url: migrate.SchemaState.BEHIND)
    result = run("serve", "--db", "sqlite:///a.db")
    assert result.exit_code == 4
    assert "tercet db upgrade" in result.stderr
    assert started == []


def test_serve_does_without_uvloop(run, started, monkeypatch):
    """Where it cannot be imported, the loop of the standard library serves."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run("serve", "--db", "sqlite:///a.db").exit_code == 0
    assert started[0][1].startswith("asyncio")


def test_serve_takes_every_flag(run, started):
    """Flags beat the environment."""
    result = run(
        *("serve", "--db", "sqlite:///b.db", "--listen", "[::1]:0"),
        *("--log-level", "error", "--log-format", "console"),
        env={"TERCET_DATABASE_URL": "sqlite:///a.db", "TERCET_LOG_LEVEL": "debug"},
    )
    assert result.exit_code == 0, result.output
    ((config, _),) = started
    assert (config.database_url, config.listen) == ("sqlite:///b.db", "[::1]:0")
    assert (config.log_level, config.log_format) == ("error", "console")


def test_serve_logs_json_to_stderr(run, started):
    """Stdout has the ready line and nothing else."""
    result = run("serve", "--db", "sqlite:///a.db")
    assert all(line.startswith("{") for line in result.stderr.splitlines())
    assert len(result.stdout.splitlines()) == 1


def test_serve_refuses_to_listen_off_loopback(run, started, tmp_path):
    """Before it touches the database."""
    result = run("serve", "--listen", "0.0.0.0:0", "--db", "sqlite:///a.db")
    assert result.exit_code == 2
    assert "--insecure-off-loopback" in result.stderr
    assert started == []
    assert not (tmp_path / "a.db").exists()


def test_the_opt_out_is_loud(run, started):
    """Whoever opts out is told so, and the log holds it."""
    result = run(
        *("serve", "--listen", "0.0.0.0:0", "--db", "sqlite:///a.db"),
        "--insecure-off-loopback",
    )
    assert result.exit_code == 0, result.output
    assert "WARNING" in result.stderr
    assert "insecure_listener_opened" in result.stderr
    assert started[0][0].insecure_off_loopback


def test_push_targets_are_named_one_by_one(run, started):
    """As often as there are participants that are called at an address."""
    names = ("--push", "accounts=localhost:1", "--push", "stock=[::1]:2")
    assert run("serve", "--db", "sqlite:///a.db", *names).exit_code == 0
    assert run("dev", *names).exit_code == 0
    for config, _ in started:
        assert [(t.participant, t.address) for t in config.push] == [
            ("accounts", "127.0.0.1:1"),
            ("stock", "[::1]:2"),
        ]


def test_a_push_target_that_cannot_be_is_refused(run, started):
    """With the participant's name, and before anything is started."""
    result = run("serve", "--db", "sqlite:///a.db", "--push", "accounts=unix:/x")
    assert result.exit_code == 2
    assert "push.accounts.address (flag --push)" in result.stderr
    assert started == []


def test_unguarded_calls_are_loud(run, started, tmp_path):
    """At each start, for whoever accepts the risk."""
    file = tmp_path / "tercet.toml"
    file.write_text(
        "[push.accounts]\naddress = 'a.invalid:1'\ninsecure_off_loopback = true"
    )
    result = run("serve", "--db", "sqlite:///a.db", "--config", str(file))
    assert result.exit_code == 0, result.output
    assert "WARNING: push.accounts: insecure_off_loopback" in result.stderr


def test_the_opt_out_can_stand_in_the_environment(run, started):
    """A flag that was not given does not overrule it."""
    env = {"TERCET_INSECURE_OFF_LOOPBACK": "yes", "TERCET_LISTEN": "0.0.0.0:0"}
    assert run("serve", "--db", "sqlite:///a.db", env=env).exit_code == 0
    assert started[0][0].insecure_off_loopback


@pytest.mark.parametrize(
    ("raised", "exit_code", "word"),
    [
        (PreconditionFailed("the port is taken", field="listen"), 4, "listen: the"),
        (StoreUnavailable("the disk is full"), 5, "the disk is full"),
        (OSError("the port is taken"), 4, "listen: the port is taken"),
        (RuntimeError("odd sqlite://u:hunter2@h"), 6, "RuntimeError: odd"),
    ],
)
def test_a_node_that_fails_is_one_line_and_a_code(
    run, started, monkeypatch, raised, exit_code, word
):
    """No stack trace on the terminal, and no password."""

    async def fail(_config, _on_ready):
        raise raised

    monkeypatch.setattr(coordinator.bootstrap, "serve", fail)
    result = run("serve", "--db", "sqlite:///a.db", "--log-level", "error")
    assert result.exit_code == exit_code
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert word in last
    assert "hunter2" not in result.output
    assert "Traceback" not in last


def test_a_fault_of_a_node_leaves_its_trace_in_the_log(run, started, monkeypatch):
    """The terminal gets a line, whoever repairs it gets the trace."""

    async def fail(_config, _on_ready):
        raise RuntimeError("odd")

    monkeypatch.setattr(coordinator.bootstrap, "serve", fail)
    result = run("serve", "--db", "sqlite:///a.db", "--log-format", "json")
    (failed,) = (line for line in result.stderr.splitlines() if "node_failed" in line)
    assert "Traceback" in json.loads(failed)["exception"]


def test_ctrl_c_before_it_is_ready_is_code_130(run, started, monkeypatch):
    """As the shell expects it."""

    async def interrupted(_config, _on_ready):
        raise KeyboardInterrupt

    monkeypatch.setattr(coordinator.bootstrap, "serve", interrupted)
    assert run("serve", "--db", "sqlite:///a.db").exit_code == 130


def test_dev_makes_a_database_and_says_what_to_do_next(run, started, tmp_path):
    """Address, database, and three commands that fit the address."""
    result = run("dev", "--listen", "localhost:0")
    assert result.exit_code == 0, result.output
    assert (tmp_path / ".tercet" / "dev.db").exists()
    assert (tmp_path / ".tercet" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / ".tercet").stat().st_mode & 0o077 == 0
    assert "127.0.0.1:54321" in result.stdout
    assert ".tercet/dev.db" in result.stdout
    commands = [line for line in result.stdout.splitlines() if "  tercet " in line]
    assert len(commands) == 3
    assert all("--server 127.0.0.1:54321" in command for command in commands)


def test_dev_on_the_default_address_needs_no_server_option(run, started):
    """The commands it names are as short as they can be."""
    assert "--server" not in run("dev").stdout


def test_dev_keeps_its_database(run, started, tmp_path):
    """A second start finds what the first left, wherever --dir points."""
    folder = tmp_path / "a b" / "c"
    assert run("dev", "--dir", str(folder)).exit_code == 0
    before = (folder / "dev.db").stat().st_ino
    assert run("dev", "--dir", str(folder)).exit_code == 0
    assert (folder / "dev.db").stat().st_ino == before


def test_dev_ignores_the_database_of_the_environment(run, started, tmp_path):
    """It never touches a database that somebody else works with."""
    env = {"TERCET_DATABASE_URL": "sqlite:///other.db"}
    assert run("dev", env=env).exit_code == 0
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("name", ["file", "file/below", "what?"])
def test_dev_in_a_place_that_cannot_be_is_code_2(run, started, tmp_path, name):
    """The line names the option."""
    (tmp_path / "file").write_text("")
    result = run("dev", "--dir", name)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --dir: ")
    assert started == []


def test_logging_is_left_as_it_was():
    """These tests configure a process; the next test must not see it."""
    assert not structlog.is_configured()
    assert logging.getLogger().level == logging.WARNING
