"""One participant's links, and the calls that wait for it."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from coordinator.core.actions import CallBranch
from coordinator.core.breaker import Breaker
from coordinator.core.model import Key
from coordinator.ports import Link


@dataclass(slots=True)
class Attached:
    """A link, and what is out on it: call id to its call, ``None`` once timed out."""

    participant: str
    link: Link
    credits: int
    open: dict[int, CallBranch | None] = field(default_factory=dict)
    drains: bool = False

    @property
    def room(self) -> int:
        """How many calls may go out on it now."""
        return 0 if self.drains else self.credits - len(self.open)


@dataclass(slots=True)
class Lane:
    """What one participant has to itself, so that it holds up nobody else (V2).

    Attributes:
        queue: ids of calls that wait for credit, their time running.
        waiting: ids of calls that were made before and wait for their turn, without
            an end, by transaction and branch.
        is_paced: it will be looked at again soon.
    """

    participant: str
    links: list[Attached] = field(default_factory=list)
    queue: OrderedDict[int, None] = field(default_factory=OrderedDict)
    waiting: OrderedDict[tuple[Key, str], int] = field(default_factory=OrderedDict)
    breaker: Breaker = field(default_factory=Breaker)
    is_paced: bool = False

    @property
    def has_room(self) -> bool:
        """Whether one more call would go out at once."""
        return sum(link.room for link in self.links) > len(self.queue)

    def take(self, count: int) -> list[int]:
        """Take out of the queue who came first, at most so many."""
        if count >= len(self.queue):
            taken = list(self.queue)
            self.queue.clear()
            return taken
        taken = list(islice(self.queue, count))
        for call_id in taken:
            del self.queue[call_id]
        return taken

    def by_room(self) -> Iterator[Attached]:
        """The links that have credit, the emptiest first."""
        ordered = sorted(self.links, key=lambda link: link.room, reverse=True)
        return (link for link in ordered if link.room > 0)
