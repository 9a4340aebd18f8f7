"""F25: power fails while pages are being written.

A process that is killed shows none of that: the kernel keeps what it wrote. So
``strace`` writes down every write and sync of a process that commits, beside the lines
in which it acknowledged; from these the disk is put together as it could have been at
an instant: what was synced is there, of each later write all, nothing, or some of its
sectors. On each such disk the store is opened and must have what had been acknowledged.

The same is done once more as if syncs did nothing. Acknowledged transactions must be
missing then, or nothing would have been tried.
"""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from coordinator.core.model import Payload
from coordinator.storage.sql.store import open_store
from tests.faults.stage import database
from tests.faults.verdict import Fault, Figures, Trial, need, promise, say
from tests.storage.samples import began, key

COMMITS = 1_200
PAYLOAD_BYTES = 20_000
"""Some pages a commit, so that the log is carried over into the tables meanwhile."""

DISKS = 250
DISKS_WITHOUT_SYNC = 40
SECTOR = 512
"""What a disk writes whole."""

SEED = 25

_CALL = re.compile(
    r"^\d+ +(?P<name>pwrite64|write|ftruncate|fdatasync|fsync)"
    r"\(\d+<(?P<path>[^>]*)>(?:, (?P<rest>.*))?\) += -?\d+$"
)
_DATA = re.compile(r'^"(?P<hex>(?:\\x[0-9a-f]{2})*)", \d+(?:, (?P<offset>\d+))?$')
_ACKNOWLEDGED = b"acknowledged "


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at a place of a file; without bytes it is cut off there."""

    path: str
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Sync:
    """What was written to the file is on the disk now."""

    path: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """So many transactions have been acknowledged."""

    count: int


Event = Write | Sync | Acknowledged


@dataclass(slots=True)
class Disk:
    """Files as they are for certain, and what may or may not be there."""

    files: dict[str, bytearray]
    unsynced: list[Write] = field(default_factory=list)
    acknowledged: int = 0

    def happens(self, event: Event, *, syncs_work: bool) -> None:
        """One thing more that the process did."""
        match event:
            case Write():
                self.unsynced.append(event)
            case Acknowledged(count):
                self.acknowledged = count
            case Sync(path) if syncs_work:
                for write in self.unsynced:
                    if write.path == path:
                        apply(self.files, write)
                self.unsynced = [w for w in self.unsynced if w.path != path]

    def after_power_fails(self, chance: random.Random) -> dict[str, bytearray]:
        """One of the disks that may be found."""
        found = {path: bytearray(data) for path, data in self.files.items()}
        likely = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for write in self.unsynced:
            if write.data is None:
                if chance.random() < likely:
                    apply(found, write)
                continue
            for start in range(0, len(write.data), SECTOR):
                if chance.random() < likely:
                    piece = write.data[start : start + SECTOR]
                    apply(found, Write(write.path, write.offset + start, piece))
        return found


def apply(files: dict[str, bytearray], write: Write) -> None:
    """Let a write be there."""
    data = files.setdefault(write.path, bytearray())
    if write.data is None:
        del data[write.offset :]
        return
    data.extend(bytes(max(write.offset - len(data), 0)))
    data[write.offset : write.offset + len(write.data)] = write.data


async def run(trial: Trial) -> Figures:
    """Write down, put disks together, open each."""
    strace = need("strace")
    with database(trial) as where:
        path = Path(where.url.removeprefix("sqlite:///"))
        before = {str(path): bytearray(await asyncio.to_thread(path.read_bytes))}
        trace = trial.directory / "trace"
        await asyncio.to_thread(write_down, strace, trace, where.url)
    events = list(happened(trace, path))
    count = sum(isinstance(e, Acknowledged) for e in events)
    syncs = sum(isinstance(e, Sync) for e in events)
    carried = sum(isinstance(e, Sync) and e.path == str(path) for e in events)
    say(f"{len(events)} events, {count} acknowledged, {syncs} syncs, tables {carried}")
    promise(count == COMMITS, f"strace shows {count} acknowledgements of {COMMITS}")
    promise(carried > 1, "the log was never carried over into the tables")
    tried = [
        await try_disks(trial, before, events, DISKS, syncs_work=True),
        await try_disks(trial, before, events, DISKS_WITHOUT_SYNC, syncs_work=False),
    ]
    lost, broken = tried[0].lost, tried[0].broken
    promise(not broken, f"{broken} of {DISKS} databases cannot be read")
    promise(not lost, f"on {lost} of {DISKS} disks an acknowledged one is missing")
    promise(tried[0].torn > DISKS // 4, f"only {tried[0].torn} disks had torn writes")
    without = tried[1].lost + tried[1].broken
    promise(without, "nothing is missing where syncs do nothing: no test at all")
    return {
        "disks": DISKS,
        "with_unsynced_writes": tried[0].torn,
        "unreadable": broken,
        "lost": lost,
        "harmed_if_syncs_did_nothing": f"{without}/{DISKS_WITHOUT_SYNC}",
    }


@dataclass(slots=True)
class Tried:
    """How many disks were as they may not be; ``torn`` had writes in doubt."""

    torn: int = 0
    lost: int = 0
    broken: int = 0


async def try_disks(
    trial: Trial,
    before: dict[str, bytearray],
    events: Sequence[Event],
    count: int,
    *,
    syncs_work: bool,
) -> Tried:
    """Let power fail at instants that are spread over all of it."""
    chance = random.Random(SEED)
    instants = set(chance.sample(range(len(events)), count))
    disk = Disk({path: bytearray(data) for path, data in before.items()})
    tried = Tried()
    for number, event in enumerate(events):
        disk.happens(event, syncs_work=syncs_work)
        if number not in instants:
            continue
        tried.torn += bool(disk.unsynced)
        folder = trial.directory / "found"
        folder.mkdir()
        main = put_down(disk.after_power_fails(chance), folder)
        if not await asyncio.to_thread(is_readable, main):
            tried.broken += 1
        elif await missing(main, disk.acknowledged):
            tried.lost += 1
        shutil.rmtree(folder)
    return tried


def put_down(files: dict[str, bytearray], folder: Path) -> Path:
    """The files in a folder; where the tables are."""
    for path, data in files.items():
        (folder / Path(path).name).write_bytes(data)
    return folder / Path(min(files, key=len)).name


def is_readable(main: Path) -> bool:
    """Whether SQLite finds nothing wrong with it."""
    try:
        with closing(sqlite3.connect(main)) as connection:
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:
        return False


async def missing(main: Path, acknowledged: int) -> int:
    """How many acknowledged transactions are not there, or not as they were."""
    store = await open_store(f"sqlite:///{main}")
    try:
        wanted = [key(number) for number in range(acknowledged)]
        found = await store.load(wanted)
        return sum(
            tx is None or len(tx.request.input.data) != PAYLOAD_BYTES for tx in found
        )
    finally:
        await store.close()


def write_down(strace: str, trace: Path, url: str) -> None:
    """Let a process commit, with every write and sync of it in a file."""
    calls = "trace=pwrite64,write,ftruncate,fdatasync,fsync"
    subprocess.run(
        [
            *(
                strace,
                "-f",
                "-y",
                "-xx",
                "-s",
                "1000000",
                "-o",
                str(trace),
                "-e",
                calls,
            ),
            *(sys.executable, "-m", "tests.faults.f25_torn", url),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def happened(trace: Path, path: Path) -> Iterator[Event]:
    """What concerns the database, in the order in which it ended."""
    count = 0
    begun: dict[str, str] = {}
    with trace.open() as lines:
        for line in lines:
            process = line.partition(" ")[0]
            if line.endswith("<unfinished ...>\n"):
                begun[process] = line.removesuffix(" <unfinished ...>\n")
                continue
            if "resumed>" in line:
                line = begun.pop(process) + line.partition("resumed>")[2]  # noqa: PLW2901
            call = _CALL.match(line.rstrip("\n"))
            if call is None:
                continue
            where, rest = unescaped(call["path"]).decode(), call["rest"] or ""
            if where.startswith(str(path)) and not where.endswith("-shm"):
                yield event_of(call["name"], where, rest)
            elif call["name"] == "write" and _ACKNOWLEDGED in data_of(rest):
                count += 1
                yield Acknowledged(count)


def event_of(name: str, path: str, rest: str) -> Event:
    """One call that concerns a file of the database."""
    if name in ("fdatasync", "fsync"):
        return Sync(path)
    if name == "ftruncate":
        return Write(path, int(rest), None)
    told = _DATA.match(rest)
    promise(told and told["offset"], f"strace shows a {name} that is cut off")
    assert told is not None
    return Write(path, int(told["offset"]), unescaped(told["hex"]))


def data_of(rest: str) -> bytes:
    """What was written, or nothing where that is not shown."""
    told = _DATA.match(rest)
    return unescaped(told["hex"]) if told else b""


def unescaped(text: str) -> bytes:
    """What strace shows in hexadecimal."""
    return bytes.fromhex(text.replace("\\x", "")) if "\\x" in text else text.encode()


async def commit_many(url: str) -> None:
    """Commit one transaction after the other, and say so after each."""
    store = await open_store(url)
    for number in range(COMMITS):
        change = began(number)
        assert change.after is not None
        told = Payload(
            bytes([number % 256]) * PAYLOAD_BYTES, "application/octet-stream"
        )
        request = replace(change.after.request, input=told)
        await store.commit(
            [replace(change, after=replace(change.after, request=request))]
        )
        os.write(1, _ACKNOWLEDGED + str(number).encode() + b"\n")
    await store.close()


FAULT = Fault("F25", "torn and unsynced writes", ("sqlite",), run)

if __name__ == "__main__":
    asyncio.run(commit_many(sys.argv[1]))
