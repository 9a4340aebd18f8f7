"""``tercet`` as real processes: a node, and commands that ask it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from protos.v1 import coordinator_pb2, coordinator_pb2_grpc, types_pb2
from tests.pace import slowness

ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith("TERCET_")
}
READY = "tercet is ready on "


def start(*args, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "coordinator", *args],
        cwd=cwd,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def node(*args, cwd):
    """A node and its ready line; killed, at the latest, when the block is left."""
    with start(*args, cwd=cwd) as process:
        try:
            yield process, process.stdout.readline().rstrip("\n")
        finally:
            process.kill()


def tercet(*args, cwd):
    with start(*args, cwd=cwd) as process:
        stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout, stderr


def resident_kib(pid):
    # Not ru_maxrss: that of a child counts what its parent had when it was forked.
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read_text())[1])
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)]))


def on_a_terminal(*args, cwd, typed):
    """What a command shows on a terminal where this was typed ahead, and its code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "coordinator", *args],
        cwd=cwd,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        told = ""
        with suppress(OSError), os.fdopen(ours, "rb+", buffering=0) as terminal:
            terminal.write(typed)
            while some := terminal.read(4_096):  # OSError: nobody is there any more
                told += some.decode()
        return told, process.wait(timeout=60)


@pytest.fixture
def serving(tmp_path):
    """A node on an embedded database that it makes itself."""
    args = ("serve", "--db", "sqlite:///a.db", "--listen", "localhost:0")
    with node(*args, cwd=tmp_path) as (process, line):
        yield process, line.removeprefix(READY)


def test_commands_reach_a_node_and_a_signal_drains_it(serving, tmp_path):
    """Asked over the wire, refused by its words, and ended with exit code 0."""
    process, address = serving
    server = ("--server", address)
    code, stdout, stderr = tercet(
        "tx", "list", "--output", "json", *server, cwd=tmp_path
    )
    assert (code, stderr) == (0, "")
    assert json.loads(stdout) == {"transactions": [], "next_page_token": ""}
    code, stdout, stderr = tercet("tx", "show", "nobody", *server, cwd=tmp_path)
    assert (code, stdout) == (3, "")
    assert stderr.startswith("error: gid: ")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in stderr.splitlines()]
    assert events[0] == "database_migrated"
    assert events[-1] == "node_stopped"


def test_an_operator_is_asked_on_a_terminal(serving, tmp_path):
    """The number is shown, a typed "y" does it, and the result is a table."""
    _, address = serving
    with grpc.insecure_channel(address) as channel:
        coordinator = coordinator_pb2_grpc.CoordinatorStub(channel)
        begun = coordinator_pb2.BeginRequest(gid="t-1", name="transfer")
        coordinator.Begin(begun, timeout=60)
        told, code = on_a_terminal(
            *("tx", "cancel", "--name", "transfer", "--reason", "stop", "--actor"),
            *("ann", "--server", address),
            cwd=tmp_path,
            typed=b"y\n\x04",  # with the end of input, for a second question
        )
        get = coordinator_pb2.GetRequest(gid="t-1")
        ended = coordinator.Get(get, timeout=60).transaction
    assert code == 0, told
    assert "cancel 1 transaction? [y/N] " in told
    assert "CANCELLED" in told
    assert (ended.status, ended.reason_text) == (types_pb2.CANCELLED, "stop")


def test_ctrl_c_drains_a_node(serving):
    """As SIGTERM does."""
    process, _ = serving
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_taken_address_is_code_4(serving, tmp_path):
    """One line that names the setting and the address, no trace."""
    _, address = serving
    code, stdout, stderr = tercet(
        *("serve", "--db", "sqlite:///b.db", "--listen", address), cwd=tmp_path
    )
    assert (code, stdout) == (4, "")
    last = stderr.splitlines()[-1]
    assert last.startswith("error: listen: ")
    assert address in last
    assert "Traceback" not in stderr


def test_dev_is_ready_within_two_seconds_of_work_and_120_mb(tmp_path):
    """Counted as processor time beside other work, so that a busy machine changes
    nothing.
    """
    with node("dev", "--listen", "localhost:0", cwd=tmp_path) as (process, line):
        assert line == "Tercet is ready"
        memory_kib = resident_kib(process.pid)
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = -signal.SIGKILL
    assert (usage.ru_utime + usage.ru_stime) / max(1, slowness()) < 2
    assert memory_kib < 120 * 1024
    assert (tmp_path / ".tercet" / "dev.db").exists()
