"""Where the scripts are, and what happens today when one is played."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.golden.branch_calls import BranchCalls
from tests.golden.cluster import Cluster
from tests.golden.script import ScriptError, Stage, replay

HERE = Path(__file__).parent
FOLDERS = ("tcc", "sagas", "barrier")


def scripts() -> list[Path]:
    """All of them, in order."""
    return [path for name in FOLDERS for path in sorted((HERE / name).glob("*.txt"))]


def play(path: Path, folder: Path) -> str:
    """The script with the trace that the code leaves today.

    Args:
        folder: empty; a participant's database goes there.
    """
    text = path.read_text()

    async def played(logs: Sequence[EventDict]) -> str:
        stage: Stage = (
            BranchCalls(folder / "bank.db", logs)
            if path.parent.name == "barrier"
            else Cluster()
        )
        return await replay(text, stage)

    with capture_logs() as logs:
        try:
            return asyncio.run(played(logs))
        except ScriptError as error:
            raise ScriptError(f"{path.name}: {error}") from None
