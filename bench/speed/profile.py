"""``python -m bench.speed.profile``: where a transaction costs the coordinator time.

Runs a load as ``bench.speed`` does, samples the node meanwhile, and prints microseconds
of processor time for a transaction: by file (a sample counts for the innermost function
that is Tercet's, what it calls in libraries included), then by function, with all that
it calls. Sampling itself costs a few per cent.
"""

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from bench.speed.cost import coordinator_us
from bench.speed.options import options_of
from bench.speed.rig import TERCET, rig
from bench.speed.sampler import CLEAR, VARIABLE, WRITE

ROWS = 40
WRITE_SECONDS_MAX = 10.0
OURS = "coordinator/"
_NOT_OURS = ("coordinator/cli/", "coordinator/__main__")
_ELSEWHERE = "event loop, gRPC, other threads"

Stacks = list[tuple[list[str], int]]
"""Functions from the innermost, each as its file and name, and how often."""


def own(stack: list[str]) -> str:
    """The innermost function that is Tercet's."""
    for function in stack:
        if function.startswith(OURS) and not function.startswith(_NOT_OURS):
            return function
    return _ELSEWHERE


def by_file(stacks: Stacks) -> Counter[str]:
    """Samples by the file of the innermost own function."""
    counts: Counter[str] = Counter()
    for stack, count in stacks:
        function = own(stack)
        counts[function if function == _ELSEWHERE else function.split()[0]] += count
    return counts


def by_function(stacks: Stacks) -> Counter[str]:
    """Samples in which an own function was under way."""
    counts: Counter[str] = Counter()
    for stack, count in stacks:
        for function in set(stack):
            if function.startswith(OURS) and not function.startswith(_NOT_OURS):
                counts[function] += count
    return counts


def show(counts: Counter[str], us_each: float) -> list[str]:
    """Lines, the dearest first."""
    return [f"{n * us_each:8.1f} us  {name}" for name, n in counts.most_common(ROWS)]


def main(arguments: list[str]) -> None:
    """Sample one window."""
    options = options_of(arguments)
    path = options.out / "samples.json"
    options.out.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.environ[VARIABLE] = str(path.resolve())
    with rig(options.store, options.participant, (TERCET,)) as here:
        most = here.measure(TERCET, options.load()).per_second
        pid = here.fleet.process_id(TERCET)
        os.kill(pid, CLEAR)
        window = here.measure(TERCET, options.load(most))
        os.kill(pid, WRITE)
        stacks = _read(path)
    each = coordinator_us(window)
    print(
        f"{options.workload} on {options.store}: {each:.0f} us of the coordinator's"
        f" processor time for a transaction, {window.per_second:.0f}/s"
    )
    us_each = each / sum(count for _, count in stacks)
    print("\nby file", *show(by_file(stacks), us_each), sep="\n")
    print("\nby function, with what it calls")
    print(*show(by_function(stacks), us_each), sep="\n")


def _read(path: Path) -> Stacks:
    give_up_at = time.monotonic() + WRITE_SECONDS_MAX
    while time.monotonic() < give_up_at:
        time.sleep(0.1)
        try:
            return [(stack, count) for stack, count in json.loads(path.read_text())]
        except (FileNotFoundError, json.JSONDecodeError):
            continue
    sys.exit("bench: the node wrote no samples")


if __name__ == "__main__":
    main(sys.argv[1:])
