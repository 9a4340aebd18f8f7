"""MariaDB, as a throw-away server."""

from collections.abc import Sequence

from tests.servers.process import PASSWORD, USER, Server, find_program

_FOLDERS = ["usr/sbin", "usr/bin"]


class MariaDB(Server):
    """Debian's, with small buffers and everything else as it comes."""

    scheme = "mysql"
    first_database = "mysql"
    ready = "ready for connections"

    @staticmethod
    def programs() -> tuple[str, ...]:
        """What has to be installed; the last one is what the first one calls."""
        names = ("mariadb-install-db", "mariadbd", "my_print_defaults")
        return tuple(find_program(name, _FOLDERS) for name in names)

    def initialize(self) -> None:
        """The system tables; the account is made at each start, if need be."""
        self.prepare(
            [
                self.programs()[0],
                "--no-defaults",
                f"--datadir={self.home / 'data'}",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
            ]
        )
        account = f"'{USER}'@'%'"
        (self.home / "accounts.sql").write_text(
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n"
        )

    def command(self, settings: Sequence[str]) -> list[str]:
        """On one port of loopback; its socket stays in its own folder."""
        own = [
            f"datadir={self.home / 'data'}",
            f"socket={self.home / 'mariadb.sock'}",
            f"pid-file={self.home / 'mariadb.pid'}",
            f"init-file={self.home / 'accounts.sql'}",
            "bind-address=127.0.0.1",
            f"port={self.port}",
            "skip-name-resolve=1",
            "innodb-buffer-pool-size=64M",
            "max-connections=100",
        ]
        flags = [f"--{pair}" for pair in (*own, *settings)]
        return [self.programs()[1], "--no-defaults", *flags]
