"""Throw-away database servers for tests: real ones, with real syncs.

Each has its data in a folder of its own, listens on loopback alone, runs without
privileges, ends with the tests, and can be killed and started again in between.
``python -m tests.servers install`` brings what is missing, from Debian's packages.
"""

from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import Server

__all__ = ["MariaDB", "PostgreSQL", "Server"]
