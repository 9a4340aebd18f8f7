"""What a node no longer holds though it drives it, by name, as far as there is room."""

from collections.abc import Container

from coordinator.core.model import Key
from coordinator.engine.limits import EngineLimits


class LetGo:
    """Of one node.

    Args:
        here: what it holds, or must not touch.

    Attributes:
        are_all_known: whoever left memory was named here or has a timer. Once that is
            not so, only a walk through the node's own rows finds what it has to do.
    """

    def __init__(self, limits: EngineLimits, *here: Container[Key]) -> None:
        self._limits = limits
        self._here = here
        self._keys: dict[Key, None] = {}
        self.are_all_known = True

    def note(self, key: Key) -> None:
        """It is to be read again."""
        if len(self._keys) < self._limits.let_go_max:
            self._keys[key] = None
        else:
            self.are_all_known = False

    def take(self) -> list[Key]:
        """What was noted since this was last asked, and is not here again."""
        keys, self._keys = self._keys, {}
        return [key for key in keys if not any(key in some for some in self._here)]
