"""Runs seeds: one, many on several processes, and fewer faults around a failing one."""

import gc
import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from typing import TypeAlias

import structlog

from tests.simulation.scenario import FAULTS, Limits
from tests.simulation.verdict import Violation
from tests.simulation.world import World

Schedule: TypeAlias = tuple[int, Limits]
"""A seed, and what a replay makes smaller of it."""

CHUNK = 250
"""Seeds that one process runs before it reports."""

FAILURES_MAX = 5
"""After so many failing seeds a run ends: they are likely to be one bug."""


@dataclass
class Report:
    """What came out of some seeds.

    Attributes:
        failures: seed and violation.
        cpu_seconds: that the schedules took, without the start of their processes.
        digest: of the seed's trace, if it was read.
    """

    schedules: int = 0
    events: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)
    rare: dict[str, int] = field(default_factory=Counter)
    digest: int = 0
    cpu_seconds: float = 0.0

    @property
    def per_core(self) -> float:
        """Schedules that one core gets through in a second."""
        return self.schedules / self.cpu_seconds

    def add(self, other: "Report") -> None:
        self.schedules += other.schedules
        self.events += other.events
        self.failures += other.failures
        self.rare.update(other.rare)
        self.cpu_seconds += other.cpu_seconds


def quieten() -> None:
    """Faults are the point here: the engine's log of them is not."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=True,
    )
    # A crash drops tasks in their middle, some before their first step.
    warnings.simplefilter("ignore", RuntimeWarning)


def run_seed(
    seed: int, limits: Limits, write: Callable[[str], object] | None = None
) -> Report:
    """One schedule, from its first event to its verdict; what happens is written."""
    world = World(seed, limits, write)
    failures = []
    try:
        world.run()
    except Violation as violation:
        failures.append((seed, str(violation)))
    except Exception as error:  # noqa: BLE001 - a bug in the code under test is a verdict
        failures.append((seed, f"BUG {type(error).__name__}: {error}"))
    return Report(1, world.loop.steps, failures, world.rare.hits, world.digest)


def run_chunk(seeds: range, limits: Limits) -> Report:
    """Several schedules, one after the other, in this process."""
    report = Report()
    began = time.process_time()
    for _, part in _reports((seed, limits) for seed in seeds):
        report.add(part)
        if len(report.failures) >= FAILURES_MAX:
            break
    report.cpu_seconds = time.process_time() - began
    return report


def first_failure(schedules: Iterable[Schedule]) -> tuple[int, Schedule, str] | None:
    """How many schedules it took until one failed, which one, and why it did."""
    for count, (schedule, report) in enumerate(_reports(schedules), 1):
        for _, violation in report.failures:
            return count, schedule, violation
    return None


def _reports(schedules: Iterable[Schedule]) -> Iterator[tuple[Schedule, Report]]:
    """One after the other. Every world is a web of cycles: nothing of it is garbage
    while it lives, and all of it is afterwards. So it is swept once, while the caches
    still hold it; and in the youngest generation, for whatever is older is frozen.
    """
    quieten()
    gc.disable()
    gc.freeze()
    try:
        for schedule in schedules:
            yield schedule, run_seed(*schedule)
            gc.collect(0)
    finally:
        gc.unfreeze()
        gc.enable()


def run_many(
    seeds: range,
    limits: Limits,
    *,
    processes: int,
    progress: Callable[[Report], object],
) -> tuple[Report, float]:
    """All seeds; the report and the seconds it took."""
    began = time.monotonic()
    total = Report()
    for part in _parts(seeds, limits, processes):
        total.add(part)
        progress(total)
        if len(total.failures) >= FAILURES_MAX:
            break
    return total, time.monotonic() - began


def _parts(seeds: range, limits: Limits, processes: int) -> Iterator[Report]:
    chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    work = partial(run_chunk, limits=limits)
    if processes < 2 or len(chunks) < 2:
        yield from map(work, chunks)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        waiting = [pool.submit(work, chunk) for chunk in chunks]
        try:
            for part in waiting:
                yield part.result()
        finally:
            for part in waiting:
                part.cancel()


def shrink(seed: int, limits: Limits) -> Limits:
    """Fewer transactions, nodes and faults with which the seed still fails.

    Leaving something out changes what follows, so a smaller world may be healthy by
    luck; only what still fails is kept.
    """

    def fails(smaller: Limits) -> bool:
        return bool(run_seed(seed, smaller).failures)

    for count in range(1, 4):
        if fails(fewer := replace(limits, transactions=count)):
            limits = fewer
            break
    for count in range(1, 4):
        if fails(fewer := replace(limits, nodes=count)):
            limits = fewer
            break
    for fault in FAULTS:
        if fails(fewer := replace(limits, without=limits.without | {fault})):
            limits = fewer
    return limits
