"""How fast this machine is just now, so that limits of CPU time mean the same anywhere.

A limit in seconds would fail on a slow or crowded machine and say nothing on a fast
one. So a check is compared with a fixed piece of Python that runs beside it.
"""

import time
from collections.abc import Callable

ROUNDS = 10
"""From one moment to the next a shared machine is half as fast; in one of so many
turns, work and standard meet the same pace."""

STANDARD_SECONDS = 0.01
"""What the standard takes on the machine for which times are promised."""


def seconds_here(work: Callable[[], object]) -> float:
    """The CPU seconds that this would take on a machine that keeps the standard.

    In each turn the standard runs for as long as the work. Once, in ten milliseconds,
    it may find a quiet moment that work of a hundred never has: then 0.1 s were taken
    for 0.2.
    """
    return min(_standards(work) for _ in range(ROUNDS)) * STANDARD_SECONDS


def slowness() -> float:
    """How many times as long as promised the same work takes here, just now."""
    return min(_spent(_standard) for _ in range(ROUNDS)) / STANDARD_SECONDS


def _standards(work: Callable[[], object]) -> float:
    """How many times the standard could have run in the work's time."""
    spent = _spent(work)
    count, standards = 0, 0.0
    while standards < spent:
        standards += _spent(_standard)
        count += 1
    return spent * count / standards


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
