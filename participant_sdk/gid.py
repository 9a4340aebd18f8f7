"""Identities of global transactions."""

import secrets
import time

_RANDOM_BYTES = 12


def new_gid() -> str:
    """A gid that nobody else has: sorted by time, with 96 random bits.

    It is made by the initiator, so that a request whose reply was lost can be sent
    again as the same transaction.
    """
    now_ms = time.time_ns() // 1_000_000
    return f"{now_ms:012x}-{secrets.token_hex(_RANDOM_BYTES)}"
