"""``python -m tests.simulation.planted``: every planted bug is caught, or it fails.

A mutant is applied in memory: a fresh process imports the real source with the texts
replaced. Nothing is written to disk.
"""

import argparse
import importlib
import itertools
import statistics
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from multiprocessing import get_context
from pathlib import Path
from types import CodeType
from typing import NamedTuple

from tests.simulation.mutant import Mutant, Patch
from tests.simulation.mutants import MUTANTS

BUDGET = 20_000
"""Schedules after which a mutant counts as surviving."""

FOUND = Path(__file__).with_name("found.txt")
"""Where each bug was found last: its name, and a seed with its options."""

_HEAVY = (
    "grpc",
    "msgspec",
    "multiprocessing.pool",
    "protos.v1.admin_pb2",
    "protos.v1.coordinator_pb2",
    "protos.v1.participant_pb2",
    "sqlalchemy.dialects.mysql",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
    "structlog",
    "tenacity",
)
"""Imported once, before the processes are forked; none of it is ever patched."""


class StaleMutant(Exception):
    """The text to replace does not occur exactly once."""


class Verdict(NamedTuple):
    """How a mutant ended: after how many schedules, by which rule; 0 = survived.

    Attributes:
        where: the seed that found it, with its options.
    """

    name: str
    wrong: str
    schedules: int
    caught_by: str
    where: str = ""


def patched(source: str, patches: list[Patch]) -> str:
    """The source with every text replaced. Raises ``StaleMutant``."""
    for patch in patches:
        if source.count(patch.old) != 1:
            raise StaleMutant(
                f"{patch.module}: {source.count(patch.old)} times {patch.old!r},"
                " expected once; let the mutant follow the code"
            )
        source = source.replace(patch.old, patch.new)
    return source


def read_source(module: str) -> str:
    """The real source, without importing the module's package."""
    path = [None]
    spec = None
    for depth in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:depth])
        spec = PathFinder.find_spec(name, None if path == [None] else path)
        path = spec.submodule_search_locations if spec else None
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise StaleMutant(f"there is no module {module}")
    return spec.loader.get_data(spec.loader.path).decode()


class _Loader(SourceFileLoader):
    """Compiles the patched source; never reads or writes a cached one."""

    def __init__(self, name: str, path: str, patches: list[Patch]) -> None:
        super().__init__(name, path)
        self._patches = patches

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        return compile(patched(source, self._patches), self.path, "exec")


class Planter(MetaPathFinder):
    """Finds the modules of one mutant before anybody else does."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        patches = [p for p in self._mutant.patches if p.module == fullname]
        spec = PathFinder.find_spec(fullname, path, target) if patches else None
        if spec is not None:
            spec.loader = _Loader(fullname, spec.origin, patches)
        return spec


class Task(NamedTuple):
    """A bug to look for, in how many seeds, and where it was found last."""

    mutant: Mutant
    budget: int
    found: str = ""


def hunt(task: Task) -> Verdict:
    """Plant one bug in this process, and run seeds until it is caught.

    Where it was found last comes first, if that is asked for; then those that were
    kept: each has found a bug that others seldom find.
    """
    mutant = task.mutant
    for patch in mutant.patches:
        if patch.module in sys.modules:
            raise RuntimeError(f"{patch.module} is imported already")
    sys.meta_path.insert(0, Planter(mutant))
    run = importlib.import_module("tests.simulation.run")
    limits = importlib.import_module("tests.simulation.scenario").Limits()
    lines = importlib.import_module("tests.simulation.__main__")
    schedules = itertools.chain(
        [lines.schedule(task.found)] if task.found else (),
        lines.kept(),
        ((seed, limits) for seed in range(task.budget)),
    )
    if failure := run.first_failure(schedules):
        count, (seed, its_limits), violation = failure
        rule, where = violation.split()[0], f"{seed}{its_limits.options()}"
        return Verdict(mutant.name, mutant.wrong, count, rule, where)
    return Verdict(mutant.name, mutant.wrong, 0, "")


def hunt_all(tasks: list[Task], processes: int) -> list[Verdict]:
    """Each mutant in a process of its own."""
    for name in _HEAVY:
        importlib.import_module(name)
    verdicts = []
    with get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        for verdict in pool.imap(hunt, tasks, chunksize=1):
            verdicts.append(verdict)
            _say(
                f"{verdict.name}: "
                + (
                    f"killed by {verdict.caught_by} after {verdict.schedules}"
                    if verdict.schedules
                    else "SURVIVED"
                )
            )
    return verdicts


def found_last() -> dict[str, str]:
    """By bug, the seed that found it, with its options."""
    lines = FOUND.read_text().splitlines()
    pairs = (line.partition(" ") for line in lines if not line.startswith("#"))
    return {name: where for name, _, where in pairs}


def _remember(verdicts: list[Verdict]) -> None:
    comments = [x for x in FOUND.read_text().splitlines() if x.startswith("#")]
    lines = [f"{v.name} {v.where}" for v in verdicts if v.schedules]
    FOUND.write_text("\n".join([*comments, *lines, ""]))


def table(verdicts: list[Verdict]) -> str:
    """As docs/proof.md shows it."""
    lines = ["| bug | what is wrong | caught by | schedules |", "|---|---|---|---|"]
    lines += [
        f"| `{v.name}` | {v.wrong} | {v.caught_by} | {v.schedules} |" for v in verdicts
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="for docs/proof.md")
    parser.add_argument(
        "--again", action="store_true", help=f"begin with what {FOUND.name} has"
    )
    parser.add_argument(
        "--remember", action="store_true", help=f"write {FOUND.name}; not with --only"
    )
    arguments = parser.parse_args()
    wanted = frozenset(filter(None, arguments.only.split(",")))
    mutants = tuple(m for m in MUTANTS if not wanted or m.name in wanted)
    for mutant in mutants:
        for module in {p.module for p in mutant.patches}:
            patched(
                read_source(module), [p for p in mutant.patches if p.module == module]
            )
    began = time.monotonic()
    found = found_last() if arguments.again else {}
    tasks = [Task(m, arguments.budget, found.get(m.name, "")) for m in mutants]
    verdicts = hunt_all(tasks, arguments.processes)
    if arguments.remember and not wanted:
        _remember(verdicts)
    if arguments.table:
        _say(table(verdicts))
    _say(f"{time.monotonic() - began:.0f} s")
    _say(summary(verdicts))
    return int(not all(verdict.schedules for verdict in verdicts))


def summary(verdicts: list[Verdict]) -> str:
    """The last line: how many were found, and after how many schedules."""
    killed = [verdict.schedules for verdict in verdicts if verdict.schedules]
    return (
        f"PLANTED killed={len(killed)}/{len(verdicts)}"
        f" median={statistics.median(killed or [0]):.0f} max={max(killed, default=0)}"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
