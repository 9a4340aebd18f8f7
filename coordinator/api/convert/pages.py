"""Tokens that continue a listing by name: opaque to those who pass them on."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

from coordinator.api import checks
from coordinator.core.errors import InvalidRequest


def token_of(*names: str) -> str:
    """What continues a listing behind the entry that these names identify."""
    return urlsafe_b64encode(" ".join(names).encode()).decode()


def names_of(token: str, count: int) -> tuple[str, ...]:
    """The names in a token. Raises ``InvalidRequest``."""
    try:
        names = urlsafe_b64decode(token.encode()).decode().split(" ")
    except (Base64Error, ValueError):
        names = []
    if len(names) != count or not all(map(checks.is_identifier, names)):
        raise InvalidRequest(
            "page_token: expected next_page_token of the reply before. "
            "Leave it empty to begin at the first.",
            field="page_token",
        )
    return tuple(names)
