"""Where a participant listens, and how it knows who calls."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

import grpc

from participant_sdk.errors import InvalidRequest
from protos import call_token

FILE_BYTES_MAX = 1024 * 1024

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listener:
    """An address where the coordinator's nodes may call this participant.

    On loopback an address is enough. Anywhere else calls have to be encrypted and
    signed, or whoever reaches the address could move money.

    Args:
        address: ``HOST:PORT``; the host an address, such as ``0.0.0.0`` for all of this
            machine's, or ``localhost``.
        secret_file: of the secret that nodes sign calls with, 32 characters or more. A
            second line is another secret that is accepted, for as long as secrets are
            being exchanged. Where it is given, calls without a signature are refused.
        certificate_file: in PEM, for the name under which nodes reach this participant,
            with what leads to its authority.
        key_file: of the certificate, in PEM.
        insecure_off_loopback: DANGEROUS: listen where other machines reach it although
            calls are not encrypted or not signed.

    Raises:
        InvalidRequest: one of them is not as it has to be; the error names it.
    """

    address: str
    secret_file: str | Path | None = None
    certificate_file: str | Path | None = None
    key_file: str | Path | None = None
    insecure_off_loopback: bool = False

    def __post_init__(self) -> None:
        is_loopback = _is_loopback(self.address)
        if (self.certificate_file is None) is not (self.key_file is None):
            missing = "key_file" if self.key_file is None else "certificate_file"
            raise InvalidRequest(
                "expected a certificate and its key, and one of them is missing",
                field=missing,
            )
        if is_loopback or self.insecure_off_loopback:
            return
        for name in ("certificate_file", "secret_file"):
            if getattr(self, name) is None:
                raise InvalidRequest(
                    f"{self.address} is not a loopback address, and without TLS and "
                    "signed calls anybody who reaches it could move money: give "
                    "certificate_file, key_file and secret_file, listen on "
                    "127.0.0.1:PORT, or accept the risk with "
                    "insecure_off_loopback=True",
                    field=name,
                )

    def secrets(self) -> tuple[bytes, ...]:
        """The secrets that calls may be signed with; none: they need no signature."""
        if self.secret_file is None:
            return ()
        data = _read(self.secret_file, "secret_file")
        try:
            return call_token.secrets_of(data)
        except ValueError as error:
            raise InvalidRequest(f"in the file: {error}", field="secret_file") from None

    def credentials(self) -> grpc.ServerCredentials | None:
        """What encrypts calls; ``None``: nothing does."""
        if self.certificate_file is None or self.key_file is None:
            return None
        key = _read(self.key_file, "key_file")
        certificate = _read(self.certificate_file, "certificate_file")
        return grpc.ssl_server_credentials([(key, certificate)])


def _is_loopback(address: str) -> bool:
    """Whether only this machine reaches it. Raises for what is no ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    is_port = _PORT.fullmatch(port) is not None and int(port) <= 65_535
    if is_port and host == "localhost":
        return True
    try:
        if not is_port or host.startswith("[") is not (":" in host):
            raise ValueError  # noqa: TRY301
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        raise InvalidRequest(
            f"{ascii(address)[:60]} is not accepted: expected HOST:PORT, the host an "
            "address of this machine, such as 127.0.0.1:7800 or 0.0.0.0:7800",
            field="address",
        ) from None


def _read(path: str | Path, field: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no file name"
        raise InvalidRequest(f"the file cannot be read: {why}", field=field) from None
    if len(data) > FILE_BYTES_MAX:
        raise InvalidRequest("the file is larger than 1 MiB", field=field)
    return data
