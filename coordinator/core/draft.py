"""A decision in the making: facts, and the state they lead to.

Local to one call of the core and never shared, so the functions that use it stay
pure seen from outside.
"""

from coordinator.core.events import Began, Event
from coordinator.core.evolution import CHANGES, evolve
from coordinator.core.model import GlobalTransaction


class Draft:
    """Collects facts; each is applied at once, so that the next sees its effect.

    Attributes:
        tx: the state so far.
        events: what has become a fact, in this order.
    """

    __slots__ = ("events", "tx")

    def __init__(self, tx: GlobalTransaction) -> None:
        self.tx = tx
        self.events: tuple[Event, ...] = ()

    @classmethod
    def begun(cls, event: Began) -> "Draft":
        """One with a first fact; there is no state without."""
        draft = cls(evolve(None, event))
        draft.events = (event,)
        return draft

    def add(self, event: Event) -> None:
        """One more fact. Raises ``IllegalTransition``, and keeps nothing of it."""
        self.tx = CHANGES[type(event)](self.tx, event)
        self.events += (event,)
