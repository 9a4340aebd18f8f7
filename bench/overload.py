"""What a node does with three times the work that it can do (F36).

``python -m bench.overload --store postgresql`` finds the most that one node ends in a
closed loop, offers half of that for a while, three times as much, and half of it again,
each at a fixed rate whatever comes back, and ends with

``OVERLOAD store=… max_per_s=… offered_per_s=… goodput_percent=… refused_percent=…
by_node_percent=… by_sdk_percent=… refusal_p50_ms=… refusal_p99_ms=… back_s=…
rss_mib_most=…``

Goodput: transactions that ended well within their deadline, in a second of overload, as
a share of the most. Refused: by the node, and by the SDK, which spares the node what it
would most likely refuse; as shares of what was offered. How long a refusal took is told
of the node's; the SDK's come at once. Back: seconds from the end of the overload until
nobody is refused and the 99th percentile is no more than twice what it was before, for
five seconds on.
"""

import argparse
import asyncio
import os
import sys
from collections import defaultdict

import msgspec

from bench.speed.figures import percentile
from bench.speed.processes import resident_mib
from bench.speed.rig import STORES, TERCET, Load, Rig, rig
from bench.surge import CONFIRMED, REFUSED, SPARED, Order, Seen, Stage
from examples.fleet import ROOT

IN_FLIGHT = 256
"""Of the closed loop that finds the most."""

SESSIONS = 8
"""Each may have 4,096 requests unanswered: none is ever held back by that."""

BEFORE, OVERLOAD, AFTER = range(3)
CALM_SECONDS = 5
"""For so long all must be well again before it counts as back."""

LATENCY_TIMES = 2.0
"""Of what it was before, within which a latency counts as the same."""

LOOK_SECONDS = 0.25


class Figures(msgspec.Struct):
    """What became of the load.

    Attributes:
        refused_share: by the node, of what was offered.
        spared_share: by the SDK.
    """

    offered: float
    good: float
    refused_share: float
    spared_share: float
    refusal_ms: tuple[float, float]
    before_p99_ms: float
    back: float | None


def figures_of(seen: Seen, stages: list[Stage], deadline_seconds: float) -> Figures:
    """What the transactions say, one by one."""
    begins = stages[BEFORE].seconds
    ends = begins + stages[OVERLOAD].seconds
    offered = refused = spared = good = 0
    refusals: list[float] = []
    before: list[float] = []
    after = _Seconds(int(stages[AFTER].seconds))
    for stage, begun, took, outcome in zip(
        seen.stages, seen.begun, seen.took, seen.outcomes, strict=True
    ):
        is_good = outcome == CONFIRMED and took <= deadline_seconds
        good += is_good and begins <= begun + took < ends
        if stage == OVERLOAD:
            offered += 1
            spared += outcome == SPARED
            if outcome == REFUSED:
                refused += 1
                refusals.append(took)
        elif stage == BEFORE:
            before.append(took)
        else:
            after.add(begun - ends, took, is_good=is_good)
    refusals.sort()
    usual = percentile(sorted(before), 99)
    span = stages[OVERLOAD].seconds
    return Figures(
        offered=offered / span,
        good=good / span,
        refused_share=refused / max(offered, 1),
        spared_share=spared / max(offered, 1),
        refusal_ms=(percentile(refusals, 50) * 1e3, percentile(refusals, 99) * 1e3),
        before_p99_ms=usual * 1_000,
        back=after.back(LATENCY_TIMES * usual),
    )


class _Seconds:
    """The stage after the overload, second by second of when transactions began."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._took: dict[int, list[float]] = defaultdict(list)
        self._ill: set[int] = set()

    def add(self, begun: float, took: float, *, is_good: bool) -> None:
        second = int(begun)
        self._took[second].append(took)
        if not is_good:
            self._ill.add(second)

    def back(self, latency_max: float) -> float | None:
        """The first second from which on all is well; ``None`` = there is none."""
        calm = 0
        for second in range(self._count):
            latency = percentile(sorted(self._took[second]), 99)
            is_well = second not in self._ill and latency <= latency_max
            calm = calm + 1 if is_well else 0
            if calm == CALM_SECONDS:
                return float(second + 1 - CALM_SECONDS)
        return None


async def _offer(here: Rig, order: Order) -> tuple[Seen, float]:
    """Let another process offer it; the most memory that the node has meanwhile."""
    command = [sys.executable, "-m", "examples.leash", str(os.getpid())]
    process = await asyncio.create_subprocess_exec(
        *command,
        "bench.surge",
        msgspec.json.encode(order).decode(),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    answer = asyncio.ensure_future(process.communicate())
    node = here.fleet.process_id(TERCET)
    most = 0.0
    while not answer.done():
        here.fleet.check()
        most = max(most, resident_mib(node))
        await asyncio.wait({answer}, timeout=LOOK_SECONDS)
    output, _ = answer.result()
    if process.returncode:
        raise SystemExit("the load did not come to its end")
    return msgspec.json.decode(output, type=Seen), most


def measure(here: Rig, options: argparse.Namespace) -> str:
    """The most, the overload, and the line."""
    window = here.measure(
        TERCET, Load("tcc2-declared", IN_FLIGHT, warm_seconds=3, seconds=10)
    )
    most = window.per_second
    _say(f"at most {most:.0f}/s, p99 {window.latency_ms[99.0]:.0f} ms")
    stages = [
        Stage(most / 2, options.before),
        Stage(most * options.times, options.seconds),
        Stage(most / 2, options.after),
    ]
    (target,) = here.sides[TERCET].targets
    order = Order(target, SESSIONS, options.deadline * 1_000, stages)
    seen, memory = asyncio.run(_offer(here, order))
    seen_here = figures_of(seen, stages, options.deadline)
    for why, count in seen.failures.items():
        _say(f"{count} failed: {why}")
    _say(f"{seen.without_pause} refusals did not say when to come back")
    _say(f"p99 before {seen_here.before_p99_ms:.0f} ms")
    back = "never" if seen_here.back is None else f"{seen_here.back:.0f}"
    p50, p99 = seen_here.refusal_ms
    by_node, by_sdk = seen_here.refused_share, seen_here.spared_share
    return (
        f"OVERLOAD store={here.store} max_per_s={most:.0f}"
        f" offered_per_s={seen_here.offered:.0f}"
        f" goodput_percent={100 * seen_here.good / most:.0f}"
        f" refused_percent={100 * (by_node + by_sdk):.0f}"
        f" by_node_percent={100 * by_node:.0f} by_sdk_percent={100 * by_sdk:.0f}"
        f" refusal_p50_ms={p50:.1f} refusal_p99_ms={p99:.1f}"
        f" back_s={back} rss_mib_most={memory:.0f}"
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload")
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--times", type=float, default=3, help="the most")
    parser.add_argument("--before", type=int, default=10, help="seconds at half load")
    parser.add_argument("--seconds", type=int, default=30, help="of overload")
    parser.add_argument("--after", type=int, default=60, help="seconds at half load")
    parser.add_argument("--deadline", type=int, default=10, help="seconds")
    options = parser.parse_args()
    with rig(options.store, "null", (TERCET,)) as here:
        print(measure(here, options))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
