"""How fast this machine is just now, so that limits of CPU time mean the same anywhere.

A limit in seconds would fail on a slow or crowded machine and say nothing on a fast
one. So a check is compared with a fixed piece of Python that runs beside it.
"""

import time
from collections.abc import Callable

ROUNDS = 10
"""From one moment to the next a shared machine is half as fast; in so many turns, work
and standard both meet a good one."""

STANDARD_SECONDS = 0.01
"""What the standard takes on the machine for which times are promised."""


def seconds_here(work: Callable[[], object]) -> float:
    """The CPU seconds that this would take on a machine that keeps the standard."""
    turns = [(_spent(work), _spent(_standard)) for _ in range(ROUNDS)]
    works, standards = zip(*turns, strict=True)
    return min(works) / min(standards) * STANDARD_SECONDS


def slowness() -> float:
    """How many times as long as promised the same work takes here, just now."""
    return min(_spent(_standard) for _ in range(ROUNDS)) / STANDARD_SECONDS


def _spent(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _standard() -> int:
    """Dictionaries, texts and calls, as the checks have them."""
    table: dict[str, int] = {}
    for number in range(40_000):
        key = f"step-{number % 997}"
        table[key] = table.get(key, 0) + len(key)
    return len(table)
