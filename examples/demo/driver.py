"""Asks for all transfers and loans, many at once, and writes down what it is told."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from examples.demo.history import History
from examples.demo.workload import Loan, Transfer
from participant_sdk import (
    Call,
    Client,
    Refused,
    TercetError,
    TransactionCancelled,
    Unavailable,
)

TRANSFER_DEADLINE_SECONDS = 30
UNKNOWN = ""
"""The client lost its answer; the audit looks how it ended."""


@dataclass(slots=True)
class Progress:
    """What has been done so far; read by whoever shows it.

    Attributes:
        transfer_seconds: from the beginning to the end of the last transfer.
        failures: gid to an error that no client should ever have met.
    """

    total: int
    done: int = 0
    transfer_seconds: float = 0.0
    told: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def part(self) -> float:
        """How much of the work is done, 0 to 1."""
        return self.done / self.total


class Driver:
    """The initiator of the demo: one connection, ``in_flight`` things at once.

    ``on_done`` is called after each of them.
    """

    def __init__(
        self,
        client: Client,
        history: History,
        progress: Progress,
        *,
        in_flight: int,
        on_done: Callable[[], None],
    ) -> None:
        self._client = client
        self._history = history
        self._progress = progress
        self._in_flight = in_flight
        self._on_done = on_done
        self._started = time.monotonic()

    async def work(self, jobs: Iterable[Transfer | Loan]) -> None:
        """Do all jobs."""
        queue = iter(jobs)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._in_flight):
                group.create_task(self._work_off(queue))

    async def _work_off(self, queue: Iterator[Transfer | Loan]) -> None:
        progress = self._progress
        for job in queue:
            status = await self._ask(job)
            if isinstance(job, Transfer):
                progress.transfer_seconds = time.monotonic() - self._started
            self._history.note(job.gid, asked_commit=True, status=status)
            progress.done += 1
            progress.told[status or "UNKNOWN"] += 1
            self._on_done()

    async def _ask(self, job: Transfer | Loan) -> str:
        try:
            if isinstance(job, Transfer):
                return await self._transfer(job)
            return await self._lend(job)
        except Unavailable:
            return UNKNOWN
        except TercetError as error:
            self._progress.failures[job.gid] = str(error)
            return UNKNOWN

    async def _transfer(self, job: Transfer) -> str:
        try:
            async with self._client.tcc(
                "transfer", deadline=TRANSFER_DEADLINE_SECONDS, gid=job.gid
            ) as tx:
                await tx.call_all(
                    [
                        Call(f"{job.source}.debit", job.debit),
                        Call(f"{job.target}.credit", job.credit),
                    ]
                )
        except (Refused, TransactionCancelled):
            return "CANCELLED"
        return "CONFIRMED"

    async def _lend(self, job: Loan) -> str:
        saga = self._client.saga("disburse-loan", job.input, gid=job.gid)
        return (await saga.wait()).status
