"""``python -m tests.exhaustive``: every state of every small world.

One line a world, and the events that lead to whatever is wrong.
"""

import argparse
import gc
import sys

from tests.exhaustive.search import Found, explore
from tests.exhaustive.worlds import PLANS, Plan


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exhaustive")
    parser.add_argument("--deep", action="store_true", help="the large worlds as well")
    parser.add_argument("--only", default="", help="worlds whose name contains this")
    parser.add_argument("--table", action="store_true", help="for docs/proof.md")
    arguments = parser.parse_args()
    gc.disable()  # nothing here is a cycle, and what is kept is kept to the end
    plans = [p for p in PLANS if arguments.only in p.name]
    found = [_search(p) for p in plans if arguments.deep or not p.deep]
    if arguments.table:
        _say(table(found))
    wrong = sum(len(one.violations) for one in found)
    _say(
        f"EXHAUSTIVE worlds={len(found)} states={sum(f.states for f in found)}"
        f" transitions={sum(f.transitions for f in found)} violations={wrong}"
        f" seconds={sum(f.seconds for f in found):.0f}"
    )
    return int(bool(wrong) or not found)


def _search(plan: Plan) -> Found:
    found = explore(plan.build(plan), progress=_progress)
    _say(str(found))
    for rule, events in found.violations:
        _say(f"VIOLATION {rule}, after {len(events)} events:")
        for event in events:
            _say(f"  {event}")
    return found


def table(found: list[Found]) -> str:
    """As docs/proof.md shows it."""
    lines = ["| world | states | transitions |", "|---|---|---|"]
    lines += [f"| {f.world} | {f.states:,} | {f.transitions:,} |" for f in found]
    return "\n".join(lines)


def _progress(found: Found) -> None:
    _say(f"  {found.world}: {found.states:,} states so far")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
