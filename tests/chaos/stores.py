"""The coordinator's database: where nodes find it, and how it is hurt."""

import asyncio
import contextlib
import random
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import Connection, create_engine

from coordinator.storage.sql import migrate
from tests.servers import MariaDB, PostgreSQL, Server

DATABASE = "coordinator"
BURST_SECONDS = (0.05, 0.5)
BURSTS = 6
LOCK_SECONDS = (0.5, 2.0)


class Store(ABC):
    """See the module."""

    is_server = True

    @abstractmethod
    def url_of(self, port: int) -> str:
        """As a node gets it, with the port of its proxy."""

    @abstractmethod
    def read_url(self) -> str:
        """As a reader's engine wants it, straight to the database."""

    @abstractmethod
    def start(self) -> None:
        """Serve, with all tables there. Blocks."""

    @abstractmethod
    async def slow(self, dice: random.Random) -> None:
        """Be slow for a while."""

    @abstractmethod
    def remove(self) -> None:
        """End it, data and all."""


@contextlib.contextmanager
def reading(url: str) -> Iterator[Connection]:
    """A connection for plain SQL, for ``with``."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


class SQLiteStore(Store):
    """One file that all nodes open."""

    is_server = False

    def __init__(self, folder: Path) -> None:
        self._path = folder / "coordinator.db"

    def url_of(self, port: int) -> str:
        """The same for all: there is no proxy."""
        return f"sqlite:///{self._path}"

    def read_url(self) -> str:
        """The same."""
        return f"sqlite:///{self._path}"

    def start(self) -> None:
        """Only the tables are missing."""
        migrate.upgrade(self.url_of(0))

    async def slow(self, dice: random.Random) -> None:
        """Somebody else holds its write lock."""
        with contextlib.closing(self._locker()) as connection:
            await asyncio.to_thread(connection.execute, "BEGIN EXCLUSIVE")
            await asyncio.sleep(dice.uniform(*LOCK_SECONDS))
            connection.execute("ROLLBACK")

    def remove(self) -> None:
        """Nothing runs; its folder goes with the run's."""

    def _locker(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self._path, timeout=30, isolation_level=None, check_same_thread=False
        )


class ServerStore(Store):
    """A server of its own, which nobody but nodes works with."""

    def __init__(self, server: Server, driver: str) -> None:
        self.server = server
        self._driver = driver

    def url_of(self, port: int) -> str:
        """The server's, at another port."""
        parts = urlsplit(self.server.url(DATABASE))
        user, _, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))

    def read_url(self) -> str:
        """With a driver that needs no event loop."""
        return self.server.url(DATABASE).replace("://", f"+{self._driver}://")

    def start(self) -> None:
        """The server, the database, the tables."""
        self.server.initialize()
        self.server.start()
        self.server.run(f"CREATE DATABASE {DATABASE}")
        migrate.upgrade(self.server.url(DATABASE))

    async def slow(self, dice: random.Random) -> None:
        """It is stopped for moments."""
        for _ in range(BURSTS):
            self.server.freeze()
            await asyncio.sleep(dice.uniform(*BURST_SECONDS))
            self.server.thaw()
            await asyncio.sleep(dice.uniform(*BURST_SECONDS))

    def remove(self) -> None:
        """The server, too."""
        self.server.remove()


STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": SQLiteStore,
    "postgresql": lambda _: ServerStore(PostgreSQL(), "psycopg"),
    "mariadb": lambda _: ServerStore(MariaDB(), "pymysql"),
}
