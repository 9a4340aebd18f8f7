"""Gids for initiators that bring none."""

import re
import secrets
from collections.abc import Callable

from coordinator.core.model import Instant

_RANDOM_BITS = 96

# This module's, and the SDK's, which has a hyphen.
_WITH_TIME = re.compile(r"([0-9a-f]{12})-?[0-9a-f]{24}")


def made_at(gid: str) -> Instant | None:
    """When a gid was made, by the clock of who made it; ``None`` if it does not say."""
    found = _WITH_TIME.fullmatch(gid)
    return int(found[1], 16) if found else None


class GidSource:
    """Makes gids that sort by time and never repeat, on any number of nodes.

    A gid is 12 hexadecimal digits of milliseconds and 24 of randomness. The random
    part alone makes it unique, so two nodes, or one whose clock was set back between
    two starts, cannot meet; the time part never goes back while the process lives.
    """

    def __init__(
        self,
        now: Callable[[], Instant],
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._now = now
        self._random_bits = random_bits
        self._latest = 0

    def make(self) -> str:
        """A gid that nobody has."""
        self._latest = max(self._latest, self._now())
        return f"{self._latest:012x}{self._random_bits(_RANDOM_BITS):024x}"
