"""``tercet`` on a database server, as an operator meets it."""

import re
import signal
import subprocess
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.servers import MariaDB, PostgreSQL, Server


def serve(url: str, *flags: str) -> "subprocess.Popen[str]":
    """A node on a free port."""
    program = [sys.executable, "-m", "coordinator", "serve", "--db", url]
    return subprocess.Popen(
        [*program, "--listen", "127.0.0.1:0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stopped(node: "subprocess.Popen[str]") -> str:
    """What it had said on stderr."""
    node.send_signal(signal.SIGTERM)
    return node.communicate(timeout=60)[1]


def test_a_server_is_upgraded_and_then_served(run, database_server: Server) -> None:
    """An empty one is not given its tables in passing: others may own it."""
    url = database_server.create("tercet_operator")
    refused = run("serve", "--db", url)
    assert refused.exit_code == 4
    assert "tercet db upgrade" in refused.stderr
    shown = run("db", "upgrade", "--db", url, "--sql")
    assert "CREATE TABLE global_transactions" in shown.stdout
    assert run("db", "status", "--db", url).exit_code == 1
    assert run("db", "upgrade", "--db", url).stdout.startswith("applied 0001_")
    assert run("db", "status", "--db", url).stdout.startswith("CURRENT")
    node = serve(url)
    assert re.fullmatch(
        r"tercet is ready on 127\.0\.0\.1:\d+\n", node.stdout.readline()
    )
    assert "unsafe" not in stopped(node)
    assert node.returncode == 0


def test_unsafe_settings_need_their_flag_and_are_told_each_time(
    run, database_server: Server
) -> None:
    """T7: refused by name; accepted with a warning on stderr, in the log
    and to who asks for the nodes.
    """
    url = database_server.create("tercet_unsafe")
    run("db", "upgrade", "--db", url)
    if isinstance(database_server, MariaDB):
        name, restore = (
            "innodb_flush_log_at_trx_commit",
            "SET GLOBAL innodb_flush_log_at_trx_commit = 1",
        )
        database_server.run(f"SET GLOBAL {name} = 0")
    else:
        name, restore = "synchronous_commit", "SELECT 1"
        database_server.run(f"ALTER DATABASE tercet_unsafe SET {name} = off")
    try:
        refused = run("serve", "--db", url)
        assert refused.exit_code == 4
        (line,) = refused.stderr.splitlines()
        assert f"{name}=" in line
        assert "--unsafe-database-settings" in line
        node = serve(url, "--unsafe-database-settings")
        ready = node.stdout.readline()
        assert ready.startswith("tercet is ready on ")
        nodes = run("nodes", "--server", ready.rpartition(" ")[2].strip())
        said = stopped(node)
    finally:
        database_server.run(restore)
    assert "WARNING: --unsafe-database-settings" in said
    assert "unsafe_database_accepted" in said
    assert f" serves with {name}=" in nodes.stdout.splitlines()[-1]
    assert "s3cret" not in said


def test_health_turns_while_the_server_is_away(run, postgresql: PostgreSQL) -> None:
    """F16: a balancer that watches takes the node out, and in again, by itself."""
    url = postgresql.create("tercet_health")
    run("db", "upgrade", "--db", url)
    node = serve(url)
    target = node.stdout.readline().rpartition(" ")[2].strip()
    told = health_pb2.HealthCheckResponse
    with grpc.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service="tercet.v1.Coordinator")
        watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=60)
        seen = [next(watch).status]
        postgresql.kill()
        seen.append(next(watch).status)
        postgresql.start()
        seen.append(next(watch).status)
    assert seen == [told.SERVING, told.NOT_SERVING, told.SERVING]
    assert "health_changed" in stopped(node)
    assert node.returncode == 0


def test_what_is_wrong_with_a_server_is_one_line_without_its_password(
    run, database_server: Server
) -> None:
    """Wrong password, wrong port, wrong database."""
    right = database_server.url("nowhere")
    wrong = {
        database_server.url("nowhere", password="s3cret wrong"): 4,
        right.replace(f":{database_server.port}/", ":1/"): 5,
        right: 4,
    }
    for url, exit_code in wrong.items():
        for command in (["db", "upgrade"], ["db", "status"], ["serve"]):
            result = run(*command, "--db", url)
            assert result.exit_code == exit_code
            (line,) = result.stderr.splitlines()
            assert line.startswith("error: ")
            assert "s3cret" not in line
