"""``tercet`` as a whole: help, exit codes, terminals and the catalogue."""

import json
import subprocess
import sys

import pytest

from coordinator.cli import output
from coordinator.cli.failure import MEANINGS, ExitCode
from protos.v1 import admin_pb2, types_pb2


def python(*args, **kwargs):
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **kwargs,
    )


def test_help_loads_nothing_heavy():
    """Whoever only asks for help does not wait for gRPC or a database library."""
    code = (
        "import sys\n"
        "from coordinator.cli.app import build\n"
        "try: build(is_pretty=False)(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'grpc', 'google.protobuf', 'sqlalchemy', 'alembic', 'structlog',"
        " 'rich', 'msgspec', 'ruamel'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    result = python("-c", code)
    assert result.stderr == "[]\n"
    assert "Usage: tercet" in result.stdout


def test_help_tells_every_exit_code(run):
    """The codes are a promise, so they are written where users look."""
    help_ = run("--help").stdout
    for code, meaning in MEANINGS.items():
        assert f"{code.value}  {meaning}" in help_
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("arguments", [(), ("tx",), ("saga",), ("db",)])
def test_a_group_without_a_command_shows_its_help(run, arguments):
    """On stderr, and as wrong usage."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Commands:" in result.stderr


def test_a_misspelled_command_is_one_line(run):
    """With what was probably meant."""
    result = run("serv")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "serve" in line
    assert "tercet --help" in line


def test_version_is_that_of_the_distribution(run):
    """As a line and as JSON."""
    word, version = run("version").stdout.split()
    assert word == "tercet"
    shown = json.loads(run("version", "--output", "json").stdout)
    assert shown == {"version": version}


def test_the_module_is_the_command():
    """``python -m coordinator`` is ``tercet``, with its exit codes."""
    assert python("-m", "coordinator", "version").stdout.startswith("tercet ")
    wrong = python("-m", "coordinator", "tx", "show", "a/b")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_a_fault_of_ours_is_code_6_without_a_trace(run, monkeypatch):
    """One line, and no password in it."""

    def fail(**_flags):
        raise RuntimeError("broken at\nsqlite://u:hunter2@h")

    monkeypatch.setattr("coordinator.cli.option.client", fail)
    result = run("version")
    assert result.exit_code == 6
    (line,) = result.stderr.splitlines()
    assert "RuntimeError: broken at" in line
    assert "hunter2" not in line
    assert "(test_app.py:" in line


def test_a_reader_that_has_enough_is_no_error():
    """As in ``tercet ... | head``: nothing on stderr, code 0."""
    code = (
        "import os, sys\n"
        "from coordinator.cli.app import build\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "os.dup2(write, 1)\n"
        "build(is_pretty=False)(['version'])\n"
    )
    result = python("-c", code)
    assert (result.returncode, result.stderr) == (0, "")


def test_no_locale_breaks_the_output():
    """What a stream cannot encode is escaped."""
    code = "from coordinator.cli import output; output.line('größe \u20ac')"
    result = python("-c", code, env={"PYTHONIOENCODING": "ascii"})
    assert result.stdout == "gr\\xf6\\xdfe \\u20ac\n", result.stderr


@pytest.fixture
def terminal(monkeypatch):
    """Makes the command believe that all its streams are terminals."""
    monkeypatch.setattr(output, "is_pretty", lambda _stream: True)
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_terminal_gets_a_table_with_every_value(ask, server, terminal):
    """Rich draws it; markup in a value stays text."""
    server.answers["ListOperations"] = admin_pb2.ListOperationsReply(
        operations=[types_pb2.Operation(name="[red]a.b", participant="a")]
    )
    shown = ask("operations").stdout
    assert "[red]a.b" in shown
    assert "─" in shown


def test_a_terminal_gets_errors_in_a_panel(run, terminal):
    """The same words as elsewhere."""
    result = run("tx", "show", "[bold]")
    assert result.exit_code == 2
    assert "GID: expected 1 to 128 characters" in result.stderr
    assert "╭" in result.stderr


def test_a_terminal_gets_a_panel(capsys, terminal):
    """Lines that belong together stand in a box."""
    output.panel("Title", ["one", "[red]two"])
    shown = capsys.readouterr().out
    assert "Title" in shown
    assert "[red]two" in shown
    assert "╭" in shown


@pytest.mark.parametrize(("term", "pretty"), [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_is_not_drawn_on(monkeypatch, term, pretty):
    """TERM=dumb gets what a pipe gets."""

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", term)
    assert output.is_pretty(Terminal()) == pretty


def test_columns_are_as_wide_as_what_they_show(capsys):
    """Wide characters and combining ones count as they are drawn."""
    output.table(("a", "b"), [("漢字", 1), ("e\u0301", 2), ("abcd", None)])
    assert capsys.readouterr().out.splitlines() == [
        "A     B",
        "漢字  1",
        "e\u0301     2",
        "abcd  -",
    ]


def test_times_that_cannot_be_are_shown_as_numbers():
    """A wrong clock somewhere is no reason to show nothing."""
    assert output.instant(0) is None
    assert output.instant(10**18) == "1000000000000000000"
