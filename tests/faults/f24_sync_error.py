"""F24: the disk reports an error when it is told to sync.

After a failed sync the kernel counts the pages as clean, and a second sync would lie.
So nothing may be acknowledged on the strength of a sync that failed: SQLite's commit is
refused and its pages are written again; PostgreSQL stops itself and replays its log,
and MariaDB ends, to be started again by whoever supervises it.

``strace`` puts itself between the process and the kernel, makes every n-th sync fail,
and writes down which ones succeeded; the clients' clock says what was told when.
"""

import asyncio
import time

import grpc

from protos.v1.coordinator_pb2_grpc import CoordinatorStub
from tests.faults.node import Node
from tests.faults.stage import (
    Database,
    Probe,
    client_of,
    database,
    running,
    still_there,
    until,
)
from tests.faults.verdict import Fault, Figures, Trial, need, promise, say
from tests.servers import Server
from tests.servers.syncs import failing_syncs, syncs

REFUSED_MIN = 200
"""Requests that met a failed sync."""

EVERY = 3
"""Each third sync fails."""

STOPS = 10
RESUME_SECONDS_MAX = 10


async def run(trial: Trial) -> Figures:
    """Of the node itself with SQLite; else of the database's processes."""
    need("strace")
    with database(trial) as where:
        if where.server is None:
            return await embedded(trial, where)
        return await served(trial, where)


async def embedded(trial: Trial, where: Database) -> Figures:
    """One request at a time, so that each answer has syncs of its own."""
    trace = trial.directory / "trace"
    node = Node(trial.directory, where.url)
    acknowledged: list[tuple[str, float, float]] = []
    refused = 0
    async with running(node):
        with failing_syncs(f"{EVERY}+{EVERY}", trace, node.pid):
            probe = Probe(node.target)
            async with grpc.aio.insecure_channel(node.target) as channel:
                stub = CoordinatorStub(channel)
                while refused < REFUSED_MIN:
                    asked_at = time.time()
                    answer = await probe.ask(stub)
                    if answer.code == "OK":
                        acknowledged.append((answer.gid, asked_at, time.time()))
                    else:
                        promise(answer.code == "UNAVAILABLE", f"told {answer.code}")
                        refused += 1
        node.check()
        node.kill()
    synced, failed = syncs(trace)
    say(f"{len(synced)} syncs succeeded, {failed} failed")
    for gid, asked_at, told_at in acknowledged:
        promise(
            any(asked_at <= at <= told_at for at in synced),
            f"{gid} was acknowledged without a sync that succeeded",
        )
    lost = await lost_after_restart(trial, where, [g for g, *_ in acknowledged])
    return {
        "syncs_failed": failed,
        "refused": refused,
        "acknowledged": len(acknowledged),
        "acknowledged_without_sync": 0,
        "lost": lost,
    }


async def served(trial: Trial, where: Database) -> Figures:
    """The log's sync fails in whoever commits next: the server stops, comes back."""
    node = Node(trial.directory, where.url)
    slowest = 0.0
    async with running(node), Probe(node.target).asking() as probe:
        await asyncio.sleep(1)
        for number in range(STOPS):
            stopped_at = await fail(trial, where)
            await until(
                lambda: probe.first_ok_after(stopped_at + 0.1) < float("inf"),  # noqa: B023
                seconds=RESUME_SECONDS_MAX * 2,
            )
            resumed = probe.first_ok_after(stopped_at + 0.1)
            slowest = max(slowest, resumed)
            say(f"stop {number + 1}: served again after {resumed:.1f} s")
            node.check()
        kept = [a.gid for a in probe.answers if a.code == "OK"]
        codes = {a.code for a in probe.answers}
        where.running.kill()
        where.running.start()
        async with client_of(node.target) as client:
            lost = await still_there(client, kept)
    promise(not lost, f"{lost} acknowledged ones are lost")
    promise(codes == {"OK", "UNAVAILABLE"}, f"told {codes}")
    promise(slowest <= RESUME_SECONDS_MAX, f"served again after {slowest:.1f} s")
    return {
        "stops": STOPS,
        "acknowledged": len(kept),
        "lost": lost,
        "served_again_seconds_max": f"{slowest:.1f}",
    }


async def fail(trial: Trial, where: Database) -> float:
    """One sync, which stops the server; one that has ended is started again.

    Returns:
        When it had stopped, by the event loop's clock.
    """
    server = where.running
    before = panics(server)
    with failing_syncs("1", trial.directory / "trace", *server.pids()):
        await until(
            lambda: panics(server) > before or not server.is_running, seconds=30
        )
    stopped_at = asyncio.get_running_loop().time()
    if not server.is_running:
        await asyncio.to_thread(server.start)
    return stopped_at


def panics(server: Server) -> int:
    """How often PostgreSQL has said that it stops itself."""
    return sum("PANIC" in line for line in server.log_lines())


async def lost_after_restart(trial: Trial, where: Database, gids: list[str]) -> int:
    """How many acknowledged ones a node does not know that starts on what was left."""
    node = Node(trial.directory, where.url, name="after")
    async with running(node), client_of(node.target) as client:
        lost = await still_there(client, gids)
    promise(not lost, f"{lost} acknowledged ones are lost")
    return lost


FAULT = Fault("F24", "a sync that fails", ("sqlite", "postgresql", "mariadb"), run)
