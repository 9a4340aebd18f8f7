"""PostgreSQL, as a throw-away server."""

import signal
from collections.abc import Sequence

from tests.servers.process import PASSWORD, USER, Server, find_program

_FOLDERS = ["usr/lib/postgresql/*/bin"]


class PostgreSQL(Server):
    """Debian's, with small buffers and everything else as it comes."""

    scheme = "postgresql"
    first_database = "postgres"
    ready = "database system is ready to accept connections"

    @staticmethod
    def programs() -> tuple[str, ...]:
        """What has to be installed."""
        return tuple(find_program(name, _FOLDERS) for name in ("initdb", "postgres"))

    def initialize(self) -> None:
        """One superuser, with a password."""
        secret = self.home / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)  # its folder is closed to everybody else
        self.prepare(
            [
                self.programs()[0],
                f"--pgdata={self.home / 'data'}",
                f"--username={USER}",
                "--auth=scram-sha-256",
                f"--pwfile={secret}",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]
        )

    def quit(self) -> None:
        """At once and without a checkpoint, as ``pg_ctl stop -m immediate``."""
        self._end(signal.SIGQUIT)

    def command(self, settings: Sequence[str]) -> list[str]:
        """On one port of loopback, without sockets elsewhere."""
        own = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.home}",
            "shared_buffers=32MB",
            "max_connections=100",
            "max_wal_size=256MB",
        ]
        flags = [flag for pair in (*own, *settings) for flag in ("-c", pair)]
        return [self.programs()[1], "-D", str(self.home / "data"), *flags]
