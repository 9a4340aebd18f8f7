"""One run of the demo: processes, work, blows, and waiting until all has ended."""

import asyncio
import random
from collections import deque
from collections.abc import Sequence

import grpc

from examples.demo.audit import BANKS, SERVICES
from examples.demo.driver import Driver, Progress
from examples.demo.history import History
from examples.demo.show import Display
from examples.demo.workload import (
    CLIENT,
    Blow,
    Loan,
    Options,
    Transfer,
    draw_loans,
    draw_transfers,
    plan_blows,
)
from examples.fleet import Fleet
from examples.loan_saga import DEFINITION
from participant_sdk import connect
from protos.v1 import coordinator_pb2, coordinator_pb2_grpc, types_pb2

OPERATIONS = (
    *(f"{bank}.{operation}" for bank in BANKS for operation in ("debit", "credit")),
    "risk.check",
    "treasury.reserve",
    "ledger.post",
    "payout.transfer",
)
UNFINISHED = (
    types_pb2.TRYING,
    types_pb2.CONFIRMING,
    types_pb2.CANCELLING,
    types_pb2.RUNNING,
    types_pb2.COMPENSATING,
)
POLL_SECONDS = 0.1


async def run(
    options: Options, fleet: Fleet, display: Display, progress: Progress
) -> None:
    """Start everybody, do all the work, and return when every transaction ended."""
    start_all(fleet, accounts_per_bank=options.accounts // len(BANKS))
    await fleet.ready(OPERATIONS)
    display.say(f"coordinator and {len(BANKS) + len(SERVICES)} participants are ready")
    stage = Stage(options, fleet, display, progress)
    with History(fleet.directory / "history.jsonl") as history:
        async with connect(fleet.target) as client, display.following(progress):
            await client.publish_saga(DEFINITION.read_text())
            driver = Driver(
                client,
                history,
                progress,
                in_flight=options.in_flight,
                on_done=stage.after_each,
            )
            for jobs in phases(options):
                await driver.work(jobs)
    await stage.clients_ended()
    await all_ended(fleet)
    display.say("every transaction has ended")


def start_all(fleet: Fleet, *, accounts_per_bank: int) -> None:
    """Start the coordinator and all participants."""
    fleet.start_coordinator()
    for name in BANKS:
        fleet.start_participant(
            "examples.transfer_tcc.bank", name, f"--accounts={accounts_per_bank}"
        )
    for name in SERVICES:
        fleet.start_participant("examples.loan_saga.service", name)


def phases(options: Options) -> Sequence[Sequence[Transfer | Loan]]:
    """All jobs mixed; without kills transfers first, alone, to measure them."""
    transfers, loans = list(draw_transfers(options)), list(draw_loans(options))
    if not options.with_kills:
        return transfers, loans
    mixed: list[Transfer | Loan] = [*transfers, *loans]
    random.Random(options.seed).shuffle(mixed)
    return (mixed,)


class Stage:
    """Lets the blows fall as the work goes on."""

    def __init__(
        self, options: Options, fleet: Fleet, display: Display, progress: Progress
    ) -> None:
        self._options = options
        self._fleet = fleet
        self._display = display
        self._progress = progress
        self._blows: deque[Blow] = deque(plan_blows(options))
        self._clients: list[str] = []

    def after_each(self) -> None:
        """Something was done; is it time for the next blow?"""
        while self._blows and self._progress.part >= self._blows[0].at:
            victim = self._blows.popleft().victim
            if victim == CLIENT:
                self._start_client()
            else:
                self._fleet.kill(victim)
                self._display.say(f"killed {victim} (SIGKILL) and started it again")

    async def clients_ended(self) -> None:
        """Wait until every client that was to crash has crashed."""
        for name in self._clients:
            await self._fleet.ended(name)

    def _start_client(self) -> None:
        number = len(self._clients) + 1
        name = f"client-{number}"
        self._fleet.start(
            name,
            "examples.demo.crash_client",
            self._fleet.target,
            str(self._fleet.directory / f"history-{name}.jsonl"),
            str(number),
            str(self._options.accounts // len(BANKS)),
            may_fail=True,
        )
        self._clients.append(name)
        self._display.say(f"{name} opens transactions and will die in the middle")


async def all_ended(fleet: Fleet) -> None:
    """Return when the coordinator knows of no unfinished transaction."""
    request = coordinator_pb2.ListRequest(statuses=UNFINISHED, limit=1)
    async with grpc.aio.insecure_channel(fleet.target) as channel:
        coordinator = coordinator_pb2_grpc.CoordinatorStub(channel)
        while True:
            fleet.check()
            try:
                reply = await coordinator.List(request, wait_for_ready=True, timeout=5)
            except grpc.aio.AioRpcError:
                continue
            if not reply.transactions:
                return
            await asyncio.sleep(POLL_SECONDS)
