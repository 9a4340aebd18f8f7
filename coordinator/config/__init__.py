"""Settings: a flag, else the environment, else the file, else the default.

Each setting has one key. ``listen`` is ``--listen`` on the command line,
``TERCET_LISTEN`` in the environment and ``listen = "..."`` in the file (TOML, named
by ``--config`` or ``TERCET_CONFIG``). Whatever is wrong is said with the key, where
the value came from and what was expected, and never with the value of a database
URL, which may hold a password.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from coordinator.config.address import is_loopback, is_wildcard, parse_address
from coordinator.config.error import ConfigError
from coordinator.config.push import PUSH_EXPECTED, PushTarget, parse_push
from coordinator.core.durations import parse_duration

__all__ = [
    "KEEP_EXPECTED",
    "KEEP_MS_MIN",
    "ClientConfig",
    "ConfigError",
    "FlagValue",
    "Flags",
    "PushTarget",
    "ServeConfig",
    "is_loopback",
    "is_wildcard",
    "load_archive",
    "load_client",
    "load_database_url",
    "load_serve",
    "parse_address",
    "parse_keep",
]

CONFIG_FILE_BYTES_MAX: Final = 1024 * 1024
"""1 MiB; a larger file is not a file of a dozen settings."""

KEEP_MS_MIN: Final = 3_600_000
"""Shorter than anybody may wait for the answer to a question already asked."""

KEEP_MS_MAX: Final = 100 * 366 * 86_400_000
KEEP_EXPECTED: Final = "a duration from 1h to 36600d, such as 90d"

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("auto", "json", "console")
OUTPUTS: Final = ("table", "json")

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_TRUE: Final = frozenset({"yes", "true", "1"})
_FALSE: Final = frozenset({"no", "false", "0"})

T = TypeVar("T")
FlagValue: TypeAlias = str | int | float | bool | None
Flags: TypeAlias = Mapping[str, FlagValue]
"""Values from the command line by key; ``None`` = not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """What a node is started with.

    Cannot be made with ``listen`` off loopback unless ``insecure_off_loopback``.

    Attributes:
        database_url: may hold a password; never shown, not even by ``repr``.
        listen: ``HOST:PORT``, the host an address; port 0 = any free one.
        advertise: ``HOST:PORT`` under which participants and clients reach this node;
            empty = the address that it listens on.
        unsafe_database_settings: serve although what was acknowledged can be lost.
        message_bytes_max: of one gRPC message.
        payload_bytes_max: of one application payload.
        payload_memory_max: bytes of payloads of all unfinished transactions that a node
            holds; ``None`` = a quarter of the memory that it may use.
        branches_max: of one global transaction.
        metadata_bytes_max: of all labels of one transaction.
        drain_seconds: how long a stopping node waits for what is in flight.
        keep_finished_ms: how long a finished transaction is kept at least; ``None`` =
            for ever.
        archive: the folder for what is not kept any longer; empty = it is removed.
        push: the participants that are called at an address.
    """

    database_url: str = field(repr=False)
    listen: str = "127.0.0.1:7700"
    advertise: str = ""
    insecure_off_loopback: bool = False
    unsafe_database_settings: bool = False
    log_level: str = "info"
    log_format: str = "auto"
    message_bytes_max: int = 1024 * 1024
    payload_bytes_max: int = 256 * 1024
    payload_memory_max: int | None = None
    branches_max: int = 1_000
    metadata_bytes_max: int = 8 * 1024
    drain_seconds: int = 10
    keep_finished_ms: int | None = None
    archive: str = ""
    push: tuple[PushTarget, ...] = ()

    def __post_init__(self) -> None:
        if not self.insecure_off_loopback and not is_loopback(self.listen):
            raise ConfigError(
                "listen",
                f"{self.listen} is not a loopback address, and without TLS and "
                "authentication anybody who reaches it could move money; listen on "
                "127.0.0.1:PORT or [::1]:PORT, or accept the risk with "
                "--insecure-off-loopback (TERCET_INSECURE_OFF_LOOPBACK=yes)",
            )
        if self.payload_bytes_max > self.message_bytes_max:
            raise ConfigError(
                "payload_bytes_max",
                f"{self.payload_bytes_max} is more than message_bytes_max "
                f"({self.message_bytes_max}); a payload travels inside a message",
            )
        if self.archive and self.keep_finished_ms is None:
            raise ConfigError(
                "archive",
                "nothing would be archived, because finished transactions are kept for"
                " ever; say for how long with --keep-finished, such as 90d",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """What a command that asks a coordinator works with.

    Attributes:
        server: ``HOST:PORT`` of any node.
        output: ``table`` or ``json``.
        timeout_seconds: how long one answer may take.
    """

    server: str = "127.0.0.1:7700"
    output: str = "table"
    timeout_seconds: float = 10.0


def load_serve(flags: Flags, env: Mapping[str, str]) -> ServeConfig:
    """The settings of a node.

    Raises:
        ConfigError: a value is wrong, or the file is or has a key that is unknown.
    """
    sources = _Sources(flags, env)
    try:
        return ServeConfig(
            database_url=sources.read(_DATABASE_URL),
            listen=sources.read(_LISTEN),
            advertise=sources.read(_ADVERTISE),
            insecure_off_loopback=sources.read(_INSECURE_OFF_LOOPBACK),
            unsafe_database_settings=sources.read(_UNSAFE_DATABASE_SETTINGS),
            log_level=sources.read(_LOG_LEVEL),
            log_format=sources.read(_LOG_FORMAT),
            message_bytes_max=sources.read(_MESSAGE_BYTES_MAX),
            payload_bytes_max=sources.read(_PAYLOAD_BYTES_MAX),
            payload_memory_max=sources.read(_PAYLOAD_MEMORY_MAX),
            branches_max=sources.read(_BRANCHES_MAX),
            metadata_bytes_max=sources.read(_METADATA_BYTES_MAX),
            drain_seconds=sources.read(_DRAIN_SECONDS),
            keep_finished_ms=sources.read(_KEEP_FINISHED),
            archive=sources.read(_ARCHIVE),
            push=sources.read(_PUSH),
        )
    except ConfigError as error:
        if error.source:
            raise
        source = sources.find(_SETTINGS[error.key])[1]
        raise ConfigError(error.key, error.problem, source=source) from None


def load_client(flags: Flags, env: Mapping[str, str]) -> ClientConfig:
    """The settings of a command that asks a coordinator. Raises ``ConfigError``."""
    sources = _Sources(flags, env)
    return ClientConfig(
        server=sources.read(_SERVER),
        output=sources.read(_OUTPUT),
        timeout_seconds=sources.read(_TIMEOUT_SECONDS),
    )


def load_database_url(flags: Flags, env: Mapping[str, str]) -> str:
    """Only where the database is. Raises ``ConfigError``."""
    return _Sources(flags, env).read(_DATABASE_URL)


def load_archive(flags: Flags, env: Mapping[str, str]) -> str:
    """Only where the archive is, empty when there is none. Raises ``ConfigError``."""
    return _Sources(flags, env).read(_ARCHIVE)


@dataclass(frozen=True, slots=True)
class _Setting(Generic[T]):
    """One thing that can be set.

    Attributes:
        parse: raises ``ValueError`` with what is wrong, or with nothing to say.
        is_secret: the value never appears in a message.
    """

    key: str
    flag: str
    default: T
    expected: str
    parse: Callable[[object], T]
    is_secret: bool = False

    @property
    def env_name(self) -> str:
        return f"TERCET_{self.key.upper()}"


class _Sources:
    """One look at the flags, the environment and the file."""

    def __init__(self, flags: Flags, env: Mapping[str, str]) -> None:
        self._flags = flags
        self._env = env
        self._file, self._file_name = self._read_file()

    def read(self, setting: _Setting[T]) -> T:
        """The value of a setting; raises ``ConfigError`` when it is wrong."""
        raw, source = self.find(setting)
        if not source:
            return setting.default
        try:
            return setting.parse(raw)
        except ConfigError as error:  # of a part of it
            raise ConfigError(error.key, error.problem, source=source) from None
        except ValueError as error:
            shown = "" if setting.is_secret else f"{_shown(raw)} is not accepted; "
            why = f" ({error})" if str(error) else ""
            raise ConfigError(
                setting.key, f"{shown}expected {setting.expected}{why}", source=source
            ) from None

    def find(self, setting: _Setting[T]) -> tuple[object, str]:
        """The value as given and where it came from; no source = not given."""
        if (value := self._flags.get(setting.key)) is not None:
            return value, f"flag {setting.flag}"
        if (text := self._env.get(setting.env_name)) is not None:
            return text, f"environment {setting.env_name}"
        if setting.key in self._file:
            return self._file[setting.key], f"file {self._file_name}"
        return None, ""

    def _read_file(self) -> tuple[Mapping[str, object], str]:
        name, source = self._flags.get("config"), "flag --config"
        if name is None:
            name, source = self._env.get("TERCET_CONFIG"), "environment TERCET_CONFIG"
        if name is None:
            return {}, ""
        values = _read_toml(str(name), source=source)
        if unknown := sorted(values.keys() - _SETTINGS.keys()):
            raise ConfigError(
                unknown[0],
                f"there is no such setting; expected one of {', '.join(_SETTINGS)}",
                source=f"file {name}",
            )
        return values, str(name)


def _read_toml(name: str, *, source: str) -> dict[str, object]:
    try:
        with Path(name).open("rb") as file:
            data = file.read(CONFIG_FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no file name"
        raise ConfigError(
            "config",
            f"{name!r} cannot be read: {why}; expected a TOML file",
            source=source,
        ) from None
    if len(data) > CONFIG_FILE_BYTES_MAX:
        raise ConfigError(
            "config",
            f"{name} is larger than 1 MiB; expected a TOML file",
            source=source,
        )
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise ConfigError(
            "config", f"{name} is not UTF-8; expected a TOML file", source=source
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        why = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise ConfigError(
            "config", f"{name} is not TOML: {why}", source=source
        ) from None


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: object) -> str:
    match value:
        case "":
            raise ValueError("it is empty; leave it out to get the default")
        case str():
            return value
    raise ValueError("it is no text")


def _address(value: object) -> str:
    return parse_address(_text(value))


def _reachable_address(value: object) -> str:
    address = _address(value)
    if is_wildcard(address) or address.endswith(":0"):
        raise ValueError("nobody can be sent there")
    return address


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = _text(value).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError


def _choice(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        text = _text(value).lower()
        if text not in choices:
            raise ValueError
        return text

    return parse


def _integer(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        match value:
            case bool():
                raise ValueError
            case int() if low <= value <= high:
                return value
        raise ValueError

    return parse


def _auto(parse: Callable[[object], int]) -> Callable[[object], int | None]:
    return lambda value: None if value == "auto" else parse(value)


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):
        raise ValueError from None
    if isinstance(value, bool) or not 0 < seconds <= 3_600:
        raise ValueError
    return seconds


def parse_keep(value: object) -> int:
    """How long something finished is kept, in milliseconds. Raises ``ValueError``."""
    keep_ms = parse_duration(_text(value))
    if keep_ms is None or not KEEP_MS_MIN <= keep_ms <= KEEP_MS_MAX:
        raise ValueError
    return keep_ms


def _keep_finished(value: object) -> int | None:
    return None if value == "off" else parse_keep(value)


def _database_url(value: object) -> str:
    text = _text(value)
    scheme, mark, _ = text.partition("://")
    if not mark or not re.fullmatch(r"[a-z][a-z0-9+_]*", scheme):
        raise ValueError("it is no URL")
    return text


_DATABASE_URL: Final = _Setting(
    key="database_url",
    flag="--db",
    default="sqlite:///tercet.db",
    expected="a URL such as sqlite:///tercet.db, sqlite:////var/lib/tercet.db,"
    " postgresql://user:password@host/database or mysql://user:password@host/database",
    parse=_database_url,
    is_secret=True,
)
_LISTEN: Final = _Setting(
    key="listen",
    flag="--listen",
    default="127.0.0.1:7700",
    expected="HOST:PORT such as 127.0.0.1:7700",
    parse=_address,
)
_ADVERTISE: Final = _Setting(
    key="advertise",
    flag="--advertise",
    default="",
    expected="HOST:PORT under which others reach this node, such as"
    " tercet-1.internal:7700",
    parse=_reachable_address,
)
_INSECURE_OFF_LOOPBACK: Final = _Setting(
    key="insecure_off_loopback",
    flag="--insecure-off-loopback",
    default=False,
    expected="yes or no",
    parse=_boolean,
)
_UNSAFE_DATABASE_SETTINGS: Final = _Setting(
    key="unsafe_database_settings",
    flag="--unsafe-database-settings",
    default=False,
    expected="yes or no",
    parse=_boolean,
)
_LOG_LEVEL: Final = _Setting(
    key="log_level",
    flag="--log-level",
    default="info",
    expected=f"one of {', '.join(LOG_LEVELS)}",
    parse=_choice(*LOG_LEVELS),
)
_LOG_FORMAT: Final = _Setting(
    key="log_format",
    flag="--log-format",
    default="auto",
    expected=f"one of {', '.join(LOG_FORMATS)}",
    parse=_choice(*LOG_FORMATS),
)
_MESSAGE_BYTES_MAX: Final = _Setting(
    key="message_bytes_max",
    flag="",
    default=1024 * 1024,
    expected="an integer from 65536 to 16777216",
    parse=_integer(65_536, 16_777_216),
)
_PAYLOAD_BYTES_MAX: Final = _Setting(
    key="payload_bytes_max",
    flag="",
    default=256 * 1024,
    expected="an integer from 1024 to 16777216",
    parse=_integer(1_024, 16_777_216),
)
_PAYLOAD_MEMORY_MAX: Final = _Setting(
    key="payload_memory_max",
    flag="",
    default=None,
    expected="auto, or bytes: an integer from 16777216 to 1099511627776",
    parse=_auto(_integer(16_777_216, 1_099_511_627_776)),
)
_BRANCHES_MAX: Final = _Setting(
    key="branches_max",
    flag="",
    default=1_000,
    expected="an integer from 1 to 10000",
    parse=_integer(1, 10_000),
)
_METADATA_BYTES_MAX: Final = _Setting(
    key="metadata_bytes_max",
    flag="",
    default=8 * 1024,
    expected="an integer from 1024 to 65536",
    parse=_integer(1_024, 65_536),
)
_DRAIN_SECONDS: Final = _Setting(
    key="drain_seconds",
    flag="",
    default=10,
    expected="an integer from 0 to 600",
    parse=_integer(0, 600),
)
_KEEP_FINISHED: Final = _Setting(
    key="keep_finished",
    flag="--keep-finished",
    default=None,
    expected=f"off or {KEEP_EXPECTED}",
    parse=_keep_finished,
)
_ARCHIVE: Final = _Setting(
    key="archive",
    flag="--archive",
    default="",
    expected="a folder",
    parse=_text,
)
_PUSH: Final[_Setting[tuple[PushTarget, ...]]] = _Setting(
    key="push",
    flag="--push",
    default=(),
    expected=PUSH_EXPECTED,
    parse=parse_push,
)
_SERVER: Final = _Setting(
    key="server",
    flag="--server",
    default="127.0.0.1:7700",
    expected="HOST:PORT such as 127.0.0.1:7700",
    parse=_address,
)
_OUTPUT: Final = _Setting(
    key="output",
    flag="--output",
    default="table",
    expected=f"one of {', '.join(OUTPUTS)}",
    parse=_choice(*OUTPUTS),
)
_TIMEOUT_SECONDS: Final = _Setting(
    key="timeout_seconds",
    flag="--timeout",
    default=10.0,
    expected="seconds, more than 0 and at most 3600",
    parse=_seconds,
)

_SETTINGS: Final[Mapping[str, _Setting[Any]]] = {
    setting.key: setting
    for setting in (
        _DATABASE_URL,
        _LISTEN,
        _ADVERTISE,
        _INSECURE_OFF_LOOPBACK,
        _UNSAFE_DATABASE_SETTINGS,
        _LOG_LEVEL,
        _LOG_FORMAT,
        _MESSAGE_BYTES_MAX,
        _PAYLOAD_BYTES_MAX,
        _PAYLOAD_MEMORY_MAX,
        _BRANCHES_MAX,
        _METADATA_BYTES_MAX,
        _DRAIN_SECONDS,
        _KEEP_FINISHED,
        _ARCHIVE,
        _PUSH,
        _SERVER,
        _OUTPUT,
        _TIMEOUT_SECONDS,
    )
}
