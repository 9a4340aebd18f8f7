"""The disk: what one sync takes before anything runs, and what syncs take meanwhile,
seen by somebody who has nothing to do with the load.

Where a disk stands still for a second, so does everything that must be durable, and no
coordinator can answer sooner. The figures of a window say how much of that there was.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.speed.figures import percentile

EVERY_SECONDS = 0.05
"""Between two syncs beside a window; a loaded server makes twenty times as many."""

PERCENTILES = (50.0, 99.0, 99.9, 100.0)
_PAGE = bytes(8_192)
_SYNCS = 200


def sync_microseconds(place: Path) -> float:
    """The median of one ``fdatasync`` after a page was written there."""
    spent = []
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(_SYNCS):
            file.write(_PAGE)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - began)
    return sorted(spent)[_SYNCS // 2] * 1_000_000


def write_back_from() -> str:
    """How much of what was written may wait in memory before Linux begins to write it;
    ``?`` elsewhere. Much of it at once holds up the syncs of commits.
    """
    try:
        count = int(Path("/proc/sys/vm/dirty_background_bytes").read_text())
        percent = int(Path("/proc/sys/vm/dirty_background_ratio").read_text())
    except OSError:
        return "?"
    return f"{count // 1024}KiB" if count else f"{percent}%"


class Watch:
    """Of one window: a page is written over and synced at fixed instants."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._over = threading.Event()

    @property
    def sync_ms(self) -> dict[float, float]:
        """Milliseconds by percentile of the instants, 100 being the slowest."""
        ordered = sorted(self._seconds)
        return {p: percentile(ordered, p) * 1_000 for p in PERCENTILES}

    def run(self, descriptor: int) -> None:
        """Until :meth:`stop`, and once at least."""
        due = time.monotonic()
        is_over = False
        while not is_over:
            os.pwrite(descriptor, _PAGE, 0)
            os.fdatasync(descriptor)
            waits = waited(due, time.monotonic())
            self._seconds += waits
            due += len(waits) * EVERY_SECONDS
            is_over = self._over.wait(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """No more syncs."""
        self._over.set()


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
    """Watch the disk under this folder for as long as the block runs."""
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(_PAGE)
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
