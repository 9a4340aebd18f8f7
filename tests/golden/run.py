"""Where the scripts are, and what happens today when one is played."""

import asyncio
from pathlib import Path

from structlog.testing import capture_logs

from tests.golden.cluster import Cluster
from tests.golden.script import ScriptError, replay

HERE = Path(__file__).parent
FOLDERS = ("tcc", "saga")


def scripts() -> list[Path]:
    """All of them, in order."""
    return [path for name in FOLDERS for path in sorted((HERE / name).glob("*.txt"))]


def play(path: Path) -> str:
    """The script with the trace that the code leaves today."""
    with capture_logs():
        try:
            return asyncio.run(replay(path.read_text(), Cluster()))
        except ScriptError as error:
            raise ScriptError(f"{path.name}: {error}") from None
