"""What a run says while it goes on: one line that is renewed, or a line each."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TextIO

PLAIN_SECONDS = 10.0
"""Between lines where there is no terminal."""

COLUMNS_MAX = 100


class Counted:
    """Words of the histories, counted as they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self.words: Counter[str] = Counter()

    def look(self) -> Counter[str]:
        """With what was added since."""
        for path in self._folder.glob("history-*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    self.words[json.loads(line)["word"]] += 1
        return self.words


class Show:
    """One line on a terminal; else each fault, and the figures now and then."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._is_tty = out.isatty()
        self._started = monotonic()

    def say(self, text: str) -> None:
        """Something happens."""
        if not self._is_tty:
            self._out.write(f"{monotonic() - self._started:6.1f} s  {text}\n")
            self._out.flush()

    def end(self, text: str) -> None:
        """The last line of all."""
        self.clear()
        self._out.write(text + "\n")
        self._out.flush()

    def clear(self) -> None:
        """Make room on a terminal."""
        if self._is_tty:
            self._out.write("\r\x1b[K")

    async def follow(self, line: Callable[[], str]) -> None:
        """Show ``line`` until cancelled."""
        while True:
            await asyncio.sleep(0.5 if self._is_tty else PLAIN_SECONDS)
            if self._is_tty:
                self._out.write("\r\x1b[K" + line()[:COLUMNS_MAX])
                self._out.flush()
            else:
                self.say(line())
