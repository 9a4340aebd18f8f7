"""The simulator keeps its own promises, and the rules hold in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import kept_lines
from tests.simulation.mutant import Patch
from tests.simulation.mutants import MUTANTS
from tests.simulation.planted import StaleMutant, patched, read_source

ROOT = Path(__file__).resolve().parents[2]

SCHEDULES = 20_000
"""Small schedules in every run of the tests; they must see every rare state."""


def simulate(
    *options: str, module: str = "tests.simulation", hash_seed: str = "0"
) -> subprocess.CompletedProcess[str]:
    """In a process of its own: knobs, log settings and planted bugs stay there."""
    return subprocess.run(
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )


def test_same_seed_is_the_same_trace() -> None:
    """A seed is replayed exactly, in another process with another hash seed, whatever
    was run before it.
    """
    seeds = ("11", "12", "13")
    first = simulate("--trace", "--seed", *seeds, hash_seed="1")
    second = simulate("--trace", "--seed", *reversed(seeds), hash_seed="2")

    assert first.returncode == 0, first.stdout
    assert _traces(first.stdout) == _traces(second.stdout)
    assert tuple(sorted(_traces(first.stdout))) == seeds


def _traces(said: str) -> dict[str, str]:
    """By seed, all that happened and the digest of it."""
    verdict = r"^SEED (\d+) (.* trace=[0-9a-f]{8})\n"
    parts = re.split(verdict, said, flags=re.MULTILINE)
    happened, seeds, digests = parts[:-1:3], parts[1::3], parts[2::3]
    return {s: h + d for s, h, d in zip(seeds, happened, digests, strict=True)}


def test_what_failed_once_stays_well() -> None:
    """Every kept seed is replayed: a bug that was found does not come back."""
    run = simulate("--kept")

    assert run.returncode == 0, run.stdout
    assert run.stdout.count("SEED ") == len(kept_lines())


@pytest.mark.timeout(1_800)
def test_rules_hold_in_many_worlds() -> None:
    """Every rule that the simulator judges holds at every event of every schedule.

    At commits, calls, effects and answers: T1, T2, T3, T4, T5, T6, T7, T8, T9, T10,
    T11, T12, T13, L1, L2, L3, L4, L5, L6, B1, B2, B3, B4, B5, B6, S1, S2, S3, S4, S5,
    S6, S7, S8, S9, S10, V3, V4, V6, V8. After the faults: L7, V1. `make sim SEEDS=n`
    runs more.
    """
    run = simulate("--seeds", str(SCHEDULES))

    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(
        rf"^SIM schedules={SCHEDULES} events=\d+ violations=0"
        r" rare_states=(\d+)/\1 schedules_per_second=\d+$",
        run.stdout,
        re.MULTILINE,
    ), run.stdout


@pytest.mark.timeout(1_800)
def test_planted_bugs_are_found() -> None:
    """The simulator can fail: every known bug, planted in memory, breaks a rule."""
    run = simulate("--again", module="tests.simulation.planted")

    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(
        rf"^PLANTED killed={len(MUTANTS)}/{len(MUTANTS)} median=\d+ max=\d+$",
        run.stdout,
        re.MULTILINE,
    ), run.stdout


def test_stale_mutant_fails_loudly() -> None:
    """A bug whose text is no longer in the code is an error, not a survivor."""
    patch = Patch("coordinator.core.tcc", "this is nowhere in it", "")

    with pytest.raises(StaleMutant, match="0 times"):
        patched(read_source(patch.module), [patch])
