"""``python -m bench.speed.cost``: whether a transaction costs more than it did.

Compared is processor time, not throughput: seconds of the coordinator's process for a
transaction, Tercet's to the limit program's, on SQLite, in one run and in turn. What
the machine does beside it makes both slower, never faster; so each side's best window
counts. It ends with

``COST OK workload=… tercet_us=… limit_us=… ratio=R stored=S seconds=…``

or with COST FAILED and exit 1 when the ratio is more than a fifth above the stored one
in ``bench/cost.toml``. ``--renew`` stores the ratio of this run.
"""

import argparse
import sys
import time
import tomllib
from pathlib import Path

from bench.speed.figures import Window
from bench.speed.rig import LIMIT, TERCET, Load, rig

STORED = Path(__file__).parents[1] / "cost.toml"
TOLERANCE = 1.2
WORKLOAD = "saga2"
WINDOWS = 5
LOAD = Load(workload=WORKLOAD, in_flight=128, warm_seconds=0.2, seconds=0.6)
"""Enough in flight that commits are shared as under load."""

HEAD = """
# What a transaction costs Tercet's coordinator in processor time, as a multiple
# of what it costs the limit program: `python -m bench.speed.cost --renew` writes it.
"""


def coordinator_us(window: Window) -> float:
    """Microseconds of processor time of the coordinator's process for a transaction."""
    return window.per_transaction(window.cpu_seconds["coordinator"]) * 1e6


def measure() -> dict[str, float]:
    """The best window of each side, in microseconds."""
    best = {LIMIT: float("inf"), TERCET: float("inf")}
    with rig("sqlite", "null", (LIMIT, TERCET)) as here:
        for _ in range(WINDOWS):
            for side in here.sides:
                best[side] = min(best[side], coordinator_us(here.measure(side, LOAD)))
    return best


def verdict(ratio: float, stored: float) -> str:
    """OK, or FAILED."""
    return "OK" if ratio <= stored * TOLERANCE else "FAILED"


def main(arguments: list[str]) -> int:
    """Measure, compare, and say so in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renew", action="store_true", help="store what is seen")
    renew = parser.parse_args(arguments).renew
    began = time.monotonic()
    best = measure()
    ratio = best[TERCET] / best[LIMIT]
    if renew:
        STORED.write_text(f"{HEAD.lstrip()}\n[{WORKLOAD}]\nratio = {ratio:.2f}\n")
    stored = tomllib.loads(STORED.read_text())[WORKLOAD]["ratio"]
    said = verdict(ratio, stored)
    print(
        f"COST {said} workload={WORKLOAD} tercet_us={best[TERCET]:.0f}"
        f" limit_us={best[LIMIT]:.0f} ratio={ratio:.2f} stored={stored}"
        f" seconds={time.monotonic() - began:.1f}"
    )
    return 0 if said == "OK" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
