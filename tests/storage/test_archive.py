"""Archive files: whole lines, for their owner alone, durable when it is said."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from coordinator.core.errors import PreconditionFailed
from coordinator.ports import History
from coordinator.storage import archive as module
from coordinator.storage.archive import FileArchive
from coordinator.storage.memory import MemoryStore
from tests.storage.samples import NOW, key, run_to_end

DAY_MS = 86_400_000


async def histories(count: int) -> list[History]:
    store = MemoryStore()
    for number in range(count):
        await run_to_end(store, number)
    return await store.histories([key(number) for number in range(count)])


class Days:
    """A clock that is set by hand."""

    time = NOW

    def now(self) -> int:
        return self.time


@pytest.fixture
def days() -> Days:
    return Days()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def archive(folder: Path, days: Days) -> FileArchive:
    archive = FileArchive(folder, writer="n-1", now=days.now)
    archive.prepare()
    return archive


def lines(folder: Path) -> dict[str, list[str]]:
    """The gids in each file, by its name."""
    return {
        path.name: [json.loads(line)["gid"] for line in path.read_text().splitlines()]
        for path in sorted(folder.iterdir())
    }


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def inode_of(path: Path) -> int:
    return path.stat().st_ino


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


async def test_a_line_is_all_that_is_known_of_a_transaction(
    archive: FileArchive, folder: Path
) -> None:
    """With payloads, branches and journal: the bank's record of what was done."""
    (history,) = await histories(1)
    await archive.write([history])
    await archive.sync()
    (line,) = only_file(folder).read_text().splitlines()
    found = json.loads(line)
    assert found["format"] == 1
    assert (found["namespace"], found["gid"]) == key(0)
    assert (found["status"], found["decision"]) == ("CONFIRMED", "COMMIT")
    assert (found["created_at"], found["finished_at"]) == (NOW, NOW + 20)
    assert found["request"]["labels"][0] == ["channel", "mobile"]
    assert found["request"]["input"][1] == "application/json"
    assert [b["spec"]["branch_id"] for b in found["branches"]] == ["debit", "credit"]
    assert found["branches"][0]["output"][1] == "application/x-protobuf"
    assert [entry["seq"] for entry in found["journal"]] == [1, 2, 3]
    assert found["journal"][2]["events"][-1]["type"] == "Finished"


async def test_files_and_folder_are_their_owners_alone(
    archive: FileArchive, folder: Path
) -> None:
    """Payloads are in them."""
    await archive.write(await histories(1))
    assert mode_of(only_file(folder)) == 0o600
    assert mode_of(folder) == 0o700


async def test_a_file_is_of_one_day_and_of_bounded_size(
    archive: FileArchive, folder: Path, days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day (UTC) on which it was written."""
    first, second, third = await histories(3)
    await archive.write([first])
    days.time += DAY_MS
    await archive.write([second])
    monkeypatch.setattr(module, "FILE_BYTES_MAX", 100)
    await archive.write([third])
    await archive.sync()
    assert lines(folder) == {
        "finished-2025-06-15-n-1-0001.jsonl": [key(0).gid],
        "finished-2025-06-16-n-1-0002.jsonl": [key(1).gid],
        "finished-2025-06-16-n-1-0003.jsonl": [key(2).gid],
    }


async def test_everything_is_synced_before_it_is_said(
    archive: FileArchive, folder: Path, days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file that was begun, and the folder that names it."""
    synced: list[int] = []
    real = os.fsync

    def note(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        real(file)

    monkeypatch.setattr(os, "fsync", note)
    first, second = await histories(2)
    await archive.write([first])
    days.time += DAY_MS
    await archive.write([second])
    await archive.sync()
    files = {entry.inode() for entry in os.scandir(folder)}
    assert len(files) == 2
    assert files < set(synced)
    assert synced.count(inode_of(folder)) == 2


@pytest.mark.parametrize("call", ["fsync", "write"])
async def test_a_file_that_failed_once_is_not_trusted_again(
    archive: FileArchive, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """P16: what counted on it is written to the next one, and no path is guessed."""
    found = await histories(2)

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    await archive.write(found[:1])
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(PreconditionFailed, match="No space left") as caught:
        await (archive.sync() if call == "fsync" else archive.write(found))
    assert caught.value.field == "archive"
    monkeypatch.undo()
    await archive.write(found)
    await archive.sync()
    assert list(lines(folder).values())[1] == [key(0).gid, key(1).gid]


async def test_a_line_that_is_written_in_pieces_is_whole(
    archive: FileArchive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may take less than it is given."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:100]))
    await archive.write(await histories(2))
    assert list(lines(folder).values()) == [[key(0).gid, key(1).gid]]


async def test_writers_never_share_a_file(
    archive: FileArchive, folder: Path, days: Days
) -> None:
    """So what a crash cuts off is the end of a file, and of nobody else's."""
    other = FileArchive(folder, writer="n-2", now=days.now)
    first, second = await histories(2)
    await archive.write([first])
    await other.write([second])
    assert sorted(lines(folder).values()) == [[key(0).gid], [key(1).gid]]
    again = FileArchive(folder, writer="n-1", now=days.now)
    with pytest.raises(PreconditionFailed, match="File exists"):
        await again.write([first])


@pytest.mark.parametrize("place", ["file", "nowhere/archive"])
def test_a_folder_that_cannot_be_is_told_at_the_start(
    tmp_path: Path, place: str
) -> None:
    """Before a node serves."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PreconditionFailed) as caught:
        FileArchive(tmp_path / place, writer="n-1", now=lambda: NOW).prepare()
    assert caught.value.field == "archive"
    assert caught.value.__context__ is None or caught.value.__suppress_context__
