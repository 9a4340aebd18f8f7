"""Everything is killed at any moment, and every transaction still ends as it should."""

import asyncio
import random
from pathlib import Path

import pytest

from examples.demo.audit import BANKS, audit
from examples.demo.driver import Driver, Progress
from examples.demo.history import History
from examples.demo.run import OPERATIONS, all_ended, start_all
from examples.demo.workload import Options, draw_loans, draw_transfers
from examples.fleet import Fleet
from examples.loan_saga import DEFINITION
from participant_sdk import connect
from tests.e2e.forked import ForkedFleet

ROUNDS = 20
SEED = 20


class PowerCuts:
    """Kills the coordinator and all participants after a random number of ends."""

    def __init__(self, fleet: Fleet, random_source: random.Random) -> None:
        self.left = ROUNDS
        self._fleet = fleet
        self._random = random_source
        self._ends_left = 0
        self._draw()

    def after_each(self) -> None:
        self._ends_left -= 1
        if self._ends_left <= 0 and self.left:
            self.left -= 1
            self._fleet.kill_all()
            self._draw()

    def _draw(self) -> None:
        self._ends_left = self._random.randint(1, 40)


@pytest.mark.timeout(400)
async def test_killing_everything_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """20 rounds of SIGKILL to all processes at random moments: all transactions end,
    money is conserved, every effect matches its decision (T6, T7, S3, L7).
    """
    options = Options(
        transfers=440,
        loans=80,
        accounts=200,
        refusals=0.1,
        client_crashes=0,
        coordinator_kills=ROUNDS,
        participant_kills=ROUNDS,
        in_flight=24,
        seed=SEED,
        timeout_seconds=380,
    )
    random_source = random.Random(SEED)
    jobs = [*draw_transfers(options), *draw_loans(options)]
    random_source.shuffle(jobs)
    with ForkedFleet(tmp_path) as fleet:
        cuts = PowerCuts(fleet, random_source)
        start_all(fleet, accounts_per_bank=options.accounts // len(BANKS))
        await fleet.ready(OPERATIONS)
        with History(tmp_path / "history.jsonl") as history:
            async with connect(fleet.target) as client:
                await client.publish_saga(DEFINITION.read_text())
                driver = Driver(
                    client,
                    history,
                    Progress(total=len(jobs)),
                    in_flight=options.in_flight,
                    on_done=cuts.after_each,
                )
                await driver.work(jobs)
        await asyncio.wait_for(all_ended(fleet), 120)

    report = audit(tmp_path)
    assert cuts.left == 0
    assert report.violations == ()
    assert sum(report.ends.values()) == len(jobs)
    assert report.ends["CONFIRMED"] > 0
    assert report.ends["COMPLETED"] > 0
