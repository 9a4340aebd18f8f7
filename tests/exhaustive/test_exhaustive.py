"""Every order of events in small worlds keeps the rules, and a broken one is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exhaustive.planted import ALL
from tests.exhaustive.worlds import PLANS

ROOT = Path(__file__).resolve().parents[2]
PLANNED = [plan for plan in PLANS if not plan.deep]


def search(*options: str, module: str = "tests.exhaustive") -> str:
    """In a process of its own: what is planted or kept ends with it."""
    run = subprocess.run(
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.timeout(1_800)
def test_rules_hold_in_every_order_of_events() -> None:
    """All states of two nodes, two branches or a diamond, and a fault keep the rules.

    In every state: T1, T2, T3, T4, T5, T6, T7, T8, L1, L3, L4, L5, L6, B1, B2, B3, B4,
    B5, S1, S2, S3, S4. From every state an end can be reached without luck: V1.
    `make exhaustive` visits larger worlds.
    """
    said = search()

    for plan in PLANNED:
        assert re.search(
            rf"^EXHAUSTIVE world={re.escape(plan.name)} states=\d+ transitions=\d+"
            r" violations=0 seconds=[\d.]+$",
            said,
            re.MULTILINE,
        ), said


@pytest.mark.timeout(1_800)
def test_planted_bugs_are_found_in_small_worlds() -> None:
    """The search can fail: every bug that is planted in memory breaks a rule."""
    said = search(module="tests.exhaustive.planted")

    assert f"PLANTED found={len(ALL)}/{len(ALL)}" in said


def test_violation_is_told_as_a_story() -> None:
    """What is wrong is shown with the events that lead to it, the shortest first."""
    said = search(
        "--only", "no_revision_guard", "--paths", module="tests.exhaustive.planted"
    )

    assert "no_revision_guard: L1 a commit changed a row that had moved on" in said
    assert "  the initiator asks: begin, of n" in said
