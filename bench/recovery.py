"""How fast nodes finish what a dead one left, from start to the last end.

``python -m bench.recovery --unfinished 100000 --nodes 1`` leaves that many decided TCC
transactions of two branches in a throw-away database, starts a participant that does
nothing and the nodes, and follows what is unfinished until nothing is. It ends with

``RECOVERY store=… unfinished=N nodes=N serving_s=… drained_s=… per_s=N
rss_mib_first=… rss_mib_most=…``
"""

import argparse
import asyncio
import sys
import time

from bench.cluster import STORES, Cluster, cluster
from bench.leftovers import leave

LOOK_SECONDS = 1.0


async def main() -> None:
    """One line at the end, progress before it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--unfinished", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=1)
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
        print(await measure(here, options.nodes, options.unfinished))


async def measure(here: Cluster, nodes: int, unfinished: int) -> str:
    """Start everybody, and follow."""
    names = [f"n{number}" for number in range(nodes)]
    began = time.monotonic()
    await asyncio.gather(*map(here.start_node, names))
    serving = time.monotonic() - began
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
        f"RECOVERY store={here.kind} unfinished={unfinished} nodes={nodes}"
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
