"""``python -m tests.faults F19 [--store postgresql]``; ``--list`` names all."""

import argparse
import asyncio
import importlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from examples.fleet import ROOT
from tests.faults.verdict import STORES, Failed, Fault, Figures, Missing, Trial, say

MODULES = {
    path.stem.partition("_")[0].upper(): path.stem
    for path in sorted(Path(__file__).parent.glob("f[0-9]*_*.py"))
}
SECONDS_MAX = 300
"""For any one fault; what takes longer does not come to an end."""

_IN_NAMESPACE = "TERCET_FAULT_NAMESPACE"


def load(number: str) -> Fault:
    """The fault of this number."""
    found: Fault = importlib.import_module(f"tests.faults.{MODULES[number]}").FAULT
    return found


def main(arguments: list[str]) -> int:
    """Try one fault on one store; 0 = as promised, 1 = not, 2 = cannot be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("number", nargs="?", help="such as F19", type=str.upper)
    parser.add_argument("--store", choices=STORES)
    parser.add_argument("--list", action="store_true", help="name all faults")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        for number in sorted(MODULES):
            fault = load(number)
            tell(f"{number}  {fault.title} ({', '.join(fault.stores)})")
        return 0
    if chosen.number not in MODULES:
        parser.error(f"expected one of {', '.join(sorted(MODULES))}")
    fault = load(chosen.number)
    store = chosen.store or fault.stores[0]
    if store not in fault.stores:
        parser.error(f"{fault.number} is tried on {', '.join(fault.stores)}")
    if fault.namespaces and _IN_NAMESPACE not in os.environ:
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            tell(f"FAULT {fault.number} SKIPPED needs root, for namespaces of its own")
            return 2
        enter(fault, arguments)
    return attempt(fault, store)


def tell(line: str) -> None:
    """On stdout, where verdicts stand alone."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def enter(fault: Fault, arguments: list[str]) -> NoReturn:
    """Go on in namespaces of our own, where nobody else is disturbed."""
    flags = [f"--{name}" for name in fault.namespaces]
    again = ["-m", "tests.faults", *arguments]
    up = 'ip link set lo up 2>/dev/null; exec "$@"'
    os.environ[_IN_NAMESPACE] = "yes"
    os.execvp(
        "unshare",
        ["unshare", *flags, "--", "sh", "-c", up, "sh", sys.executable, *again],
    )


def attempt(fault: Fault, store: str) -> int:
    """Try it, print the verdict, and keep files only where they tell something."""
    directory = Path(tempfile.mkdtemp(prefix=f"tercet-{fault.number.lower()}-"))
    started = time.monotonic()
    try:
        figures = asyncio.run(_tried(fault, Trial(store, directory)))
    except Missing as missing:
        tell(f"FAULT {fault.number} SKIPPED store={store}: {missing}")
        shutil.rmtree(directory)
        return 2
    except (Failed, TimeoutError) as failure:
        why = str(failure) or "nothing moves"
        tell(f"FAULT {fault.number} FAILED store={store}: {why}")
        say(f"logs are kept in {directory}")
        return 1
    shown = " ".join(f"{name}={value}" for name, value in figures.items())
    seconds = time.monotonic() - started
    tell(f"FAULT {fault.number} OK store={store} {shown} seconds={seconds:.0f}")
    shutil.rmtree(directory)
    return 0


async def _tried(fault: Fault, trial: Trial) -> Figures:
    async with asyncio.timeout(SECONDS_MAX):
        return await fault.run(trial)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
