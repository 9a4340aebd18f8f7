from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from participant_sdk import sqlite
from participant_sdk.executor.executor import Executor
from tests.sdk.bank import Bank, open_bank
from tests.sdk.fake_coordinator import FakeCoordinator


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    """A bank in a file of its own."""
    opened = open_bank(tmp_path / "bank.db")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def patient_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections opened from now on wait for a disk that stalls.

    Racers on one file take turns; on a busy machine a turn may take longer than the 5 s
    that a participant waits, and is then answered DATABASE_ERROR, to be asked again.
    """
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 60_000)


@pytest.fixture
async def executor(bank: Bank) -> AsyncIterator[Executor]:
    """Runs the bank's handlers, without a coordinator."""
    made = bank.executor()
    yield made
    await made.close()


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    """A scripted coordinator on a free port."""
    fake = FakeCoordinator()
    await fake.start()
    yield fake
    await fake.stop()
