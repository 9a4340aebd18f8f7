"""``python -m tests.golden [--rewrite] [name ...]``: play scripts, show or take diffs.

A name is any part of a script's path. Without ``--rewrite`` it exits with 1 when a
script tells another story than the code.
"""

import argparse
import difflib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.golden.run import HERE, play, scripts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--rewrite", action="store_true", help="take what happens")
    parser.add_argument("names", nargs="*", help="parts of paths; none = all scripts")
    arguments = parser.parse_args()
    differing = 0
    for path in scripts():
        name = str(path.relative_to(HERE))
        if arguments.names and not any(part in name for part in arguments.names):
            continue
        with TemporaryDirectory() as folder:
            expected, actual = path.read_text(), play(path, Path(folder))
        if expected == actual:
            continue
        differing += 1
        if arguments.rewrite:
            path.write_text(actual)
            print(f"rewritten: {name}")  # noqa: T201 - this is what it is for
        else:
            before, after = expected.splitlines(), actual.splitlines()
            diff = difflib.unified_diff(
                before, after, name, "what happens", lineterm=""
            )
            print("\n".join(diff))  # noqa: T201 - this is what it is for
    return int(bool(differing) and not arguments.rewrite)


if __name__ == "__main__":
    sys.exit(main())
