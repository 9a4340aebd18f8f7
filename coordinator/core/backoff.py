"""When a failed call is made again: durable retry times, computed, never drawn.

The jitter comes from a seed (gid, branch, attempt), so every node, the simulator
and a replay compute the same instant.
"""

from zlib import crc32

from msgspec import Struct

_CRC_SPAN = 0x1_0000_0000


class RetryPolicy(Struct, frozen=True):
    """How often and how fast something is asked again.

    Attributes:
        attempt_max: attempts in all; 0 = without end.
        initial_interval_ms: the interval after the first failure.
        coefficient: by which each following interval grows.
        interval_max_ms: no interval is longer.
        jitter: the part of an interval that is random: 0 none, 1 all of it.
        non_retryable: error codes after which nothing is asked again.
    """

    attempt_max: int = 5
    initial_interval_ms: int = 200
    coefficient: float = 2.0
    interval_max_ms: int = 30_000
    jitter: float = 1.0
    non_retryable: frozenset[str] = frozenset()


FORWARD = RetryPolicy()
"""Tries and actions, when nobody says otherwise."""

PHASE_TWO = RetryPolicy(attempt_max=0)
"""Confirm, cancel, compensation: without end, full jitter, cap 30 s (V8)."""


def delay_ms(attempt: int, policy: RetryPolicy, seed: str) -> int:
    """The interval after failed attempt number ``attempt`` (from 1), in milliseconds.

    Full jitter (``jitter=1``) spreads evenly over the whole interval, so that a
    crowd that failed together does not come back together.
    """
    # Doublings beyond 2**62 would only overflow a float; the cap decides long before.
    growth = min(policy.coefficient ** min(attempt - 1, 62), 1e12)
    interval = min(policy.initial_interval_ms * growth, policy.interval_max_ms)
    return round(interval * (1 - policy.jitter * share_of(f"{seed}:{attempt}")))


def share_of(seed: str) -> float:
    """A number from 0 to below 1, evenly spread over seeds, the same everywhere."""
    return crc32(seed.encode()) / _CRC_SPAN
