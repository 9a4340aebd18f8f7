"""Where a process spends its processor time: samples of its main thread's stack.

The clock is processor time, so waiting is not seen. A sample is taken between two
bytecodes: time inside a C function is that of the Python function that called it.
"""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

VARIABLE = "TERCET_BENCH_SAMPLES"
"""Names the file that samples go to; unset = none are taken."""

EVERY_SECONDS = 0.002
DEPTH_MAX = 120
CLEAR = signal.SIGUSR1
WRITE = signal.SIGUSR2

_ROOT = str(Path(__file__).parents[2]) + os.sep


def sample_where_asked() -> None:
    """Sample this process if the environment says so.

    ``CLEAR`` forgets what was sampled, ``WRITE`` writes it.
    """
    if not (path := os.environ.get(VARIABLE)):
        return
    stacks: Counter[tuple[str, ...]] = Counter()

    def sample(_number: int, frame: FrameType | None) -> None:
        stack: list[str] = []
        while frame is not None and len(stack) < DEPTH_MAX:
            code = frame.f_code
            stack.append(f"{code.co_filename.removeprefix(_ROOT)} {code.co_qualname}")
            frame = frame.f_back
        stacks[tuple(stack)] += 1

    def clear(_number: int, _frame: FrameType | None) -> None:
        stacks.clear()

    def write(_number: int, _frame: FrameType | None) -> None:
        Path(path).write_text(json.dumps([[*item] for item in stacks.items()]))
        signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, sample)
    signal.signal(CLEAR, clear)
    signal.signal(WRITE, write)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
