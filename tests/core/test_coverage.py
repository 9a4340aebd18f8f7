"""Every rule is stated where it is looked for."""

import subprocess
import sys

import pytest

from tests.core import coverage_check
from tests.core.coverage_check import ROOT


@pytest.mark.timeout(300)
def test_every_branch_is_covered_by_its_modules_own_tests() -> None:
    """All statements and branches of a module of rules, by its own tests alone."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.core.coverage_check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr


def test_every_module_of_the_core_is_measured() -> None:
    """Also one that is new, and that has no tests yet."""
    measured = {pair.module for pair in coverage_check.pairs()}

    assert measured >= {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "coordinator" / "core").glob("[!_]*.py")
    }


def told_of(module: str, test: str) -> str:
    """What is said of a pair, in a process that has not loaded the module."""
    code = (
        "from tests.core.coverage_check import Pair, measure;"
        f"print(measure(Pair({module!r}, ({test!r},))))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


def test_branch_without_a_test_is_told() -> None:
    """A module measured with another one's tests falls short, line by line."""
    wrong = told_of("coordinator/core/evolution.py", "tests/core/test_draft.py")

    assert "coordinator/core/evolution.py" in wrong
    assert "Missing" in wrong


def test_failing_tests_are_told() -> None:
    """A test module that is not there covers nothing."""
    wrong = told_of("coordinator/core/evolution.py", "tests/core/test_nobody.py")

    assert "test_nobody.py" in wrong
