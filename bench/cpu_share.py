"""Holding a process to a share of a processor, as if its machine were smaller.

On one machine several nodes take the processors from each other, so that they tell
nothing of nodes with a machine each. Held to a share, each has as much however many
there are. The kernel does it (a control group), so root is needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_PERIOD_US = 20_000


@contextmanager
def cpu_share(process_id: int, cpus: float) -> Iterator[None]:
    """Until the block ends.

    Args:
        cpus: processors' worth of time, such as 0.3.

    Raises:
        OSError: the kernel, or the account, does not allow it.
    """
    quota_us = int(cpus * _PERIOD_US)
    parent = _V1 if _V1.is_dir() else _V2
    group = parent / f"tercet-bench-{process_id}"
    group.mkdir()
    try:
        if parent is _V1:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        _move(process_id, group)
        yield
    finally:
        _move(process_id, parent)
        group.rmdir()


def _move(process_id: int, group: Path) -> None:
    """A process that has ended is in no group."""
    if Path(f"/proc/{process_id}").is_dir():
        (group / "cgroup.procs").write_text(str(process_id))
