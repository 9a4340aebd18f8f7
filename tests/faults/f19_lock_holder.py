"""F19: somebody else holds the database's locks.

A backup, a migration by hand or a forgotten session holds the file or a table: who asks
is told UNAVAILABLE, with a time after which to ask again, and service is back at once
when the lock is gone. Who holds one row stops its transaction, and nobody else's.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text

from coordinator.storage.sql.url import parse_url
from tests.faults.bank import Work, audit
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
from tests.faults.verdict import STORES, Fault, Figures, Trial, promise, say

HELD_SECONDS = {"sqlite": 14.0, "postgresql": 8.0, "mariadb": 8.0}
"""Longer than the coordinator waits for any lock."""

TOLD_SECONDS_MAX = {"sqlite": 16.0, "postgresql": 9.0, "mariadb": 9.0}
"""A call may take 5 s as a whole, and waits for the commit that is under way before it;
on SQLite, where there is one writer, for a heartbeat as well."""

RESUME_SECONDS_MAX = 1.0

_TABLE_LOCKS = {
    "postgresql": ("LOCK TABLE global_transactions IN ACCESS EXCLUSIVE MODE",),
    "mariadb": ("LOCK TABLES global_transactions WRITE",),
}
_DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}


@contextmanager
def holding(store: str, where: Database, *statements: str) -> Iterator[None]:
    """The statements' locks, held by a session of somebody else's."""
    if store == "sqlite":
        other = sqlite3.connect(parse_url(where.url).path, isolation_level=None)
        other.execute("PRAGMA busy_timeout=10000")
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.rollback()
            other.close()
        return
    url = parse_url(where.url).server.set(drivername=_DRIVERS[store])
    engine = create_engine(url)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
        yield
    engine.dispose()


async def run(trial: Trial) -> Figures:
    """The whole table, then one row."""
    with database(trial) as where:
        node = Node(trial.directory, where.url)
        async with running(node):
            figures = await table_held(trial, where, node)
            if trial.store != "sqlite":
                figures |= await row_held(trial, where, node)
            node.check()
            node.stop()
    return figures


async def table_held(trial: Trial, where: Database, node: Node) -> dict[str, object]:
    """Everybody is told, nobody waits for long, and service is back at once."""
    loop = asyncio.get_running_loop()
    async with Probe(node.target).asking() as probe:
        await asyncio.sleep(1)
        held_at = loop.time()
        with holding(trial.store, where, *_TABLE_LOCKS.get(trial.store, ())):
            await asyncio.sleep(HELD_SECONDS[trial.store])
            freed_at = loop.time()
        await asyncio.sleep(3)
    during = probe.asked(held_at - 0.2, freed_at)
    told = [a for a in during if a.code == "UNAVAILABLE"]
    say(f"{len(told)} of {len(during)} that asked while it was held were told")
    resumed = probe.first_ok_after(freed_at + 0.05)
    others = {a.code for a in probe.answers} - {"OK", "UNAVAILABLE", "CANCELLED"}
    promise(told, "nobody was told UNAVAILABLE while the lock was held")
    promise(not others, f"told {others}")
    promise(all(a.retry_after_ms for a in told), "no time to come back was told")
    slowest = max(a.seconds for a in during)
    longest = TOLD_SECONDS_MAX[trial.store]
    promise(slowest <= longest, f"somebody was told after {slowest:.1f} s only")
    promise(resumed <= RESUME_SECONDS_MAX, f"resumed after {resumed:.2f} s")
    after = [a.code for a in probe.asked(freed_at + 1, freed_at + 2.5)]
    promise(set(after) == {"OK"}, f"a second later told {set(after)}")
    async with client_of(node.target) as client:
        kept = [a.gid for a in probe.answers if a.code == "OK"]
        promise(not await still_there(client, kept), "an acknowledged one is lost")
    return {
        "told_unavailable": len(told),
        "told_within_seconds": f"{slowest:.1f}",
        "resumed_seconds": f"{resumed:.2f}",
    }


async def row_held(trial: Trial, where: Database, node: Node) -> dict[str, object]:
    """One transaction waits for its row; how far the others go on is measured."""
    bank = bank_in(trial.directory)
    async with (
        serving(bank, node.target),
        client_of(node.target) as client,
        client_of(node.target) as others,
    ):
        held = client.tcc("held", deadline=300)
        await held.__aenter__()
        await held.call("bank.debit", {})
        await held.call("bank.credit", {})
        row = (
            "SELECT * FROM global_transactions"
            f" WHERE namespace = 'default' AND gid = '{held.gid}' FOR UPDATE"
        )
        async with Work(others) as work:
            await work.goes_on(50)
            await asyncio.sleep(2)
            before = rate(work, 2)
            with holding(trial.store, where, row):
                confirming = asyncio.create_task(held.confirm(wait=True))
                await asyncio.sleep(HELD_SECONDS[trial.store])
                during = rate(work, HELD_SECONDS[trial.store])
                promise(not confirming.done(), "confirmed while its row was held")
            freed_at = time.monotonic()
            work.begun_at[held.gid] = freed_at
            work.told[held.gid] = (await confirming).status
            resumed = time.monotonic() - freed_at
            await work.goes_on(50)
        ends = await audit(client, bank, work)
    say(f"others: {before:.0f} transfers a second before, {during:.0f} while held")
    promise(during > 0, "one held row stopped every transaction")
    return {
        "row_resumed_seconds": f"{resumed:.2f}",
        "others_before_per_second": f"{before:.0f}",
        "others_while_held_per_second": f"{during:.0f}",
        **ends,
    }


def rate(work: Work, seconds: float) -> float:
    """Transfers a second, of late."""
    since = time.monotonic() - seconds
    return sum(at >= since for at in work.done_at) / seconds


FAULT = Fault("F19", "locks of somebody else", STORES, run)
