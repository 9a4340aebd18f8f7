"""One event loop for a whole world: virtual time, seeded order, and no waiting.

Everything that runs belongs to a *process* (a node, a participant, a client) or to
the world itself. What a process schedules is its own: when it crashes it is dropped,
while it is paused it is kept. Within a process the order is that of asyncio; between
processes it is that of virtual time, whose microseconds the seed decides.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from math import inf
from typing import Any, TypeAlias

Callback: TypeAlias = Callable[..., object]
STEP_MAX = 200_000
"""Callbacks of one schedule; more is a loop that does not pause."""

Entry: TypeAlias = tuple["Process | None", Callback, tuple[Any, ...]]


class Process:
    """Something that can crash or be paused as a whole.

    Attributes:
        stash: what came due while it was paused; ``None`` while it runs.
        steps: callbacks that it has run.
        crash_at: it crashes instead of taking this step; 0 = never.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stash: list[Entry] | None = None
        self.steps = 0
        self.crash_at = 0

    def crash(self) -> None:
        """Lose everything that is not durable."""
        self.alive = False
        self.stash = None


class Alarm:
    """A timer: happens once unless it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def ring(self) -> None:
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class SimLoop(asyncio.AbstractEventLoop):
    """What tasks, futures and events of asyncio need of a loop, and no more.

    Attributes:
        time_us: virtual time.
        current: the process whose callback runs; what is scheduled belongs to it.
        faults: exceptions that nobody caught.
        look: something happened after which a run may be over.
    """

    def __init__(self) -> None:
        self.time_us = 0
        self.current: Process | None = None
        self.faults: list[BaseException | str] = []
        self.steps = 0
        self.look = False
        self._ready: deque[Entry] = deque()
        self._heap: list[
            tuple[int, int, Process | None, Callback, tuple[Any, ...]]
        ] = []
        self._count = 0

    # ---- What asyncio asks for ----------------------------------------------------

    get_debug = staticmethod(bool)
    """False; every task and future asks, so it is a function in C."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callback, *args: Any, context: object = None) -> None:
        self._ready.append((self.current, callback, args))

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self)
        task._log_destroy_pending = False
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context.get("exception") or context["message"])
        self.look = True

    # ---- What the world asks for --------------------------------------------------

    def soon(self, process: Process | None, callback: Callback, *args: Any) -> None:
        """Run it at this instant, as ``process``."""
        self._ready.append((process, callback, args))

    def later(
        self, delay_us: int, process: Process | None, callback: Callback, *args: Any
    ) -> None:
        """Run it after this long, as ``process``."""
        self._count = count = self._count + 1
        at = self.time_us + delay_us
        heappush(self._heap, (at, count, process, callback, args))

    def resume(self, process: Process) -> None:
        """Let a paused process take up what came due meanwhile, in its order."""
        stash, process.stash = process.stash, None
        self._ready.extend(stash or ())

    def run(self, until_us: float = inf) -> bool:
        """Run callbacks until somebody has to look, or it is late; false: none is left.

        To ask after every callback whether all is well and over would cost more than
        many a callback does; whoever changes the answer sets ``look``.
        """
        ready, heap = self._ready, self._heap
        self.look = False
        while not self.look:
            if ready:
                process, callback, args = ready.popleft()
            elif heap:
                self.time_us, _, process, callback, args = heappop(heap)
                self.look = self.time_us > until_us
            else:
                return False
            if process is not None:
                if not process.alive:
                    continue
                if process.stash is not None:
                    process.stash.append((process, callback, args))
                    continue
                process.steps += 1
                if process.steps == process.crash_at:
                    self.current = None
                    process.crash()
                    continue
            self.steps += 1
            if self.steps > STEP_MAX:
                self.look = True
            self.current = process
            callback(*args)
        return True
