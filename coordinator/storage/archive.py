"""Histories as lines of JSON in files that nobody but their owner reads.

One line is one transaction: what was asked, every branch with its payloads, and the
journal. A file has one writer and is never opened again once that is gone, so what a
crash cuts off is the last line of a file and nothing else; that transaction's rows were
not removed yet, and it is found whole in a later file. A file that refused a write or a
sync is given up for the same reason, and what counted on it is written to the next one.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from coordinator.core.errors import PreconditionFailed
from coordinator.core.model import Instant
from coordinator.ports import Archive, History

FORMAT: Final = 1
"""Raised when a field changes its meaning; readers ignore fields that they do not
know."""

FILE_BYTES_MAX: Final = 256 * 1024 * 1024
"""No new line begins beyond it: a size that editors, copies and mails still bear."""

_encode = msgspec.json.Encoder().encode


class FileArchive(Archive):
    """Files ``finished-DAY-WRITER-NUMBER.jsonl`` in one folder.

    Args:
        writer: who nobody else is, now or later.
        now: the day (UTC) is asked of it.
    """

    def __init__(
        self, folder: Path, *, writer: str, now: Callable[[], Instant]
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._now = now
        self._file: int | None = None
        self._day = ""
        self._size = 0
        self._number = 0

    def prepare(self) -> None:
        """See that files can be made there. Raises ``PreconditionFailed``."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            probe = self._folder / f".{self._writer}"
            os.close(_create(probe))
            probe.unlink()
        except OSError as error:
            raise _refused(self._folder, error) from None

    async def write(self, histories: Sequence[History]) -> None:
        """Take them; see the port."""
        await asyncio.to_thread(self._guarded, lambda: self._write(histories))

    async def sync(self) -> None:
        """Make all that was written durable; see the port."""
        await asyncio.to_thread(self._guarded, self._sync)

    def close(self) -> None:
        """Give the file up; what was not synced does not count."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            # After a failed sync the system may call lost pages written: never again.
            self.close()
            raise _refused(self._folder, error) from None

    def _write(self, histories: Sequence[History]) -> None:
        for history in histories:
            left = memoryview(encode_history(history) + b"\n")
            file = self._current_file()
            while left:
                written = os.write(file, left)
                self._size += written
                left = left[written:]

    def _current_file(self) -> int:
        day = datetime.fromtimestamp(self._now() / 1000, UTC).date().isoformat()
        if self._file is not None:
            if day == self._day and self._size < FILE_BYTES_MAX:
                return self._file
            self._sync()
            self.close()
        self._number += 1
        name = f"finished-{day}-{self._writer}-{self._number:04}.jsonl"
        self._file = file = _create(self._folder / name)
        self._day, self._size = day, 0
        return file

    def _sync(self) -> None:
        if self._file is None:
            return
        os.fsync(self._file)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # so that the file's name is durable as well
        finally:
            os.close(folder)


def encode_history(history: History) -> bytes:
    """One line, without its end."""
    tx = history.transaction
    return _encode(
        {
            "format": FORMAT,
            "namespace": tx.key.namespace,
            "gid": tx.key.gid,
            "mode": tx.request.mode,
            "name": tx.request.name,
            "status": tx.status,
            "decision": tx.decision,
            "reason_code": tx.reason_code,
            "reason_text": tx.reason_text,
            "created_at": tx.request.created_at,
            "finished_at": tx.finished_at,
            "request": tx.request,
            "output": tx.output,
            "branches": tuple(tx.branches.values()),
            "journal": history.journal,
        }
    )


def _create(path: Path) -> int:
    """A new file, for its owner alone, whatever the umask says."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)


def _refused(folder: Path, error: OSError) -> PreconditionFailed:
    return PreconditionFailed(
        f"archive: nothing can be written to {str(folder)!r}: {error.strerror}; nothing"
        " was removed that is not in the archive. Name a folder on a local disk with"
        " room, that this account may write to",
        field="archive",
        reason="ARCHIVE",
    )
