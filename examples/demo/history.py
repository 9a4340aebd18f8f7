"""What a client asked for and was told, one JSON object a line."""

import json
from pathlib import Path
from types import TracebackType
from typing import Self


class History:
    """An append-only file; a line that was written survives the death of its writer."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def note(self, gid: str, *, asked_commit: bool, status: str = "") -> None:
        """Write one line. ``status`` is empty while the client was told nothing."""
        record = {"gid": gid, "asked_commit": asked_commit, "status": status}
        self._file.write(json.dumps(record) + "\n")
