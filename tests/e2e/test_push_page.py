"""The page on push participants says what is so, and its programs run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.config.push import IN_FLIGHT_DEFAULT, IN_FLIGHT_MAX
from examples.fleet import Fleet
from examples.ports import find_free_port
from participant_sdk.participant import CALL_CREDITS
from participant_sdk.push.server import CALLS_MAX
from protos.call_token import SECRET_BYTES_MIN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "push-participants.md").read_text()


def block(kind: str, number: int) -> str:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[number]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The page's node and participant, as it starts them, on ports that are free."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Fleet(tmp_path) as fleet:
        called = f"127.0.0.1:{find_free_port()}"

        def save(name: str, text: str) -> Path:
            text = text.replace("127.0.0.1:7800", called)
            text = text.replace("127.0.0.1:7700", fleet.target)
            text = text.replace("localhost:7700", fleet.target)
            for file in ("accounts.secret", "accounts.db", "tercet.db"):
                text = text.replace(file, str(tmp_path / file))
            path = tmp_path / name
            path.write_text(text)
            return path

        save("accounts.secret", "0123456789abcdef" * 4)
        save("transfer.py", block("python", 1))
        settings = save("tercet.toml", block("toml", 0))
        save("accounts.py", block("python", 0))
        fleet.start("node", "coordinator", "serve", "--config", str(settings))
        fleet.start("accounts", "accounts")
        yield fleet


async def test_the_pages_programs_work(fleet: Fleet, tmp_path: Path) -> None:
    """Two transfers go through, and the third is refused."""
    await fleet.ready(["accounts.debit"])
    said = [
        subprocess.run(  # noqa: ASYNC221 - nothing else runs here
            [sys.executable, str(tmp_path / "transfer.py")],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.split()[0]
        for _ in range(3)
    ]

    assert said == ["transferred", "transferred", "refused:"]


def test_the_pages_numbers_are_those_of_the_code() -> None:
    """Limits and defaults."""
    assert f"1 to {IN_FLIGHT_MAX:,}; the participant" in PAGE
    assert f"(the SDK: {CALL_CREDITS}) | {IN_FLIGHT_DEFAULT} |" in PAGE
    assert f"| {CALLS_MAX:,} calls run" in PAGE
    assert f"({SECRET_BYTES_MIN} characters or more" in PAGE
