"""How much a client spares a node that refuses new transactions for overload.

Theory. A refusal is cheap, but not free: what is asked for in vain costs the node, the
network and this process a part of what a transaction costs, and comes out of what the
node has for those that it took on. So a client counts how many transactions it is
asked for and how many of them the node takes on, and refuses with probability
``(asked - K * accepted) / (asked + 1)`` by itself: what the node sees is little more
than ``K`` times what it can do, however much is wanted. This is the client-side
throttling of Google's "Site Reliability Engineering", chapter "Handling Overload", with
a ``K`` near 1. What such a ``K`` needs beside it:

* **What was sent counts as accepted until its refusal comes**, and a refusal counts for
  the time at which its request was sent. A transaction may be answered at its end, long
  after it was taken on, and a queue in between does not look like a refusal. A refusal
  of what was sent before all that is looked back at counts for now: the queue has to
  become shorter first.
* **Accepted is the mean of a longer while than asked.** A node takes on much at once,
  and then nothing for a while; what is asked for is known at once, and when it is
  little again nothing is refused any more.
* **K grows while no refusal comes**, so an estimate that was too low does not stay so,
  and after two seconds there is none any more.
* **A small part of what is asked for goes out in any case**, and the first request of
  each quarter of a second. So a client that was less lucky than others comes to its
  share, and who asks for little is never locked out.
* **Nothing is counted until a node refuses**: all that the others cost is a look at
  ``is_on``. A refusal of what was sent before counts as one more that was asked for, so
  a node is spared at once and not when the queue in front of it has been worked off.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Final

K: Final = 1.1
"""What the node is asked for, as a multiple of what it takes on, at the moment of a
refusal; by as much again for each second since."""

CALM_SECONDS: Final = 2.0
"""After the last refusal nothing is held back."""

SLOT_SECONDS: Final = 0.25
"""For so long a decision holds, and one request goes out at least."""

ACCEPTED_SLOTS: Final = 32
"""Eight seconds: a node that is behind by 8,192 transactions refuses all until it has
stored most of them, and that has to be a small part of it."""

ASKED_SLOTS: Final = 4
"""A second: so soon nothing is held back when little is asked for again."""

ANYWAY: Final = 0.02
"""Of what is asked for goes out whatever was refused."""


class _Slot:
    """What was asked for in a short while, and what of it was sent and not refused."""

    __slots__ = ("accepted", "asked", "ends_at", "first", "has_admitted")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.asked = self.accepted = 0
        self.has_admitted = False
        self.first = 0
        """Number of the first request that was sent; 0 = there was none."""


class Throttle:
    """For what would begin transactions at one node.

    Numbers of requests are above 0 and rise in the order in which they are sent.
    ``now`` is in seconds, by a clock that never goes back.

    Args:
        draw: a random number from 0 to below 1.

    Attributes:
        is_on: the node has refused something lately; until then there is nothing to
            ask of :meth:`admits`, and nothing to tell :meth:`sent`.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self.is_on = False
        self._draw = draw
        self._slots: deque[_Slot] = deque()
        self._counted_from = 0
        self._refused_at = 0.0
        self._refused_share = 0.0

    def admits(self, now: float) -> bool:
        """Whether one more may be sent."""
        slot = self._slot(now)
        slot.asked += 1
        if slot.has_admitted and self._draw() < self._refused_share:
            return False
        slot.has_admitted = True
        return True

    def sent(self, number: int, now: float) -> None:
        """This request goes out."""
        slot = self._slot(now)
        slot.first = slot.first or number
        slot.accepted += 1
        self._counted_from = self._counted_from or number

    def refused(self, number: int, now: float) -> None:
        """The node has refused this request, for overload."""
        self._refused_at = now
        if not self.is_on:
            self.is_on = True
            self._counted_from = 0
            self._slots = deque([_Slot(now + SLOT_SECONDS)])
        if 0 < self._counted_from <= number:
            self._sent_in(number).accepted -= 1
        else:
            self._slots[-1].asked += 1

    def _sent_in(self, number: int) -> _Slot:
        """The slot in which it was sent; the present one, if that is forgotten."""
        for slot in reversed(self._slots):
            if 0 < slot.first <= number:
                return slot
        return self._slots[-1]

    def _slot(self, now: float) -> _Slot:
        """The present one."""
        slots = self._slots
        if now < slots[-1].ends_at:
            return slots[-1]
        self.is_on = now < self._refused_at + ACCEPTED_SLOTS * SLOT_SECONDS
        while slots and slots[0].ends_at <= now - ACCEPTED_SLOTS * SLOT_SECONDS:
            slots.popleft()
        self._refused_share = self._share(now - self._refused_at)
        slots.append(_Slot(now + SLOT_SECONDS))
        return slots[-1]

    def _share(self, calm_seconds: float) -> float:
        """Of what is asked for from now on, to be refused."""
        slots = self._slots
        if calm_seconds >= CALM_SECONDS or not slots:
            return 0.0
        lately = list(slots)[-ASKED_SLOTS:]
        asked = sum(slot.asked for slot in lately) / len(lately)
        accepted = max(0, sum(slot.accepted for slot in slots)) / len(slots)
        k = K * (1 + calm_seconds)
        return (asked * (1 - ANYWAY) - k * accepted) / (asked + 1)
