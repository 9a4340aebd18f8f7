"""Processes of the examples do not outlive who started them."""

import os
import select
import subprocess
import sys
from pathlib import Path

from examples.fleet import ROOT

STARTER = """
import sys
from pathlib import Path
from examples.fleet import Fleet
fleet = Fleet(Path(sys.argv[1]))
fleet.start_coordinator()
print(fleet._members["coordinator"].process.pid, flush=True)
sys.stdin.read()
"""


def test_members_end_when_their_starter_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves the starter no time to end them; they notice by themselves."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout is not None
        member = int(starter.stdout.readline())
        watched = os.pidfd_open(member)
        starter.kill()
        starter.wait()
    ended = wait_for_end(watched)

    assert ended


def wait_for_end(pidfd: int) -> bool:
    """Whether the process ended within the time that a machine under load needs."""
    ready, _, _ = select.select([pidfd], [], [], 30)
    os.close(pidfd)
    return bool(ready)
