"""F35: a name leads to another address from one moment to the next.

The database moves, then the coordinator: what was connected is cut off, nobody answers
at the old address, and the hosts file (a copy, in a mount namespace of our own) names
the new one. Nodes, clients and participants must ask for the name again.
"""

import subprocess
import time
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.faults.bank import Work, audit
from tests.faults.detour import Detour
from tests.faults.node import Node
from tests.faults.stage import bank_in, client_of, database, running, serving
from tests.faults.verdict import Fault, Figures, Missing, Trial, promise, say

DATABASE, COORDINATOR = "db.tercet.test", "coordinator.tercet.test"
OLD, NEW = "127.0.0.2", "127.0.0.3"
FOUND_SECONDS_MAX = 30.0


class Hosts:
    """The hosts file of this namespace."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "hosts"
        self._names = {DATABASE: OLD, COORDINATOR: OLD}
        self._write()
        done = subprocess.run(
            ["mount", "--bind", str(self._file), "/etc/hosts"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Missing(f"the hosts file cannot be replaced: {done.stderr.strip()}")

    def move(self, name: str) -> None:
        """The name leads to the new address."""
        self._names[name] = NEW
        self._write()

    def _write(self) -> None:
        lines = ["127.0.0.1 localhost", *(f"{a} {n}" for n, a in self._names.items())]
        self._file.write_text("\n".join([*lines, ""]))


async def run(trial: Trial) -> Figures:
    """Move the database, then the coordinator, while work goes on."""
    hosts = Hosts(trial.directory)
    bank = bank_in(trial.directory)
    with database(trial) as where:
        url = make_url(where.url)
        port = int(url.port or 0)
        named = url.set(host=DATABASE).render_as_string(hide_password=False)
        node = Node(trial.directory, named)
        at = int(node.target.rpartition(":")[2])
        target = f"{COORDINATOR}:{at}"
        async with (
            Detour(port, host=OLD, at=port) as old_database,
            Detour(port, host=NEW, at=port),
            Detour(at, host=OLD, at=at) as old_coordinator,
            Detour(at, host=NEW, at=at),
            running(node),
            serving(bank, target),
            client_of(target) as client,
        ):
            async with Work(client) as work:
                await work.goes_on(50)
                hosts.move(DATABASE)
                figures = {"database_seconds": await moved(old_database, work)}
                hosts.move(COORDINATOR)
                figures["coordinator_seconds"] = await moved(old_coordinator, work)
            node.check()
            return {**figures, **await audit(client, bank, work)}


async def moved(old: Detour, work: Work) -> str:
    """Leave the old address, and see how long nothing is done."""
    old.close()
    left_at = time.monotonic()
    await work.goes_on(60)
    pause = work.longest_pause(left_at)
    say(f"found again after {pause:.1f} s")
    promise(pause <= FOUND_SECONDS_MAX, f"found again after {pause:.1f} s only")
    return f"{pause:.1f}"


FAULT = Fault(
    "F35", "addresses change", ("postgresql", "mariadb"), run, namespaces=("mount",)
)
