"""What processes have used of the machine."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 11, 12, 13, 14


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """User and system time.

    Args:
        with_children: of its children too, those that have ended included.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[_USER]) + int(fields[_SYSTEM])
    if not with_children:
        return ticks / _TICKS
    ticks += int(fields[_CHILDREN_USER]) + int(fields[_CHILDREN_SYSTEM])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return ticks / _TICKS + sum(_cpu_of_child(int(child)) for child in children)


def _cpu_of_child(pid: int) -> float:
    try:
        return cpu_seconds(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it ended meanwhile; its parent accounts for it from now on


def resident_mib(pid: int) -> float:
    """What it holds of the machine's memory."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1_024
