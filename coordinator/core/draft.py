"""A decision in the making: facts, and the state they lead to.

Local to one call of the core and never shared, so the functions that use it stay
pure seen from outside.
"""

from coordinator.core.errors import IllegalTransition
from coordinator.core.events import Event
from coordinator.core.evolution import evolve
from coordinator.core.model import GlobalTransaction


class Draft:
    """Collects facts; each is applied at once, so that the next sees its effect."""

    __slots__ = ("_tx", "events")

    def __init__(self, tx: GlobalTransaction | None) -> None:
        self._tx = tx
        self.events: list[Event] = []

    @property
    def tx(self) -> GlobalTransaction:
        """The state so far."""
        if self._tx is None:
            raise IllegalTransition("nothing began yet")
        return self._tx

    def add(self, event: Event) -> None:
        """One more fact."""
        self._tx = evolve(self._tx, event)
        self.events.append(event)
