"""All push targets of a node."""

import asyncio
from collections.abc import Sequence

from coordinator.api.catalogue import Catalogue
from coordinator.api.engine_port import Dispatcher
from coordinator.api.limits import Limits
from coordinator.api.push.connection import Connection
from coordinator.config import PushTarget
from coordinator.ports import Clock


class PushTargets:
    """Connections to all of them, from ``start`` to ``leave``."""

    def __init__(
        self,
        targets: Sequence[PushTarget],
        dispatcher: Dispatcher,
        *,
        catalogue: Catalogue,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._connections = [
            Connection(
                target,
                dispatcher,
                catalogue=catalogue,
                clock=clock,
                limits=limits,
            )
            for target in targets
        ]

    def start(self) -> None:
        """Connect to each; returns at once, whether anybody is there or not."""
        for connection in self._connections:
            connection.start()

    async def leave(self, grace_seconds: float) -> None:
        """Call nobody any more; wait so long for answers to what was called."""
        leaving = [each.leave(grace_seconds) for each in self._connections]
        await asyncio.gather(*leaving)
