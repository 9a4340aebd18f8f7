"""Which participants came back to this node, for as long as it matters."""

from collections.abc import Iterable

from coordinator.core import recovery
from coordinator.core.actions import CallBranch
from coordinator.core.recovery import NOBODY, Recovery, Return
from coordinator.engine.resident import Resident
from coordinator.engine.timers import Timers
from coordinator.ports import Clock

RETURN_KNOWN_MS = 60_000
"""Longer than a call that is due soon after its participant's return can be late; then
everybody is asked at their own time again."""

HASTENED_PER_SECOND = 5_000
"""Transactions whose timers ring because of a return: about a quarter of a second's
work, so that the other participants' calls go on (V2)."""


class Returns:
    """Remembers returns, and tells each transaction what it has to know of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: dict[str, Return] = {}
        self._count = 0
        self._forgetting: Timers[str] = Timers(clock, self._forget)

    def note(self, participant: str, waiting: int) -> None:
        """It is back; of at most so many transactions, some wait for it."""
        now = self._clock.now()
        self._count += 1
        within_ms = max(recovery.HASTE_MS, waiting * 1_000 // HASTENED_PER_SECOND)
        self._latest[participant] = Return(now, self._count, within_ms)
        self._forgetting.set(participant, now + within_ms + RETURN_KNOWN_MS)

    def known_to(self, resident: Resident) -> Recovery:
        """What of it concerns one transaction."""
        if not self._latest:
            return NOBODY
        return Recovery(self._latest, resident.asked)

    def asked(self, resident: Resident, calls: Iterable[CallBranch]) -> None:
        """Their branches have had their turn since all returns so far."""
        if self._latest:
            for call in calls:
                resident.asked[call.branch_id] = self._count

    def close(self) -> None:
        """Forget everything."""
        self._latest.clear()
        self._forgetting.close()

    def _forget(self, participants: list[str]) -> None:
        for participant in participants:
            del self._latest[participant]
