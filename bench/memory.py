"""What a node holds in memory for each transaction that has not ended.

``python -m bench.memory`` starts one node and submits transactions that wait: first TCC
transactions whose two branches are waited for, then sagas that wait a day
for a timer. It ends with a line each:

``MEMORY kind=executing transactions=N kib_each=… cpu_percent=…``
"""

import argparse
import asyncio
import time

from bench.cluster import STORES, Cluster, cluster
from participant_sdk import Call, connect
from participant_sdk.client import Client

AT_ONCE = 256
IDLE_SECONDS = 10.0

LONG_WAIT = """
apiVersion: tercet/v1
kind: Saga
metadata: {name: long-wait, version: "1"}
timeout: 2d
steps:
  - id: later
    wait: 1d
"""


async def main() -> None:
    """Two lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--transactions", type=int, default=10_000)
    options = parser.parse_args()
    for kind in ("executing", "timer"):
        with cluster(options.store) as here:
            await here.start_node("n0")
            # Nothing is answered while this program looks.
            await here.start_participant("null", "--delay-ms", "600000")
            print(await measure(here, kind, options.transactions))


async def measure(here: Cluster, kind: str, count: int) -> str:
    """Memory and processor time, before and after."""
    async with connect(here.targets["n0"]) as client:
        await client.publish_saga(LONG_WAIT)
        await submit(client, kind, AT_ONCE)
        before = here.resident_kib("n0")
        await submit(client, kind, count)
        each = (here.resident_kib("n0") - before) / count
        began, used = time.monotonic(), here.cpu_seconds("n0")
        await asyncio.sleep(IDLE_SECONDS)
        used = here.cpu_seconds("n0") - used
        share = 100 * used / (time.monotonic() - began)
    return (
        f"MEMORY kind={kind} transactions={count} kib_each={each:.1f}"
        f" cpu_percent={share:.1f}"
    )


async def submit(client: Client, kind: str, count: int) -> None:
    """Return when all are durably accepted."""
    room = asyncio.Semaphore(AT_ONCE)
    calls = [Call("null.hold", {}, timeout_seconds=600) for _ in range(2)]

    async def one() -> None:
        async with room:
            if kind == "executing":
                await client.submit_tcc("transfer", calls, wait=False, deadline=3_600)
            else:
                await client.saga("long-wait").submit()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())


if __name__ == "__main__":
    asyncio.run(main())
