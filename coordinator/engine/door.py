"""What a node has taken on and not stored yet, and so whether more may come in."""

from coordinator.core import admission
from coordinator.core.errors import Overloaded
from coordinator.engine.limits import EngineLimits
from coordinator.engine.residents import Residents
from coordinator.ports import Clock


class Door:
    """Of one node.

    Attributes:
        newcomers: transactions about to be begun, in the inbox.
        changes: that were given to the committer and have not come back.
    """

    def __init__(
        self, limits: EngineLimits, residents: Residents, clock: Clock
    ) -> None:
        self._limits = limits
        self._residents = residents
        self._clock = clock
        self._backlog = admission.Backlog(limits)
        self.newcomers = self.changes = 0

    def refusal(self, *, is_new: bool, inputs: int) -> Overloaded | None:
        """What a request is told that may not come in.

        Args:
            is_new: it would begin a transaction.
            inputs: that wait to be decided.
        """
        why = admission.why_refused(
            self._limits,
            is_new=is_new,
            is_full=is_new and self._residents.are_full(self._limits),
            is_behind=is_new and self._is_behind(),
            inputs=inputs,
        )
        return Overloaded(why) if why else None

    def _is_behind(self) -> bool:
        changes = self.changes + self.newcomers
        return self._backlog.is_full(changes, self._clock.monotonic_ms())
