"""When what waits goes out: at once, or a moment later together with what still comes.

Theory. A frame has a price of its own on both sides, that of many requests in it, and
what a node does for each frame by itself comes on top. Who is alone waits for nobody.
But a process that asks thousands of times a second would ask in as many frames, unless
what waits lets the others catch up. So what is less than is still to be answered waits
until the last frame is a moment old. Where most answers have come with one frame, as
many new requests go out with the next one, and nobody waits.
"""

from typing import Final

PACE_SECONDS: Final = 0.004
"""From one frame to the next. It is a third of what a transaction takes at half of what
a node can do; with the pause between commits it took a quarter off the work there."""


class Pace:
    """Of one connection's frames."""

    def __init__(self) -> None:
        self._sent_at = 0.0

    def pause(self, count: int, others: int, now: float) -> float:
        """For how many seconds what waits shall wait for others; 0.0 = not at all.

        Args:
            count: items that wait.
            others: answers and replies that are still to come; who gets one may ask
                for more.
            now: seconds, by a clock that only goes forward.
        """
        if count >= others or not count:
            return 0.0
        return max(0.0, self._sent_at + PACE_SECONDS - now)

    def sent(self, now: float) -> None:
        """A frame goes out."""
        self._sent_at = now
