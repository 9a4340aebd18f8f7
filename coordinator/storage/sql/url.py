"""What a database URL names, and how to connect there.

The few parameters are the same for every server and are named after libpq's:
``sslmode``, ``sslrootcert``, ``sslcert``, ``sslkey``. Whatever else stands in a URL is
refused by name; no message repeats a value, because it may be a password.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from coordinator.core.errors import InvalidRequest

_FIELD: Final = "database_url"
_EXPECTED: Final = (
    "expected sqlite:///path/to/file.db (three slashes, four if absolute),"
    " postgresql://user:password@host/database or mysql://user:password@host/database"
)


class Kind(StrEnum):
    """The databases that are known; MariaDB speaks MySQL."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    MYSQL = "mysql"


_KINDS: Final[Mapping[str, Kind]] = {
    "sqlite": Kind.SQLITE,
    "sqlite+pysqlite": Kind.SQLITE,
    "postgresql": Kind.POSTGRESQL,
    "postgres": Kind.POSTGRESQL,
    "postgresql+asyncpg": Kind.POSTGRESQL,
    "mysql": Kind.MYSQL,
    "mariadb": Kind.MYSQL,
    "mysql+asyncmy": Kind.MYSQL,
    "mariadb+asyncmy": Kind.MYSQL,
}
_DRIVERS: Final = {Kind.POSTGRESQL: "asyncpg", Kind.MYSQL: "asyncmy"}
_PORTS: Final = {Kind.POSTGRESQL: 5432, Kind.MYSQL: 3306}
_SSL_MODES: Final = ("disable", "require", "verify-ca", "verify-full")
_PARAMETERS: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database, checked as far as that goes without asking it.

    Attributes:
        path: of SQLite's file.
        server: where the others are; may hold a password, so it is never shown.
        tls: how to connect, or ``None`` for "in the clear".
    """

    kind: Kind
    path: Path = Path()
    server: URL = field(default_factory=lambda: URL.create("none"), repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def place(self) -> str:
        """Where it is, for people; without user and password."""
        if self.kind is Kind.SQLITE:
            return "the database file"
        return f"the database server at {self.server.host}:{self.server.port}"


def parse_url(url: str) -> DatabaseUrl:
    """What the URL names. Raises ``InvalidRequest``."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None:
        raise InvalidRequest(
            f"the database URL cannot be read; {_EXPECTED}", field=_FIELD
        )
    kind = _KINDS.get(parsed.drivername)
    if kind is None:
        raise InvalidRequest(
            f"the database {parsed.drivername!r} is not supported; {_EXPECTED}",
            field=_FIELD,
        )
    if kind is Kind.SQLITE:
        return DatabaseUrl(kind, path=_file(parsed))
    return _server(kind, parsed)


def _file(parsed: URL) -> Path:
    if parsed.host or parsed.query:
        raise InvalidRequest(
            f"the database URL has a host or parameters; {_EXPECTED}", field=_FIELD
        )
    name = parsed.database or ""
    if name in ("", ":memory:") or name.startswith("file:"):
        raise InvalidRequest(
            "a database in memory would lose acknowledged transactions when the"
            f" process ends; {_EXPECTED}",
            field=_FIELD,
        )
    path = Path(name)
    if not path.parent.is_dir():
        raise InvalidRequest(
            f"the folder {path.parent} of the database file does not exist; create"
            " it first",
            field=_FIELD,
        )
    return path


def _server(kind: Kind, parsed: URL) -> DatabaseUrl:
    for part in ("host", "database", "username"):
        if not getattr(parsed, part):
            raise InvalidRequest(
                f"the database URL names no {part}; {_EXPECTED}", field=_FIELD
            )
    driver = _DRIVERS[kind]
    if find_spec(driver) is None or find_spec("greenlet") is None:
        raise InvalidRequest(
            f"the driver for {kind.value} is not installed; run"
            f" `pip install 'tercet[{kind.value}]'`",
            field=_FIELD,
        )
    server = parsed.set(
        drivername=f"{kind.value}+{driver}",
        port=parsed.port or _PORTS[kind],
        query={},
    )
    return DatabaseUrl(kind, server=server, tls=_tls(parsed.query))


def _tls(query: Mapping[str, object]) -> ssl.SSLContext | None:
    unknown = sorted(query.keys() - set(_PARAMETERS))
    if unknown:
        raise InvalidRequest(
            f"the database URL has the parameter {unknown[0]!r}; expected only"
            f" {', '.join(_PARAMETERS)}",
            field=_FIELD,
        )
    given = {name: str(value) for name, value in query.items()}
    mode = given.pop("sslmode", "verify-full" if given else "disable")
    if mode not in _SSL_MODES:
        raise InvalidRequest(
            f"the database URL's sslmode is none of {', '.join(_SSL_MODES)}",
            field=_FIELD,
        )
    if mode == "disable":
        return None
    try:
        context = ssl.create_default_context(cafile=given.get("sslrootcert"))
        if "sslcert" in given:
            context.load_cert_chain(given["sslcert"], given.get("sslkey"))
    except (OSError, ssl.SSLError):
        context = None
    if context is None:
        raise InvalidRequest(
            "a file that the database URL names by sslrootcert, sslcert or sslkey"
            " cannot be read as PEM",
            field=_FIELD,
        )
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context
