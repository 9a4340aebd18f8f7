"""F11: a firewall forgets connections that stand, and drops their packets in silence.

Neither side is told. New connections pass. Between a node and its database every pooled
connection is dead at once; between participants, clients and a node every session is.
Both must be noticed and replaced within 20 s, whether anything was under way or not.
"""

import time

from sqlalchemy.engine import make_url

from tests.faults.bank import Work, audit
from tests.faults.firewall import Firewall, connections_to
from tests.faults.node import Node
from tests.faults.stage import (
    attached,
    bank_in,
    client_of,
    database,
    running,
    serving,
    until,
)
from tests.faults.verdict import Fault, Figures, Trial, promise, say

NOTICED_SECONDS_MAX = 20.0
WORKERS = 4


async def run(trial: Trial) -> Figures:
    """The database's connections first, then the sessions', busy and idle."""
    firewall = Firewall()
    bank = bank_in(trial.directory)
    with database(trial) as where:
        node = Node(trial.directory, where.url)
        async with (
            running(node),
            serving(bank, node.target),
            client_of(node.target) as client,
        ):
            figures: dict[str, object] = {}
            async with Work(client, workers=WORKERS) as work:
                await work.goes_on(50)
                if trial.store != "sqlite":
                    port = int(make_url(where.url).port or 0)
                    figures["database_seconds"] = await cut(firewall, port, work)
                port = int(node.target.rpartition(":")[2])
                figures["sessions_seconds"] = await cut(firewall, port, work)
            figures["idle_sessions_seconds"] = await cut_idle(firewall, port)
            node.check()
            figures |= await audit(client, bank, work)
    return figures


async def cut(firewall: Firewall, port: int, work: Work) -> str:
    """Forget what stands while work goes on; how long until all workers go on."""
    standing = connections_to(port)
    promise(standing, f"nothing is connected to port {port}")
    firewall.forget(port, standing)
    cut_at = time.monotonic()
    say(f"{len(standing)} connections to port {port} are forgotten")
    await work.goes_on(WORKERS * 2)  # what each worker was at, and one more
    first = time.monotonic() - cut_at
    await work.goes_on(50)
    longest = work.longest_pause(cut_at)
    say(f"went on after {first:.1f} s; longest pause {longest:.1f} s")
    promise(longest <= NOTICED_SECONDS_MAX, f"port {port}: a pause of {longest:.1f} s")
    firewall.heal()
    return f"{longest:.1f}"


async def cut_idle(firewall: Firewall, port: int) -> str:
    """Forget sessions on which nothing is under way: new ones come by themselves."""
    standing = connections_to(port)
    firewall.forget(port, standing)
    cut_at = time.monotonic()
    await until(
        lambda: len(connections_to(port) - standing) >= len(standing),
        seconds=NOTICED_SECONDS_MAX * 3,
    )
    noticed = time.monotonic() - cut_at
    await attached("127.0.0.1:" + str(port))
    say(f"idle sessions were replaced after {noticed:.1f} s")
    # One ping may just have been answered; the next one is not.
    promise(noticed <= NOTICED_SECONDS_MAX + 1, f"noticed after {noticed:.1f} s only")
    firewall.heal()
    return f"{noticed:.1f}"


FAULT = Fault(
    "F11",
    "half-open connections",
    ("postgresql", "mariadb", "sqlite"),
    run,
    namespaces=("net",),
)
