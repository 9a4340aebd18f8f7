"""A minute of faults on each of two stores, side by side."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.cast import ROOT

STORES = ("sqlite", "postgresql")
SECONDS = 60
RUN_SECONDS_MAX = 280
"""The faults, starting eleven processes and two servers, and a busy machine."""


@pytest.mark.timeout(RUN_SECONDS_MAX)
def test_no_rule_is_broken_under_fire(tmp_path: Path) -> None:
    """T1, T2, T4, T5, T6, T7, T8, T11, S3, L7, V1: kills, zombies, partitions, a full
    disk and crashing databases break nothing, and everything comes to an end. Both
    stores in one test, so that their minute passes once.
    """
    with ExitStack() as stack:
        runs = {store: _start(store, tmp_path / store, stack) for store in STORES}
        codes = {store: run.wait() for store, run in runs.items()}

    for store, code in codes.items():
        said = (tmp_path / store).read_text()
        last = said.splitlines()[-1]
        assert code == 0, said
        assert last.startswith(f"CHAOS OK store={store} ")
        assert last.endswith("violations=0")


def _start(store: str, output: Path, stack: ExitStack) -> "subprocess.Popen[bytes]":
    """A run, which ends with its processes when the test does."""
    command = [sys.executable, "-m", "tests.chaos", "--store", store]
    process = stack.enter_context(
        subprocess.Popen(
            [*command, "--duration", str(SECONDS)],
            cwd=ROOT,
            stdout=stack.enter_context(output.open("wb")),
            stderr=subprocess.STDOUT,
        )
    )
    stack.callback(process.terminate)
    return process
