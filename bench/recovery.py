"""How fast nodes finish what a dead one left, from start to the last end.

``python -m bench.recovery --unfinished 100000 --nodes 1`` leaves that many decided TCC
transactions of two branches in a throw-away database, starts a participant that does
nothing and the nodes, and follows what is unfinished until nothing is. It ends with

``RECOVERY store=… unfinished=N nodes=N serving_s=… drained_s=… per_s=N
rss_mib_first=… rss_mib_most=…``

On one machine nodes take the processors from each other and from the database. With
``--cpus 0.3`` each gets so much of one, however many there are, as if each had a
machine to itself.
"""

import argparse
import asyncio
import sys
import time
from contextlib import ExitStack

from bench.cluster import STORES, Cluster, cluster
from bench.cpu_share import cpu_share
from bench.leftovers import leave

LOOK_SECONDS = 1.0


async def main() -> None:
    """One line at the end, progress before it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--unfinished", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cpus", type=float, help="processor time that a node gets")
    options = parser.parse_args()
    with cluster(options.store) as here:
        store = await here.store()
        await leave(
            store,
            options.unfinished,
            participant="null",
            now=int(time.time() * 1_000),
            on_progress=lambda done: say(f"left {done} of {options.unfinished}"),
        )
        await store.close()
        names = [f"n{number}" for number in range(options.nodes)]
        with ExitStack() as shares:
            began = time.monotonic()
            await asyncio.gather(*map(here.start_node, names))
            serving = time.monotonic() - began
            for name in names if options.cpus else ():
                process_id = here.fleet.process_id(name)
                shares.enter_context(cpu_share(process_id, options.cpus))
            print(await measure(here, names, options.unfinished, serving))


async def measure(
    here: Cluster, names: list[str], unfinished: int, serving: float
) -> str:
    """Follow what they do as soon as there is a participant."""
    await here.start_participant("null")
    attached = time.monotonic()
    first = most = memory(here, names)
    while left := here.count_unfinished():
        here.fleet.check()
        most = max(most, memory(here, names))
        seconds = time.monotonic() - attached
        say(f"{left} unfinished after {seconds:.0f} s, {most:.0f} MiB")
        await asyncio.sleep(LOOK_SECONDS)
    drained = time.monotonic() - attached
    say("")
    return (
        f"RECOVERY store={here.kind} unfinished={unfinished} nodes={len(names)}"
        f" serving_s={serving:.1f} drained_s={drained:.1f}"
        f" per_s={unfinished / drained:.0f}"
        f" rss_mib_first={first:.0f} rss_mib_most={most:.0f}"
    )


def memory(here: Cluster, names: list[str]) -> float:
    """The largest node's, in MiB."""
    return max(here.resident_kib(name) for name in names) / 1_024


def say(text: str) -> None:
    """Progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
