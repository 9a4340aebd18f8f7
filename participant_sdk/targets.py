"""Where nodes of the coordinator are reached: as configured, and as nodes tell."""

import random
from collections.abc import Sequence

from participant_sdk.errors import InvalidRequest

TARGETS_MAX = 64
"""Nodes that one program talks to; a coordinator has a handful."""


def targets_of(target: str | Sequence[str]) -> tuple[str, ...]:
    """The targets that are meant, each once.

    Args:
        target: ``host:port``, several of them with commas between, or a sequence.

    Raises:
        InvalidRequest: none, an empty one, or more than ``TARGETS_MAX``.
    """
    parts = target.split(",") if isinstance(target, str) else target
    targets = tuple(dict.fromkeys(part.strip() for part in parts))
    if not targets or not all(targets) or len(targets) > TARGETS_MAX:
        raise InvalidRequest(
            "expected host:port of a coordinator, or of several of its nodes with "
            f"commas between, at most {TARGETS_MAX}",
            field="target",
        )
    return targets


class Targets:
    """Chooses whom to try next.

    Whoever was tried least recently is next, so that each gets its turn; among those
    the nodes that are known to live, in random order, so that the clients of a node
    that died spread over the others.
    """

    def __init__(self, configured: Sequence[str]) -> None:
        self._configured = tuple(configured)
        self._live: tuple[str, ...] = ()
        self._tried: dict[str, int] = {}
        self._tries = 0

    def told(self, live: Sequence[str]) -> None:
        """The other live nodes, as the connected one has told them."""
        self._live = tuple(live[:TARGETS_MAX])
        known = {*self._configured, *self._live}
        self._tried = {t: at for t, at in self._tried.items() if t in known}

    def next(self) -> str:
        """Whom to try now."""
        ranked = {
            target: (self._tried.get(target, 0), 1, float(position))
            for position, target in enumerate(self._configured)
        }
        for target in self._live:
            order = random.random()  # noqa: S311 - a choice, no secret
            ranked[target] = (self._tried.get(target, 0), 0, order)
        chosen = min(ranked, key=ranked.__getitem__)
        self._tries += 1
        self._tried[chosen] = self._tries
        return chosen
