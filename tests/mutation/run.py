"""Mutation testing of the rules: does a module's own test module notice each mistake?

    python -m tests.mutation.run [--jobs N] [module ...]

Each mutant is made in memory, in a process of its own that is forked from one that
has loaded the tools and none of our modules; files are never touched. A mutant is
killed when a test fails, or when the tests use far more processor time than they may.
Survivors are printed; those that no test can notice are explained in
``tests/mutation/equivalent.py``.
"""

import argparse
import ast
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import resource
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path

import hypothesis  # noqa: F401 - loaded once, for all that are forked
import pytest
import pytest_asyncio  # noqa: F401 - the same
import sqlalchemy  # noqa: F401 - the same

from tests.core.coverage_check import ROOT, Pair, pairs
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant, mutants

CPU_SECONDS_MAX = 30
"""Of one mutant's tests; they take one or two, a mutant that loops takes for ever."""

MEMORY_BYTES_MAX = 2 << 30
SCORE_MIN = 0.9

_AT_WORK = ("barrier_sql", "barrier", "outside", "retention")
BARRIER = (
    Pair(
        "participant_sdk/barrier/sql.py",
        tuple(f"tests/sdk/test_{name}.py" for name in _AT_WORK),
    ),
    Pair("participant_sdk/barrier/retention.py", ("tests/sdk/test_retention.py",)),
)
"""The barrier's statements, beside its rules; its table is a declaration."""


@dataclass
class Result:
    """What became of one module's mutants."""

    pair: Pair
    total: int = 0
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How many were noticed."""
        return self.total - len(self.survivors)

    @property
    def unexplained(self) -> list[Mutant]:
        """Survivors that a test should have noticed."""
        known = EQUIVALENT.get(self.pair.module, {})
        return [mutant for mutant in self.survivors if str(mutant) not in known]

    def line(self) -> str:
        """The line that scripts read."""
        score = self.killed / self.total if self.total else 1.0
        return (
            f"MUTATION module={self.pair.module} killed={self.killed}/{self.total}"
            f" score={score:.3f}"
        )


class Replaced(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a tree instead of its file."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.path, self.tree = path, tree

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Only for the module that is replaced."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self.path))

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the tree as the module's code."""
        code = compile(self.tree, str(self.path), "exec")
        exec(code, module.__dict__)


def try_in_this_process(
    pair: Pair, tree: ast.Module, mutant: Mutant | None
) -> None:  # pragma: no cover - in a process of its own
    """Exit with 0 when the module's tests pass with the mutant in place."""
    limit = (CPU_SECONDS_MAX, CPU_SECONDS_MAX)
    resource.setrlimit(resource.RLIMIT_CPU, limit)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    if mutant is not None:
        mutant.apply(tree)
    sys.meta_path.insert(0, Replaced(ROOT / pair.module, tree))
    options = ["-q", "-x", "-p", "no:cacheprovider", "--assert=plain", "--tb=no"]
    code = 1
    with contextlib.suppress(BaseException):
        code = pytest.main([*options, *(str(ROOT / test) for test in pair.tests)])
    os._exit(int(code))


def run_module(pair: Pair, jobs: int) -> Result:
    """Try every mutant of a module, ``jobs`` at a time."""
    tree = ast.parse((ROOT / pair.module).read_text())
    result = Result(pair)
    if not _passes(pair, tree, None):
        raise SystemExit(f"{pair.module}: its tests fail as it is")
    for mutant, code in _codes(pair, tree, jobs):
        result.total += 1
        if code == 0:
            result.survivors.append(mutant)
            known = "" if mutant in result.unexplained else " (equivalent)"
            print(f"  survived{known} {pair.module}:{mutant.line}: {mutant}")  # noqa: T201 - a command
    return result


def _passes(pair: Pair, tree: ast.Module, mutant: Mutant | None) -> bool:
    child = _start(pair, tree, mutant)
    child.join()
    return child.exitcode == 0


def _start(pair: Pair, tree: ast.Module, mutant: Mutant | None) -> ForkProcess:
    context = multiprocessing.get_context("fork")
    child = context.Process(target=try_in_this_process, args=(pair, tree, mutant))
    child.start()
    return child


def _codes(
    pair: Pair, tree: ast.Module, jobs: int
) -> Iterator[tuple[Mutant, int | None]]:
    running: dict[int, tuple[ForkProcess, Mutant]] = {}
    waiting = mutants(tree)
    while True:
        for mutant in waiting:
            child = _start(pair, tree, mutant)
            running[child.sentinel] = (child, mutant)
            if len(running) == jobs:
                break
        if not running:
            return
        for sentinel in wait(list(running)):
            child, mutant = running.pop(int(sentinel))  # type: ignore[arg-type]
            child.join()
            yield mutant, child.exitcode


def main() -> int:
    """Print a line for each module and one for all; 1 when the score is too low."""
    parser = argparse.ArgumentParser(description="Mutation testing of the rules.")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("modules", nargs="*", help="tcc, saga, ...; all by default")
    asked = parser.parse_args()
    total = killed = 0
    for pair in (*pairs(), *BARRIER):
        if asked.modules and Path(pair.module).stem not in asked.modules:
            continue
        result = run_module(pair, asked.jobs)
        total += result.total
        killed += result.killed
        print(result.line(), flush=True)  # noqa: T201 - a command
    score = killed / total if total else 1.0
    print(f"MUTATION module=all killed={killed}/{total} score={score:.3f}")  # noqa: T201 - a command
    return 0 if score >= SCORE_MIN else 1


if __name__ == "__main__":
    sys.exit(main())
