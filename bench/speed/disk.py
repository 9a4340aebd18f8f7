"""The disk: what one sync takes before anything runs, and what Linux lets wait."""

import os
import tempfile
import time
from pathlib import Path

PAGE = bytes(8_192)
_SYNCS = 200


def sync_microseconds(place: Path) -> float:
    """The median of one ``fdatasync`` after a page was written there."""
    spent = []
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(_SYNCS):
            file.write(PAGE)
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
