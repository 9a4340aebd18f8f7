"""The token of a pushed call: it comes from the coordinator, unchanged and in time.

A token is bytes, in the metadata ``tercet-call-token-bin``: a version (1), the instant
at which it expires (8 bytes, milliseconds since the Unix epoch, big-endian) and a MAC
(32 bytes). The MAC is HMAC-SHA256, keyed with a secret that both sides have, over these
lines, with a line feed between them::

    tercet-call-token-1
    execute                       or describe, then the next line is the last claim
    the participant's name        who the token is for, if others have the same secret
    namespace
    gid
    branch_id
    operation
    phase                         its number
    attempt
    the instant at which it expires, as a decimal number
    the SHA-256 of the request's bytes, in lower-case hexadecimal digits

A token may be used again until it expires: the same call twice is what a barrier is
for.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:  # settings are read without protobuf
    from protos.v1.participant_pb2 import BranchCall

METADATA_KEY: Final = "tercet-call-token-bin"

SECRET_BYTES_MIN: Final = 32
"""As many as the MAC has; who guesses a shorter one needs less time."""

SECRETS_MAX: Final = 8
"""One, and another one while they are exchanged."""

SKEW_MS: Final = 60_000
"""By how much two machines' clocks may differ."""

_VERSION: Final = b"\x01"
_EXPIRES_BYTES: Final = 8
_MAC_BYTES: Final = 32
_TOKEN_BYTES: Final = len(_VERSION) + _EXPIRES_BYTES + _MAC_BYTES

Claims: TypeAlias = tuple[str, ...]


class BadToken(Exception):
    """The token does not allow this. Its text says why, and holds nothing of it."""


def secrets_of(text: bytes) -> tuple[bytes, ...]:
    """The secrets in a file: one a line, without empty lines and lines of ``#``.

    Calls are signed with the first, and accepted with any of them.

    Raises:
        ValueError: there is none, there are too many, or one is too short.
    """
    lines = [line.strip() for line in text.splitlines()]
    secrets = tuple(line for line in lines if line and not line.startswith(b"#"))
    if not 0 < len(secrets) <= SECRETS_MAX:
        raise ValueError(f"expected 1 to {SECRETS_MAX} secrets, each on a line")
    if min(map(len, secrets)) < SECRET_BYTES_MIN:
        raise ValueError(
            f"a secret is shorter than {SECRET_BYTES_MIN} characters; make one with"
            " `openssl rand -hex 32`"
        )
    return secrets


def to_execute(participant: str, call: "BranchCall") -> Claims:
    """What a token says that allows this call."""
    return (
        "execute",
        participant,
        call.namespace,
        call.gid,
        call.branch_id,
        call.operation,
        str(int(call.phase)),
        str(call.attempt),
    )


def to_describe(participant: str) -> Claims:
    """What a token says that allows to ask a participant what it carries out."""
    return ("describe", participant)


def sign(secret: bytes, claims: Claims, body: bytes, *, expires_at_ms: int) -> bytes:
    """A token for the request that has these bytes."""
    mac = _mac(secret, claims, body, expires_at_ms)
    return _VERSION + expires_at_ms.to_bytes(_EXPIRES_BYTES, "big") + mac


def check(
    secrets: Iterable[bytes],
    token: bytes | None,
    claims: Claims,
    body: bytes,
    *,
    now_ms: int,
) -> None:
    """Return if the token allows this request.

    Raises:
        BadToken: there is none, it is none of ours or for something else, or it has
            expired more than ``SKEW_MS`` ago.
    """
    if token is None:
        raise BadToken("there is no call token")
    if len(token) != _TOKEN_BYTES or not token.startswith(_VERSION):
        raise BadToken("the call token is of a form that is not known here")
    expires_at_ms = int.from_bytes(token[1 : 1 + _EXPIRES_BYTES], "big")
    mac = token[-_MAC_BYTES:]
    matches = [
        hmac.compare_digest(mac, _mac(secret, claims, body, expires_at_ms))
        for secret in secrets
    ]
    if not any(matches):
        raise BadToken("the call token is of another secret, or for another call")
    if now_ms > expires_at_ms + SKEW_MS:
        raise BadToken("the call token has expired")


def _mac(secret: bytes, claims: Claims, body: bytes, expires_at_ms: int) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    # No line can be mistaken for two: whoever shifts a line feed changes the body.
    text = "\n".join(("tercet-call-token-1", *claims, str(expires_at_ms), digest))
    return hmac.digest(secret, text.encode(), "sha256")
