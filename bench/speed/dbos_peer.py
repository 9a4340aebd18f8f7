"""DBOS as a peer: ``python -m bench.speed.dbos_peer JSON``, an order as for initiators.

The same saga as a DBOS workflow, with compensation in the order of its documentation: a
step an action, each kept in the same PostgreSQL before the next one runs, and an
``except`` that runs compensations as steps. DBOS is a library: workflow, steps and
initiator are one process, and no call leaves it. So it does less than Tercet does for
the same saga (no participant in another process, no barrier), which the report says.

Not installed by anything but ``make bench``.
"""

import asyncio
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec
from dbos import DBOS, DBOSConfig

from bench.speed.counters import Counters, Counts
from bench.speed.figures import Window
from bench.speed.load import Ended, RealTiming, closed_loop
from bench.speed.node import count_into
from bench.speed.processes import cpu_seconds, resident_mib
from bench.speed.workload import WORKLOADS

TABLES = ("dbos.workflow_status", "dbos.operation_outputs")
POOL = 16
"""Connections; more were not faster here."""


class DbosOrder(msgspec.Struct, kw_only=True):
    """What to measure.

    Attributes:
        database: the server's first process.
    """

    url: str
    workload: str
    in_flight: int
    warm_seconds: float
    seconds: float
    database: int


class TooMuch(Exception):
    """Business says no."""


@DBOS.step()
async def post(amount: int) -> None:
    """An action."""
    if amount < 0:
        raise TooMuch


@DBOS.step()
async def undo(_amount: int) -> None:
    """Its compensation."""


@DBOS.workflow()
async def saga2(amount: int) -> bool:
    """Two actions; the first is undone when the second is refused."""
    await post(100)
    try:
        await post(amount)
    except TooMuch:
        await undo(100)
        return False
    return True


async def measure(order: DbosOrder, counters: Counters) -> Window:
    """One window of a closed loop."""
    workload = WORKLOADS[order.workload]
    running: set[asyncio.Task[None]] = set()
    cpu: dict[str, float] = {}
    counts: list[Counts] = []

    async def one(number: int, ended: Ended) -> None:
        ended(await saga2(-1 if workload.is_refused(number) else 100))

    def start(number: int, ended: Ended) -> None:
        task = asyncio.get_running_loop().create_task(one(number, ended))
        running.add(task)
        task.add_done_callback(running.discard)

    def used() -> dict[str, float]:
        return {
            "coordinator": time.process_time(),
            "database": cpu_seconds(order.database, with_children=True),
        }

    def opened() -> None:
        cpu.update(used())
        counts.append(counters.read())

    def closed() -> None:
        cpu.update({who: now - cpu[who] for who, now in used().items()})
        counts.append(counters.read().since(counts[0]))

    window = await closed_loop(
        start,
        in_flight=order.in_flight,
        warm_seconds=order.warm_seconds,
        seconds=order.seconds,
        timing=RealTiming(),
        on_open=opened,
        on_close=closed,
    )
    return replace(
        window,
        cpu_seconds=cpu,
        commits=counts[-1].commits,
        rows=counts[-1].rows,
        moves=counts[-1].commits,  # each commit is one workflow's, which waits for it
        rss_mib=resident_mib(os.getpid()),
    )


def main() -> None:
    """Measure what the command line says."""
    order = msgspec.json.decode(sys.argv[1], type=DbosOrder)
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": order.url,
        "sys_db_pool_size": POOL,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    with tempfile.NamedTemporaryFile() as file:
        counters = Counters.create(Path(file.name))
        count_into(counters, TABLES)
        window = asyncio.run(measure(order, counters))
    sys.stdout.buffer.write(msgspec.json.encode(window))
    DBOS.destroy()


if __name__ == "__main__":
    main()
