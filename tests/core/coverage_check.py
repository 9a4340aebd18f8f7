"""Whether each module of rules is covered, branch by branch, by its own tests alone.

A rule that only some other module's test happens to run is a rule that nobody
stated. So every module is measured with its own tests and nothing else, each in a
process of its own, because what runs at import counts too; the processes are forked
from one that has loaded the tools and none of ours.

    python -m tests.core.coverage_check [module ...]
"""

import contextlib
import io
import multiprocessing
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import hypothesis  # noqa: F401 - loaded once, for all that are forked
import pytest
import pytest_asyncio  # noqa: F401 - the same
from coverage import Coverage

ROOT = Path(__file__).resolve().parents[2]
COVERED_PERCENT = 100

WITHOUT_RULES = ("__init__",)


@dataclass(frozen=True)
class Pair:
    """A module and the tests that state its promises: ``test_tcc*.py`` of ``tcc``."""

    module: str
    tests: tuple[str, ...]


def pairs() -> list[Pair]:
    """Every module of the core, and the barrier's rules."""
    names = sorted(path.stem for path in (ROOT / "coordinator/core").glob("*.py"))
    return [
        *(
            Pair(f"coordinator/core/{name}.py", _tests_of("core", name))
            for name in names
            if name not in WITHOUT_RULES
        ),
        Pair("participant_sdk/barrier/rules.py", _tests_of("sdk", "barrier_rules")),
    ]


def _tests_of(folder: str, name: str) -> tuple[str, ...]:
    """``test_name.py``, and where one file is not enough ``test_name_subject.py``."""
    more = sorted((ROOT / "tests" / folder).glob(f"test_{name}_*.py"))
    return (
        f"tests/{folder}/test_{name}.py",
        *(f"tests/{folder}/{path.name}" for path in more),
    )


def measure(pair: Pair) -> str:
    """What is wrong with a pair; empty when every branch is covered."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_measure_here, args=(pair, there))
    child.start()
    there.close()
    try:
        return str(here.recv())
    except EOFError:
        return "the process that measured it died"
    finally:
        child.join()


def _measure_here(pair: Pair, told: Connection) -> None:
    only = str(ROOT / pair.module)
    said = io.StringIO()
    coverage = Coverage(
        data_file=None,
        branch=True,
        include=[only],
        config_file=str(ROOT / "pyproject.toml"),
    )
    options = ["-q", "-x", "-p", "no:cacheprovider", "--assert=plain"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        coverage.start()
        failed = pytest.main([*options, *(str(ROOT / test) for test in pair.tests)])
        coverage.stop()
        if not failed:
            said = io.StringIO()
            percent = coverage.report(include=only, show_missing=True, file=said)
            failed = percent < COVERED_PERCENT
    told.send(said.getvalue() if failed else "")


def main() -> int:
    """Measure all pairs, or those whose module is named; 1 when one falls short."""
    wanted = [p for p in pairs() if not sys.argv[1:] or Path(p.module).stem in sys.argv]
    short = 0
    for pair in wanted:
        wrong = measure(pair)
        short += bool(wrong)
        verdict = "SHORT" if wrong else "ok   "
        print(verdict, pair.module, wrong)  # noqa: T201 - a command
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
