"""The real clock, for production."""

import asyncio
from collections.abc import Callable
from time import monotonic_ns, time_ns


class SystemClock:
    """Wall and monotonic time of this machine, timers of the running event loop."""

    def now(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since some fixed moment; never goes back."""
        return monotonic_ns() // 1_000_000

    def call_at(self, at: int, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back not before the wall clock shows ``at``."""
        delay_s = max(0, at - self.now()) / 1000
        return asyncio.get_running_loop().call_later(delay_s, callback)
