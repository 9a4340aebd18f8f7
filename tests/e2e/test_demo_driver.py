"""The demo's client writes down what it was told, whatever that was."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import pytest

from examples.demo.driver import Driver, Progress
from examples.demo.history import History
from examples.demo.workload import Loan, Transfer
from examples.transfer_tcc.bank import Move
from participant_sdk import (
    PreconditionFailed,
    Refused,
    TransactionCancelled,
    Unavailable,
)

TRANSFER = Transfer("t", "bank-a", Move("x", 1), "bank-b", Move("y", 1))
LOAN = Loan("l", {"amount": 1})


class ScriptedTransaction:
    """A transaction whose tries end as the test says."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def call_all(self, _calls: object) -> None:
        if self._error:
            raise self._error


class ScriptedClient:
    """A coordinator that answers as the test says."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def tcc(self, *_: object, **__: object) -> ScriptedTransaction:
        return ScriptedTransaction(self._error)

    def saga(self, *_: object, **__: object) -> "ScriptedClient":
        return self

    async def wait(self) -> SimpleNamespace:
        if self._error:
            raise self._error
        return SimpleNamespace(status="COMPENSATED")


async def drive(
    tmp_path: Path, job: Transfer | Loan, error: Exception | None
) -> tuple[dict[str, object], Progress]:
    """What one job leaves behind."""
    progress, calls = Progress(total=1), []
    with History(tmp_path / "history.jsonl") as history:
        driver = Driver(
            ScriptedClient(error),
            history,
            progress,
            in_flight=3,
            on_done=lambda: calls.append(progress.part),
        )
        await driver.work([job])
    (line,) = (tmp_path / "history.jsonl").read_text().splitlines()
    assert calls == [1.0]
    return json.loads(line), progress


@pytest.mark.parametrize(
    ("job", "error", "status"),
    [
        (TRANSFER, None, "CONFIRMED"),
        (TRANSFER, Refused("INSUFFICIENT_FUNDS"), "CANCELLED"),
        (TRANSFER, TransactionCancelled("t", "DEADLINE"), "CANCELLED"),
        (TRANSFER, Unavailable(), ""),
        (LOAN, None, "COMPENSATED"),
        (LOAN, Unavailable(), ""),
    ],
)
async def test_what_was_told_is_written_down(
    tmp_path: Path, job: Transfer | Loan, error: Exception | None, status: str
) -> None:
    """An answer that was lost is written as unknown, never guessed."""
    line, progress = await drive(tmp_path, job, error)

    assert line == {"gid": job.gid, "asked_commit": True, "status": status}
    assert progress.told == {status or "UNKNOWN": 1}
    assert progress.failures == {}


@pytest.mark.parametrize("job", [TRANSFER, LOAN])
async def test_an_error_that_should_not_be_is_kept(
    tmp_path: Path, job: Transfer | Loan
) -> None:
    """It fails the run in the end, and the work goes on until then."""
    line, progress = await drive(tmp_path, job, PreconditionFailed("wrong state"))

    assert line["status"] == ""
    assert list(progress.failures) == [job.gid]
    assert "wrong state" in progress.failures[job.gid]
