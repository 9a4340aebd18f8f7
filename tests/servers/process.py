"""One server process: started, killed and started again on the same data."""

import asyncio
import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

from sqlalchemy.ext.asyncio import create_async_engine

from coordinator.storage.sql.url import parse_url
from examples.ports import find_free_port

START_SECONDS_MAX = 60
"""Recovery after a kill included, on a busy machine."""

USER = "tercet"
PASSWORD = "s3cret/p@ss word"  # what a URL has to quote

_UNPRIVILEGED = "nobody"
_LOG_LINES_MAX = 200


class ServerFailed(Exception):
    """It did not start; the text is the end of its log."""


class Server(ABC):
    """See the package."""

    scheme: ClassVar[str]
    first_database: ClassVar[str]
    ready: ClassVar[str]
    """What its log says when it serves."""

    def __init__(self) -> None:
        self.port = find_free_port()
        self.home = Path(tempfile.mkdtemp(prefix=f"tercet-{self.scheme}-"))
        if os.geteuid() == 0:
            account = pwd.getpwnam(_UNPRIVILEGED)
            os.chown(self.home, account.pw_uid, account.pw_gid)
        self._process: subprocess.Popen[str] | None = None
        self._log = deque[str](maxlen=_LOG_LINES_MAX)

    @property
    def is_running(self) -> bool:
        """It was started, and has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    @abstractmethod
    def initialize(self) -> None:
        """Make the data, and an account ``USER`` that may do everything."""

    @abstractmethod
    def command(self, settings: Sequence[str]) -> list[str]:
        """What runs the server, with ``name=value`` settings over its own."""

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD) -> str:
        """Where a database is, as an operator writes it."""
        secret = quote(password, safe="")
        return f"{self.scheme}://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "") -> list[Sequence[Any]]:
        """Carry statements out as an administrator; the rows of the last one."""
        url = self.url(database or self.first_database)
        with ThreadPoolExecutor(1) as thread:  # where no event loop is running
            return thread.submit(asyncio.run, _run(url, statements)).result()

    def create(self, database: str) -> str:
        """An empty database; its URL."""
        self.run(f"DROP DATABASE IF EXISTS {database}", f"CREATE DATABASE {database}")
        return self.url(database)

    def start(self, *settings: str) -> None:
        """Return when it serves."""
        self._process = subprocess.Popen(
            unprivileged(self.command(settings)),
            cwd=self.home,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        is_ready = threading.Event()
        threading.Thread(
            target=self._follow, args=(self._process, is_ready), daemon=True
        ).start()
        if not is_ready.wait(START_SECONDS_MAX) or self._process.poll() is not None:
            self.kill()
            raise ServerFailed("\n".join(self._log))

    def kill(self) -> None:
        """As a power cut would, as far as processes can: SIGKILL for all of them.

        A server's children outlive it by a moment, in which they still commit.
        """
        if self._process is None or self._process.poll() is not None:
            self._process = None
            return
        self._process.send_signal(signal.SIGSTOP)  # it gets no more of them
        with contextlib.ExitStack() as stack:
            doomed = [stack.enter_context(_Doomed(pid)) for pid in self.pids()]
            for one in doomed:
                one.kill()
            self._end(signal.SIGKILL)
            for one in doomed:
                one.wait()

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It hangs: connections stay, nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal_all(signal.SIGCONT)

    def pids(self) -> list[int]:
        """Of its process and the children that this has now."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def log_lines(self) -> list[str]:
        """The end of its log."""
        return list(self._log)

    def remove(self) -> None:
        """End it for good, data and all."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def prepare(self, command: Sequence[str]) -> None:
        """Run a command that has to succeed before the first start."""
        done = subprocess.run(
            unprivileged(command),
            cwd=self.home,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(done.stdout + done.stderr)

    def _env(self) -> dict[str, str]:
        """Temporary files go into its own folder: a MariaDB that starts removes those
        of all the others where it looks for its own.
        """
        home = str(self.home)
        path = os.environ["PATH"]
        return {"PATH": path, "LC_ALL": "C", "HOME": home, "TMPDIR": home}

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.wait(START_SECONDS_MAX)

    def _signal_all(self, number: signal.Signals) -> None:
        for one in self.pids():
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(one, number)

    def _follow(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._log.append(line.rstrip())
                if self.ready in line:
                    ready.set()
        ready.set()  # It ended; whoever waits sees that.


class _Doomed:
    """A process that need not be a child of ours, and may have ended."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._file = -1

    def __enter__(self) -> Self:
        with contextlib.suppress(ProcessLookupError):
            self._file = os.pidfd_open(self._pid)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def kill(self) -> None:
        """SIGKILL, for this process and no later one of its number."""
        if self._file >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._file, signal.SIGKILL)

    def wait(self) -> None:
        """Return when it has ended."""
        if self._file >= 0:
            ended, _, _ = select.select([self._file], [], [], START_SECONDS_MAX)
            if not ended:
                raise ServerFailed(f"process {self._pid} does not end")


async def _run(url: str, statements: Sequence[str]) -> list[Sequence[Any]]:
    server = parse_url(url).server
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    rows: list[Sequence[Any]] = []
    async with engine.connect() as connection:
        for statement in statements:
            done = await connection.exec_driver_sql(statement)
            rows = list(done.all()) if done.returns_rows else []
    await engine.dispose()
    return rows


def unprivileged(command: Sequence[str]) -> list[str]:
    """The command as one that is not root and does not outlive its parent."""
    drop = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        account = pwd.getpwnam(_UNPRIVILEGED)
        drop += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
        drop += ["--clear-groups"]
    return [*drop, "--", *command]


def find_program(name: str, folders: Sequence[str]) -> str:
    """The newest of a program that Debian puts beside the search path."""
    found = [p for folder in folders for p in Path("/").glob(f"{folder}/{name}")]
    if found:
        return str(max(found, key=_version))
    if program := shutil.which(name):
        return program
    raise ServerFailed(f"{name} is not here; run `python -m tests.servers install`")


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.parts if part.isdigit())
