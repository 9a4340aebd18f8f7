"""F17: PostgreSQL fails over to its standby.

A streaming standby confirms every commit (``synchronous_standby_names``). The primary
is killed, the standby promoted, and the address leads to it: nothing that was
acknowledged may be missing there. Nor may it be when the standby could not be reached
for a while before: a commit that only the primary has must not be acknowledged.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from sqlalchemy.engine import make_url

from participant_sdk.gid import new_gid
from protos.v1.coordinator_pb2_grpc import CoordinatorStub
from tests.faults.bank import Work, audit
from tests.faults.detour import Detour
from tests.faults.node import Node
from tests.faults.stage import (
    Database,
    Probe,
    bank_in,
    client_of,
    database,
    running,
    serving,
    still_there,
)
from tests.faults.verdict import Fault, Figures, Trial, promise, say
from tests.servers import PostgreSQL
from tests.servers.process import PASSWORD, USER, find_program

RESUME_SECONDS_MAX = 10.0
AWAY_SECONDS = 20.0
"""The standby answers nothing for longer than any call of the coordinator's takes."""


@contextmanager
def standby_of(primary: PostgreSQL) -> Iterator[PostgreSQL]:
    """A copy that follows, without which nothing is acknowledged."""
    standby = PostgreSQL()
    try:
        source = (
            f"host=127.0.0.1 port={primary.port} user={USER} password='{PASSWORD}'"
            " application_name=standby"
        )
        folders = ["usr/lib/postgresql/*/bin"]
        standby.prepare(
            [
                find_program("pg_basebackup", folders),
                *("-d", source, "-D", str(standby.home / "data"), "-R", "-X", "stream"),
                "--checkpoint=fast",
            ]
        )
        standby.ready = "database system is ready to accept read-only connections"
        standby.start()
        primary.run(
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
            "SELECT pg_reload_conf()",
        )
        yield standby
    finally:
        standby.remove()


async def run(trial: Trial) -> Figures:
    """A clean failover under load, then one after the standby was away."""
    return {**await under_load(trial), **await after_an_absence(trial)}


async def under_load(trial: Trial) -> dict[str, object]:
    """Kill the primary in the middle of work, promote, and hold all ends together."""
    bank = bank_in(trial.directory)
    with database(trial) as where, standby_of(primary_of(where)) as standby:
        async with Detour(primary_of(where).port) as detour:
            node = Node(trial.directory, through(where.url, detour.port))
            async with (
                running(node),
                serving(bank, node.target),
                client_of(node.target) as client,
            ):
                async with Work(client) as work:
                    await work.goes_on(100)
                    primary_of(where).kill()
                    killed_at = time.monotonic()
                    await asyncio.to_thread(promote, standby)
                    detour.lead_to(standby.port)
                    led_at = time.monotonic()
                    await work.goes_on(100)
                    resumed = min(a for a in work.done_at if a > led_at) - led_at
                    say(f"led to the standby after {led_at - killed_at:.1f} s")
                node.check()
                ends = await audit(client, bank, work)
    promise(
        resumed <= RESUME_SECONDS_MAX, f"resumed {resumed:.1f} s after the promotion"
    )
    return {"resumed_seconds": f"{resumed:.1f}", "lost": 0, **ends}


async def after_an_absence(trial: Trial) -> dict[str, object]:
    """What was asked while the standby was away, acknowledged, and is missing there."""
    with database(trial) as where, standby_of(primary_of(where)) as standby:
        async with Detour(primary_of(where).port) as detour:
            node = Node(
                trial.directory, through(where.url, detour.port), name="absence"
            )
            async with running(node):
                told = await ask_meanwhile(node, standby)
            primary_of(where).kill()
            standby.start()
            await asyncio.to_thread(promote, standby)
            detour.lead_to(standby.port)
            # Another process: the first one may remember what the database has not.
            async with running(node), client_of(node.target) as client:
                lost = await still_there(client, told)
    say(f"{len(told)} were acknowledged while the standby was away, {lost} are lost")
    promise(not lost, f"{lost} of {len(told)} acknowledged ones are not on the standby")
    return {"acknowledged_without_standby": len(told), "of_them_lost": lost}


async def ask_meanwhile(node: Node, standby: PostgreSQL) -> list[str]:
    """Who asks again while the standby is down: the gids that it is told OK of."""
    gids = [new_gid() for _ in range(5)]
    async with grpc.aio.insecure_channel(node.target) as channel:
        stub = CoordinatorStub(channel)
        probe = Probe(node.target)
        await probe.ask(stub)
        standby.kill()
        until = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < until:
            await asyncio.gather(*(probe.ask(stub, gid) for gid in gids))
            await asyncio.sleep(0.2)
    codes = Counter(a.code for a in probe.answers if a.gid in gids)
    say(f"told while the standby was away: {dict(codes)}")
    return sorted({a.gid for a in probe.answers if a.code == "OK"} & set(gids))


def primary_of(where: Database) -> PostgreSQL:
    """The server, of its own kind."""
    assert isinstance(where.server, PostgreSQL)
    return where.server


def through(url: str, port: int) -> str:
    """The same database by way of another port."""
    return make_url(url).set(port=port).render_as_string(hide_password=False)


def promote(standby: PostgreSQL) -> None:
    """Make it the primary."""
    standby.run("SELECT pg_promote()")


FAULT = Fault("F17", "failover to a standby", ("postgresql",), run)
