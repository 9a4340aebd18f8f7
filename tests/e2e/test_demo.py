"""The demo and the examples, as processes: what they promise on their last lines."""

import asyncio
import os
import re
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from examples.fleet import Fleet, FleetError

ROOT = Path(__file__).parent.parent.parent
SMALL = (
    *("--transfers", "60", "--loans", "12", "--accounts", "20"),
    *("--in-flight", "16", "--client-crashes", "1"),
)


class Finished(NamedTuple):
    """How a run ended."""

    code: int
    out: list[str]
    err: str


async def start(module: str, *arguments: object) -> asyncio.subprocess.Process:
    """Start ``python -m module``."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *map(str, arguments)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(module: str, *arguments: object) -> Finished:
    """Run ``python -m module`` to its end."""
    process = await start(module, *arguments)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode().splitlines(), err.decode())


def numbers(line: str) -> dict[str, float]:
    """The ``name=number`` parts of a line."""
    return {k: float(v) for k, v in re.findall(r"(\w+)=([\d.]+)", line)}


async def test_all_is_well_though_processes_are_killed(tmp_path: Path) -> None:
    """Three SIGKILLs and a crashed client later every database agrees."""
    where = tmp_path / "run"
    finished = await run("examples.demo", *SMALL, "--dir", where)

    assert finished.code == 0, finished
    assert finished.out[-1].startswith("AUDIT OK ")
    counted = numbers(finished.out[-1])
    assert counted["kills"] == 3
    assert counted["violations"] == 0
    assert counted["loans"] == 12 == counted["completed"] + counted["compensated"]
    # The client that crashed may have died before its last transactions began.
    assert 60 < counted["transfers"] <= 64
    assert counted["transfers"] == counted["confirmed"] + counted["cancelled"]
    assert counted["cancelled"] > 6
    assert counted["compensated"] >= 1
    assert not where.exists()


async def test_a_planted_violation_fails_the_audit(tmp_path: Path) -> None:
    """The audit can fail: it names the gid, exits 1 and keeps the databases."""
    where = tmp_path / "run"
    calm = ("--no-kills", "--client-crashes", "0")
    finished = await run(
        "examples.demo", *SMALL, *calm, "--dir", where, "--plant-violation"
    )

    assert finished.code == 1, finished
    assert re.fullmatch(
        r"AUDIT FAILED violations=\d+ gids=transfer-\d+", finished.out[-1]
    )
    assert str(where) in finished.err
    assert (where / "coordinator.sqlite").exists()


async def test_an_interrupted_demo_ends_its_processes(tmp_path: Path) -> None:
    """Ctrl-C ends the coordinator and all participants, and removes the files."""
    where = tmp_path / "run"
    process = await start(
        "examples.demo", "--transfers", "20000", "--dir", where, "--keep"
    )
    assert process.stdout is not None
    while b" done: " not in await process.stdout.readline():
        pass
    members = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()

    assert process.returncode == 130, err.decode()
    assert b"interrupted" in err
    assert len(members) >= 7
    assert not [pid for pid in members if is_alive(pid)]
    assert (where / "coordinator.sqlite").exists()


def children(pid: int) -> list[int]:
    """The ids of the processes that ``pid`` started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--transfers", "0"), "--transfers"),
        (("--refusals", "1.5"), "--refusals"),
        (("--accounts", "many"), "--accounts"),
        (("--no-such-flag",), "--no-such-flag"),
    ],
)
async def test_a_bad_flag_is_named(arguments: tuple[str, ...], expected: str) -> None:
    """Nothing is started; the message names the flag; exit 2."""
    finished = await run("examples.demo", *arguments)

    assert finished.code == 2
    assert expected in finished.err
    assert "Traceback" not in finished.err


async def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    """The demo removes its directory, so it takes none that holds anything."""
    (tmp_path / "precious").write_text("mine")
    finished = await run("examples.demo", "--dir", tmp_path)

    assert finished.code == 2
    assert "not empty" in finished.err
    assert (tmp_path / "precious").read_text() == "mine"


async def test_the_transfer_example_shows_three_ends() -> None:
    """One confirmed, two cancelled with their codes, nothing frozen."""
    finished = await run("examples.transfer_tcc")

    assert finished.code == 0, finished
    assert [line.split(": ", 1)[1] for line in finished.out] == [
        "confirmed",
        "cancelled, INSUFFICIENT_FUNDS",
        "cancelled, ACCOUNT_CLOSED",
        "available 99987700, frozen 0",
        "available 100012300, frozen 0",
    ]


async def test_the_loan_example_shows_three_ends() -> None:
    """One completed; two compensated, each undone as far as it had come."""
    finished = await run("examples.loan_saga")

    assert finished.code == 0, finished
    assert [line.rsplit(": ", 1)[1] for line in finished.out[:3]] == [
        "COMPLETED",
        "COMPENSATED",
        "COMPENSATED",
    ]
    assert finished.out[-2:] == [
        "ledger: {'ACTION': 2, 'COMPENSATION': 1}",
        "payout: {'ACTION': 1}",
    ]


async def test_a_member_that_dies_at_start_is_reported(tmp_path: Path) -> None:
    """The fleet names who ended and shows the last words."""
    with Fleet(tmp_path) as fleet:
        fleet.start("broken", "examples.loan_saga.service", "nobody", "--database=x")
        await fleet.ended("broken")
        with pytest.raises(FleetError, match=r"(?s)broken ended by itself.*risk"):
            fleet.check()


async def test_a_killed_member_comes_back_with_its_database(tmp_path: Path) -> None:
    """SIGKILL, then the same command: another process, the same file."""
    with Fleet(tmp_path) as fleet:
        fleet.start_coordinator()
        fleet.start_participant("examples.transfer_tcc.bank", "bank-a")
        await fleet.ready(["bank-a.debit"])
        before = set(children(os.getpid()))
        fleet.kill("bank-a")
        after = set(children(os.getpid()))
        await fleet.ready(["bank-a.debit"])

    assert fleet.kills == 1
    assert len(before - after) == 1 == len(after - before)
    with closing(sqlite3.connect(fleet.database("bank-a"))) as database:
        assert database.execute("SELECT count(*) FROM accounts").fetchone() == (100,)
