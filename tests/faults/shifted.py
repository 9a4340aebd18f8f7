"""``python -m tests.faults.shifted FILE MODULE …``: run a module at another time.

Its wall clock is off by as many seconds as the file says, at every moment: who rewrites
it lets the clock jump. The monotonic clock stays as it is.
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

_SECONDS = struct.Struct("<q")


def shift(path: Path, seconds: int) -> None:
    """Let the clock be so far ahead, at once."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(_SECONDS.pack(seconds))


def main() -> None:
    """Put the clock off, then become the module."""
    path, module = Path(sys.argv[1]), sys.argv[2]
    with path.open("rb") as file:
        said = mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)
    true_ns = time.time_ns

    def time_ns() -> int:
        return true_ns() + _SECONDS.unpack(said[:])[0] * 1_000_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
