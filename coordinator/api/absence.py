"""The loop that tells when a participant stays away that something still needs.

A participant that is away for a moment is a deployment; calls wait for it and are
made again. One that is away for longer than :data:`ABSENT_AFTER_MS` may have lost an
operation for good, and whoever runs the coordinator should learn it from a warning
that says what is waiting, and not from the deadline of the last saga.
"""

import asyncio
from collections.abc import Iterator

from coordinator import telemetry
from coordinator.api.catalogue import Catalogue
from coordinator.api.engine_port import Dispatcher
from coordinator.api.usage import Usage
from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import Instant, Milliseconds
from coordinator.ports import Clock

LOOK_EVERY_MS: Milliseconds = 10_000
"""How late a warning, and news of the catalogue from other nodes, may come."""

ABSENT_AFTER_MS: Milliseconds = 120_000
"""Longer than a restart or a deployment of a participant takes."""

LOOKED_FOR_MAX = 5
"""Absent participants that one look asks the database about; the others wait."""

GIDS_LOGGED_MAX = 10
"""Of the transactions that need an operation; `tercet operations show` has more."""

log = telemetry.get_logger()


class AbsenceWatch:
    """Keeps the catalogue current, and warns once for every absence."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        dispatcher: Dispatcher,
        usage: Usage,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._dispatcher = dispatcher
        self._usage = usage
        self._clock = clock
        self._seen_at: dict[str, Instant] = {}
        self._is_told: set[str] = set()

    async def run(self) -> None:
        """Look until cancelled. A database that does not answer is asked again."""
        while True:
            await self._pause()
            try:
                await self.look()
            except StoreUnavailable:
                log.warning(telemetry.STORE_FAILED, doing="catalogue")
            except Exception:  # the task's edge: warnings must go on
                log.exception(telemetry.CATALOGUE_WATCH_FAILED)

    async def look(self) -> None:
        """Warn of each participant that is missed. Raises ``StoreUnavailable``."""
        await self._catalogue.load()
        operations: dict[str, list[str]] = {}
        for operation in self._catalogue.operations.values():
            operations.setdefault(operation.participant, []).append(operation.name)
        for _, participant in zip(
            range(LOOKED_FOR_MAX), self._absent(operations), strict=False
        ):
            await self._tell(participant, operations[participant])

    def _absent(self, operations: dict[str, list[str]]) -> Iterator[str]:
        """Those that are away for too long, and of which that was not told."""
        now, attached = self._clock.monotonic_ms(), self._dispatcher.attached()
        for removed in self._seen_at.keys() - operations.keys():
            del self._seen_at[removed]
            self._is_told.discard(removed)
        for participant in operations:
            if participant in attached:
                self._seen_at[participant] = now
                self._is_told.discard(participant)
        for participant in sorted(operations, key=self._seen):
            away_ms = now - self._seen_at.setdefault(participant, now)
            if away_ms >= ABSENT_AFTER_MS and participant not in self._is_told:
                yield participant

    def _seen(self, participant: str) -> Instant:
        return self._seen_at.get(participant, self._clock.monotonic_ms())

    async def _tell(self, participant: str, operations: list[str]) -> None:
        need = await self._usage.need(operations)
        if not need.transactions:
            # It may be needed later: asked again after as long a time.
            self._seen_at[participant] = self._clock.monotonic_ms()
            return
        self._is_told.add(participant)
        log.warning(
            telemetry.OPERATION_MISSED,
            participant=participant,
            operations=sorted(operations),
            needed_by=[tx.key.gid for tx in need.transactions[:GIDS_LOGGED_MAX]],
            has_more=need.has_more or len(need.transactions) > GIDS_LOGGED_MAX,
            why="not attached",
        )

    async def _pause(self) -> None:
        pause = asyncio.Event()
        timer = self._clock.call_at(self._clock.now() + LOOK_EVERY_MS, pause.set)
        try:
            await pause.wait()
        finally:
            timer.cancel()
