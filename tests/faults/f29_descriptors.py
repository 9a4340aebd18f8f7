"""F29: a node runs out of file descriptors.

More clients connect than its limit allows. It takes no more connections for a while,
serves those that it has, and takes new ones as soon as others have gone.
"""

import asyncio
import resource
import socket
import time
from pathlib import Path

from tests.faults.bank import Work, audit
from tests.faults.node import Node
from tests.faults.stage import bank_in, client_of, database, running, serving
from tests.faults.verdict import STORES, Fault, Figures, Trial, promise, say

DESCRIPTORS_MAX = 256
CROWD = 600
"""Connections that ask nothing, more than twice what the limit admits."""

RECOVER_SECONDS_MAX = 20


async def run(trial: Trial) -> Figures:
    """Work goes on in the crowd, and newcomers are welcome after it."""
    bank = bank_in(trial.directory)
    with database(trial) as where:
        limit = f"--nofile={DESCRIPTORS_MAX}:{DESCRIPTORS_MAX}"
        node = Node(trial.directory, where.url, prefix=("prlimit", limit))
        async with (
            running(node),
            serving(bank, node.target),
            client_of(node.target) as client,
        ):
            async with Work(client) as work:
                await work.goes_on(20)
                crowd = gather(node.target)
                try:
                    await work.goes_on(50)  # the log is written, the database, too
                    await asyncio.sleep(3)
                    held = count_descriptors(node.pid)
                    say(f"{len(crowd)} connected, the node holds {held} descriptors")
                    promise(held > DESCRIPTORS_MAX - 10, f"it holds {held} only")
                    done = len(work.done_at)
                    await work.goes_on(50)
                finally:
                    for one in crowd:
                        one.close()
                left_at = time.monotonic()
                async with (
                    asyncio.timeout(RECOVER_SECONDS_MAX),
                    client_of(node.target) as newcomer,
                ):
                    recovered = time.monotonic() - left_at
                    await newcomer.get(next(iter(work.told)))
                await work.goes_on(50)
            node.check()
            ends = await audit(client, bank, work)
            promise(not ends["cancelled"], f"{ends['cancelled']} were cancelled")
            code = node.stop()
            promise(code == 0, f"it left with {code}")
    return {
        "descriptors": held,
        "done_in_the_crowd": len(work.done_at) - done,
        "newcomer_served_after_seconds": f"{recovered:.1f}",
        **ends,
    }


def gather(target: str) -> list[socket.socket]:
    """Connections to the node, as many as the crowd has."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4_096), hard))
    host, _, port = target.rpartition(":")
    crowd = []
    for _ in range(CROWD):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((host, int(port)))
        crowd.append(one)
    return crowd


def count_descriptors(pid: int) -> int:
    """That a process holds."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


FAULT = Fault("F29", "out of file descriptors", STORES, run)
