"""Syncs of a process that fail: ``strace`` stands between it and the kernel."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import ServerFailed

HELD_SECONDS_MAX = 60
"""Whatever a test waits for comes sooner, or it fails."""

_SYNC = re.compile(r"^\d+ +(\d+\.\d+) .*sync.*= (-?\d+)", re.MULTILINE)


def can_fail() -> bool:
    """Whether this machine has what it takes, and lets us."""
    if os.geteuid() != 0 or shutil.which("strace") is None:
        return False
    trial = ["strace", "-o", os.devnull, "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@contextmanager
def failing_syncs(when: str, trace: Path, *pids: int) -> Iterator[None]:
    """Let some of the processes' syncs fail (EIO), and write all of them down.

    Args:
        when: which ones, in strace's words: ``1``, or ``3+3`` for every third.
        trace: the file that :func:`syncs` reads.

    Raises:
        ServerFailed: it could be attached to none of them.
    """
    with _tampering(f"error=EIO:when={when}", trace, *pids):
        yield


@contextmanager
def held_syncs(trace: Path, *pids: int) -> Iterator[None]:
    """Let the processes' syncs begin and not end, as those of a disk that hangs.

    Raises:
        ServerFailed: as above.
    """
    with _tampering(f"delay_enter={HELD_SECONDS_MAX}s", trace, *pids):
        yield


@contextmanager
def _tampering(how: str, trace: Path, *pids: int) -> Iterator[None]:
    tracer = subprocess.Popen(
        [
            *("strace", "-f", "-ttt", "-o", str(trace), "-e", "trace=fsync,fdatasync"),
            *("-e", f"inject=fdatasync,fsync:{how}"),
            *(flag for pid in pids for flag in ("-p", str(pid))),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    attached = [tracer.stderr.readline() for _ in pids]
    try:
        if not any("attached" in line for line in attached):
            raise ServerFailed(f"strace: {' '.join(attached)}")
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


def syncs(trace: Path) -> tuple[list[float], int]:
    """When a sync succeeded, and how many failed."""
    succeeded, failed = [], 0
    for at, result in _SYNC.findall(trace.read_text(errors="replace")):
        if result == "0":
            succeeded.append(float(at))
        else:
            failed += 1
    return succeeded, failed
