"""How long transactions wait for their end when their node is killed.

``python -m bench.takeover`` starts two nodes over a throw-away database, a participant
that takes a while to answer and clients at both nodes, and kills one node after the
other with SIGKILL; each is started again at once. Clients go on through the other one.
It ends with

``TAKEOVER store=… kills=N transactions=N in_flight=N p50_s=… p99_s=… max_s=… errors=N``

where the seconds run from a kill to the end of everything that was in flight then, at
either node; the slow half was at the one that was killed.
"""

import argparse
import asyncio
import itertools
import time
from dataclasses import dataclass, field
from statistics import quantiles

from bench.cluster import STORES, Cluster, cluster, serves
from participant_sdk import Call, TercetError, connect
from participant_sdk.client import Client

WARM_SECONDS = 3.0
"""Between a node's start and the next kill: both are attached and in use by then."""


@dataclass
class Seen:
    """What the clients saw.

    Attributes:
        open: number of a call to when it was made.
        waits: from a kill to the end, of each call that was open at the kill.
        recovered: all of those have ended.
    """

    open: dict[int, float] = field(default_factory=dict)
    killed_at: float = 0.0
    waits: list[float] = field(default_factory=list)
    recovered: asyncio.Event = field(default_factory=asyncio.Event)
    done: int = 0
    errors: list[str] = field(default_factory=list)


async def main() -> None:
    """One line at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--delay-ms", type=int, default=200, help="of each answer")
    options = parser.parse_args()
    with cluster(options.store) as here:
        await asyncio.gather(*map(here.start_node, ("n0", "n1")))
        delay = ("--delay-ms", str(options.delay_ms))
        await here.start_participant("null", *delay)
        seen = Seen()
        await run(here, options.kills, options.in_flight, seen)
    print(line(options.store, options.kills, options.in_flight, seen))
    for error in seen.errors[:5]:
        print(f"  {error}")


async def run(here: Cluster, kills: int, in_flight: int, seen: Seen) -> None:
    """Work without a pause; kill the node that the clients are connected with."""
    numbers = itertools.count()
    over = asyncio.Event()

    async def work(client: Client) -> None:
        while not over.is_set():
            number = next(numbers)
            seen.open[number] = time.monotonic()
            try:
                calls = [Call("null.hold", {}) for _ in range(2)]
                result = await client.submit_tcc("transfer", calls)
                if result.status != "CONFIRMED":
                    seen.errors.append(f"{result.gid} {result.status}")
            except TercetError as error:
                seen.errors.append(f"{type(error).__name__}: {error}")
            now = time.monotonic()
            seen.done += 1
            if seen.open.pop(number) < seen.killed_at:
                seen.waits.append(now - seen.killed_at)
            if all(at >= seen.killed_at for at in seen.open.values()):
                seen.recovered.set()

    targets = list(here.targets.values())
    async with connect(targets[0]) as one, connect(targets[1]) as two:
        tasks = [
            asyncio.create_task(work(client))
            for client, _ in zip(itertools.cycle((one, two)), range(in_flight))
        ]
        for kill in range(kills):
            await asyncio.sleep(WARM_SECONDS)
            name = f"n{kill % 2}"
            seen.killed_at = time.monotonic()
            seen.recovered.clear()
            here.fleet.kill(name)
            await serves(here.targets[name])
            await seen.recovered.wait()
        over.set()
        await asyncio.gather(*tasks)


def line(store: str, kills: int, in_flight: int, seen: Seen) -> str:
    """The result."""
    cuts = quantiles(seen.waits, n=100)
    return (
        f"TAKEOVER store={store} kills={kills} transactions={seen.done}"
        f" in_flight={in_flight} p50_s={cuts[49]:.2f} p99_s={cuts[98]:.2f}"
        f" max_s={max(seen.waits):.2f} errors={len(seen.errors)}"
    )


if __name__ == "__main__":
    asyncio.run(main())
