"""Ports are told once, in this process and in all others of the machine."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from examples.fleet import ROOT
from examples.ports import NoPortLeft, Ports, find_free_port

SLICE = 4
DRAWING = """
import sys
from examples.ports import find_free_port
print(*(find_free_port() for _ in range(600)), flush=True)
sys.stdin.read()
"""

# What the machine's other tests and demos draw is left alone: these draw of a part.
DRAWING_OF_A_PART = """
import os, subprocess, sys
from examples import ports
start, stop, slice_ports = map(int, sys.argv[1:])
ports._ports = ports.Ports(range(start, stop), slice_ports)
print(ports.find_free_port(), flush=True)
"""
AND_STAYING = "sys.stdin.read()"
AND_STARTING_ANOTHER = """
other = [sys.executable, "-c", "import sys; sys.stdin.read()"]
subprocess.Popen(other, close_fds=False)
print("started", flush=True)
sys.stdin.read()
"""
AND_FORKING = """
if os.fork() == 0:
    print("forked", flush=True)
sys.stdin.read()
"""
AND_DRAWING_IN_A_FORK = """
if os.fork() == 0:
    print(ports.find_free_port(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def part() -> Iterator[range]:
    """Two small slices of ports that nobody else draws: of a large one of ours."""
    with leaving(Ports()) as ours:
        ours.draw()
        first = ours._holds[0].getsockname()[1] + 1
        yield range(first, first + 2 * SLICE)


@contextmanager
def leaving(ports: Ports) -> Iterator[Ports]:
    """Hold none of them afterwards."""
    try:
        yield ports
    finally:
        ports.leave()


def started(program: str, *arguments: int) -> subprocess.Popen[str]:
    """It draws, and stays until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> list[int]:
    """The ports of its next line."""
    assert process.stdout is not None
    return [int(port) for port in process.stdout.readline().split()]


def test_nobody_is_told_the_port_of_one_who_does_not_listen_yet() -> None:
    """Of 600 that are drawn again each time some would be the same, all but surely."""
    ports = [find_free_port() for _ in range(600)]

    assert len(set(ports)) == len(ports)


def test_processes_are_told_different_ports_although_none_listens() -> None:
    """Of 600 each in 12,000 some thirty would be the same."""
    with started(DRAWING) as one, started(DRAWING) as other:
        ports = [*told(one), *told(other)]

    assert len(set(ports)) == len(ports) == 2 * 600


def test_a_used_up_slice_is_followed_by_another_until_there_is_none(
    part: range,
) -> None:
    """The first port of each is held, so all others are told; then it is an error."""
    with leaving(Ports(part, SLICE)) as ports:
        drawn = {ports.draw() for _ in range(2 * (SLICE - 1))}

        assert drawn == set(part) - {part[0], part[SLICE]}
        with pytest.raises(NoPortLeft, match=r"of 2 slices this process has used up 2"):
            ports.draw()


def test_what_others_listen_on_is_passed_over(part: range) -> None:
    """Not all who listen have asked here."""
    with (
        socket.create_server(("127.0.0.1", part[1])),
        leaving(Ports(part[:SLICE], SLICE)) as ports,
    ):
        drawn = {ports.draw() for _ in range(SLICE - 2)}

    assert drawn == set(part[2:SLICE])


@pytest.mark.parametrize(
    "then",
    [AND_STAYING, AND_STARTING_ANOTHER, AND_FORKING],
    ids=["alone", "starter", "forker"],
)
def test_a_slice_is_free_again_when_its_process_is_killed(
    part: range, then: str
) -> None:
    """Whoever it started or forked may live on: the slice was not theirs."""
    only = part[:SLICE]
    with (
        leaving(Ports(only, SLICE)) as ports,
        started(DRAWING_OF_A_PART + then, only.start, only.stop, SLICE) as process,
    ):
        assert set(told(process)) <= set(only)
        if then != AND_STAYING:
            assert process.stdout is not None
            assert process.stdout.readline()  # the other one is there
        with pytest.raises(NoPortLeft):
            ports.draw()
        process.kill()
        process.wait()

        assert ports.draw() in only


def test_a_fork_has_a_slice_of_its_own(part: range) -> None:
    """What it inherited are ports that its parent tells as well."""
    program = DRAWING_OF_A_PART + AND_DRAWING_IN_A_FORK
    with started(program, part.start, part.stop, SLICE) as process:
        drawn = [*told(process), *told(process)]

    assert {part.index(port) // SLICE for port in drawn} == {0, 1}
