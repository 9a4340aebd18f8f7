"""Whom a node calls at an address: participants that push calls go to.

Only a node's own settings say so, and no message of any client. In the file each
participant has a table (docs/push-participants.md)::

    [push.accounts]
    address = "accounts.internal:7800"          # or a list of several
    secret_file = "/etc/tercet/accounts.secret"
    ca_file = "/etc/tercet/ca.pem"              # else the authorities that gRPC knows
    in_flight = 256

A flag and the environment have room for an address alone, which does on loopback:
``accounts=127.0.0.1:7800,stock=127.0.0.1:7801``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from coordinator.config.address import is_loopback, is_wildcard, parse_address
from coordinator.config.error import ConfigError
from protos import call_token

TARGETS_MAX: Final = 256
"""Addresses of all participants together; each is a connection that is kept."""

IN_FLIGHT_DEFAULT: Final = 256
IN_FLIGHT_MAX: Final = 10_000
"""As those of a participant that is attached."""

FILE_BYTES_MAX: Final = 1024 * 1024

PUSH_EXPECTED: Final = (
    "a table for each participant, such as [push.accounts] with address ="
    ' "127.0.0.1:7800"; or, as one text, accounts=127.0.0.1:7800 with commas between'
)

_KEYS: Final = (
    "address",
    "secret_file",
    "ca_file",
    "in_flight",
    "insecure_off_loopback",
)
_PARTICIPANT: Final = re.compile(r"[A-Za-z0-9_:-]{1,128}")
_NUMBER: Final = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTarget:
    """One address of one participant.

    Attributes:
        address: ``HOST:PORT``.
        has_tls: whether calls are encrypted, and the participant has to show a
            certificate for the host of its address.
        authorities: certificates (PEM) of who may sign that one; ``None`` = those
            that gRPC knows.
        secret: what calls are signed with; ``None`` = they are not signed.
        in_flight: calls that may be open there at a time.
    """

    participant: str
    address: str
    has_tls: bool = False
    authorities: bytes | None = field(default=None, repr=False)
    secret: bytes | None = field(default=None, repr=False)
    in_flight: int = IN_FLIGHT_DEFAULT

    @property
    def is_unsafe(self) -> bool:
        """Whether others could read or forge its calls on their way."""
        is_guarded = self.has_tls and self.secret is not None
        return not is_guarded and not is_loopback(self.address)


def parse_push(value: object) -> tuple[PushTarget, ...]:
    """The targets of a text or of the file's tables; reads the files that they name.

    Raises:
        ConfigError: a participant's table is wrong; with its key, and no source.
        ValueError: it is neither a text nor tables.
    """
    tables = _tables_of(value) if isinstance(value, str) else value
    if not isinstance(tables, Mapping):
        raise ValueError("it is neither tables nor a text")  # noqa: TRY004
    targets = [
        target
        for participant, table in tables.items()
        for target in _targets_of(str(participant), table)
    ]
    if len(targets) > TARGETS_MAX:
        raise ConfigError(
            "push", f"expected at most {TARGETS_MAX} addresses, got {len(targets)}"
        )
    return tuple(targets)


def _tables_of(text: str) -> Mapping[str, object]:
    addresses: dict[str, list[str]] = {}
    for part in text.split(","):
        participant, equals, address = part.strip().partition("=")
        if not participant or not equals:
            raise ValueError("a name, = or an address is missing")
        addresses.setdefault(participant, []).append(address)
    return {name: {"address": some} for name, some in addresses.items()}


def _targets_of(participant: str, table: object) -> list[PushTarget]:
    key = f"push.{participant}"
    if not _PARTICIPANT.fullmatch(participant):
        raise ConfigError(
            "push",
            f"{participant[:60]!a} cannot be a participant; expected its name, 1 to 128"
            " of A-Z a-z 0-9 _ : -",
        )
    if not isinstance(table, Mapping):
        raise ConfigError(key, f'expected a table such as [{key}] with address = "…"')
    if unknown := sorted(table.keys() - set(_KEYS)):
        raise ConfigError(
            f"{key}.{unknown[0]}",
            f"there is no such setting; expected one of {', '.join(_KEYS)}",
        )
    addresses = _addresses_of(table.get("address"), f"{key}.address")
    authorities = _authorities_of(table, key)
    secret = _secret_of(table, key)
    is_insecure = _is_insecure(table, key)
    targets = [
        PushTarget(
            participant=participant,
            address=address,
            has_tls=authorities is not None
            or not (is_insecure or is_loopback(address)),
            authorities=authorities,
            secret=secret,
            in_flight=_in_flight_of(table, key),
        )
        for address in addresses
    ]
    if not is_insecure:
        _check_guarded(targets, key)
    return targets


def _check_guarded(targets: list[PushTarget], key: str) -> None:
    for target in targets:
        if target.is_unsafe:
            raise ConfigError(
                f"{key}.secret_file",
                f"{target.address} is not a loopback address, and without signed calls"
                " anybody who reaches the participant could move money; name a file"
                " with the secret that the participant has, too, in a table of the"
                " settings file, or accept the risk there with insecure_off_loopback ="
                " true, which also leaves TLS out unless there is a ca_file",
            )


def _addresses_of(value: object, key: str) -> list[str]:
    given = value if isinstance(value, list) else [value]
    if not given:
        raise ConfigError(key, "expected HOST:PORT or a list of some, and it is empty")
    addresses = [_address_of(one, key) for one in given]
    if len(set(addresses)) < len(addresses):
        raise ConfigError(key, "expected each address once; remove the repetition")
    return addresses


def _address_of(value: object, key: str) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError("it is no text")  # noqa: TRY004, TRY301
        address = parse_address(value)
        _check_spelling(address)
    except ValueError as error:
        shown = "" if value is None else f"{ascii(value)[:60]} is not accepted; "
        raise ConfigError(
            key,
            f"{shown}expected HOST:PORT of the participant's own server, such as"
            f" accounts.internal:7800 ({error})",
        ) from None
    return address


def _check_spelling(address: str) -> None:
    """Refuse what some program might take for another address than we do."""
    if is_wildcard(address) or address.endswith(":0"):
        raise ValueError("nobody can be called there")
    host = address.rpartition(":")[0]
    if "%" in host:
        raise ValueError("an address with a zone means something on one machine only")
    if host.startswith("["):
        return
    last = host.rpartition(".")[2]
    if _NUMBER.fullmatch(last) and not _is_ipv4(host):
        raise ValueError("the host ends in a number and is no IPv4 address")


def _is_ipv4(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and all(
        part.isdecimal() and str(int(part)) == part and int(part) <= 255
        for part in parts
    )


def _authorities_of(table: Mapping[str, object], key: str) -> bytes | None:
    data = _file_of(table, key, "ca_file", "certificates in PEM")
    if data is not None and b"-----BEGIN CERTIFICATE-----" not in data:
        raise ConfigError(
            f"{key}.ca_file", "the file holds no certificate; expected some in PEM"
        )
    return data


def _secret_of(table: Mapping[str, object], key: str) -> bytes | None:
    data = _file_of(table, key, "secret_file", "a secret of 32 characters or more")
    if data is None:
        return None
    try:
        return call_token.secrets_of(data)[0]
    except ValueError as error:
        raise ConfigError(f"{key}.secret_file", f"in the file: {error}") from None


def _file_of(
    table: Mapping[str, object], key: str, name: str, expected: str
) -> bytes | None:
    path = table.get(name)
    if path is None:
        return None
    problem = "it is no file name"
    if isinstance(path, str) and path:
        try:
            with Path(path).open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or problem
        else:
            if len(data) <= FILE_BYTES_MAX:
                return data
            problem = "it is larger than 1 MiB"
    raise ConfigError(
        f"{key}.{name}",
        f"{ascii(path)[:60]} cannot be read: {problem}; expected a file with"
        f" {expected}",
    )


def _in_flight_of(table: Mapping[str, object], key: str) -> int:
    value = table.get("in_flight", IN_FLIGHT_DEFAULT)
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or not 1 <= value <= IN_FLIGHT_MAX
    ):
        raise ConfigError(
            f"{key}.in_flight",
            f"{ascii(value)[:60]} is not accepted; expected calls that may be open at"
            f" a time, an integer from 1 to {IN_FLIGHT_MAX}",
        )
    return value


def _is_insecure(table: Mapping[str, object], key: str) -> bool:
    value = table.get("insecure_off_loopback", False)
    if not isinstance(value, bool):
        raise ConfigError(
            f"{key}.insecure_off_loopback",
            f"{ascii(value)[:60]} is not accepted; expected true or false",
        )
    return value
