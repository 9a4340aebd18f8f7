"""Disk and processors beside a window, seen by somebody who has nothing to do with the
load: a page is synced and a known loop run at fixed instants.

Where a disk stands still for a second, so does everything that must be durable; where
processors become slower by half, so does everything. No coordinator can help it, and
the figures of a window say how much of that there was.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.speed.disk import PAGE
from bench.speed.figures import in_tenths, percentile

EVERY_SECONDS = 0.05
"""Between two looks; a loaded server makes twenty times as many syncs."""

SYNC_PERCENTILES = (50.0, 99.0, 99.9, 100.0)
LOOP_PERCENTILES = (50.0, 90.0)
_LOOP_ITEMS = 3_000
"""As many as take a few tenths of a millisecond, so about 1 % of a processor in all."""


def loop_seconds() -> float:
    """The processor time of a loop that does the same each time."""
    began = time.thread_time()
    items = {}
    for number in range(_LOOP_ITEMS):
        items[number] = (number, number + 1)
    return time.thread_time() - began


class Watch:
    """Of one window."""

    def __init__(self) -> None:
        self._syncs: list[float] = []
        self._loops: list[float] = []
        self._over = threading.Event()

    @property
    def sync_ms(self) -> dict[float, float]:
        """Milliseconds by percentile of the instants, 100 being the slowest."""
        return _percentiles(self._syncs, SYNC_PERCENTILES, 1_000)

    @property
    def loop_us(self) -> dict[float, float]:
        """Microseconds of processor time by percentile of the instants."""
        return _percentiles(self._loops, LOOP_PERCENTILES, 1_000_000)

    @property
    def tenths(self) -> dict[str, list[float]]:
        """The slowest sync and the median loop in each tenth of the time."""
        return {
            "disk sync p100 ms": in_tenths(self._syncs, 100.0, 1_000),
            "loop p50 us": in_tenths(self._loops, 50.0, 1_000_000),
        }

    def __str__(self) -> str:
        loop = [f"{value:.0f}" for value in self.loop_us.values()]
        return (
            f"the disk's slowest sync meanwhile: {self.sync_ms[100.0]:.0f} ms; a known"
            f" loop took {' and '.join(loop)} us of a processor (median, 90 %)"
        )

    def run(self, descriptor: int) -> None:
        """Until :meth:`stop`, and once at least."""
        due = time.monotonic()
        is_over = False
        while not is_over:
            os.pwrite(descriptor, PAGE, 0)
            os.fdatasync(descriptor)
            waits = waited(due, time.monotonic())
            self._syncs += waits
            self._loops += [loop_seconds()] * len(waits)
            due += len(waits) * EVERY_SECONDS
            is_over = self._over.wait(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """No more looks."""
        self._over.set()


def _percentiles(
    values: list[float], percents: tuple[float, ...], times: float
) -> dict[float, float]:
    ordered = sorted(values)
    return {p: percentile(ordered, p) * times for p in percents}


def waited(due: float, ended: float) -> list[float]:
    """How long one sync was waited for, by who wanted one at ``due`` and by all who
    would have wanted one at the instants until it ended. Seconds.
    """
    waits = [ended - due]
    while (less := waits[-1] - EVERY_SECONDS) > 0:
        waits.append(less)
    return waits


@contextmanager
def watched(place: Path) -> Iterator[Watch]:
    """Watch processors, and the disk under this folder, while the block runs."""
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(PAGE)
        file.flush()
        os.fsync(file.fileno())
        watch = Watch()
        thread = threading.Thread(target=watch.run, args=(file.fileno(),), daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            watch.stop()
            thread.join()
