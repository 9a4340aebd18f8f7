"""``HOST:PORT``, in one spelling."""

import ipaddress
import re
from typing import Final

_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def parse_address(text: str) -> str:
    """``HOST:PORT`` in one spelling: ``localhost`` becomes ``127.0.0.1``.

    Raises:
        ValueError: it is not an address; schemes such as ``unix:`` and ``dns:`` are
            refused too. The text says why.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("no host or no port")
    if not _PORT.fullmatch(port) or int(port) > 65_535:
        raise ValueError("the port is no number from 0 to 65535")
    if host.lower() == "localhost":
        return f"127.0.0.1:{int(port)}"
    if host.startswith("[") and host.endswith("]"):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]:{int(port)}"
        except ValueError:
            raise ValueError("what is in the brackets is no IPv6 address") from None
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets, a scheme is not supported")
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("the host is neither an address nor a name")
    return f"{host}:{int(port)}"


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach ``HOST:PORT``; a name counts as "no"."""
    host = listen.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(address: str) -> bool:
    """Whether ``HOST:PORT`` means all addresses of a machine, and so none to go to."""
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
