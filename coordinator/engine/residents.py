"""All transactions that a node holds in memory, and how heavy their payloads are.

What a transaction costs beside its payloads is bounded by their number; payloads are
not, so they are weighed: each time a transaction was read, or has moved and is settled.
A weight may be of the state before for as long as a conflict is read again.
"""

from coordinator.core.model import Key
from coordinator.engine.limits import EngineLimits
from coordinator.engine.resident import Resident


class Residents(dict[Key, Resident]):
    """Those of one node.

    Attributes:
        payload_bytes: of all of them together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.payload_bytes = 0

    def weigh(self, resident: Resident) -> None:
        """Its transaction has changed: all that was asked and answered counts."""
        tx, weight = resident.tx, 0
        if tx is not None:
            weight = len(tx.request.input.data)
            for branch in tx.branches.values():
                weight += len(branch.spec.input.data) + len(branch.output.data)
        self.payload_bytes += weight - resident.weight
        resident.weight = weight

    def are_full(self, limits: EngineLimits) -> bool:
        """Whether no more may come."""
        return (
            len(self) >= limits.resident_max
            or self.payload_bytes >= limits.payload_bytes_max
        )

    def __delitem__(self, key: Key) -> None:
        self.payload_bytes -= self.pop(key).weight

    def clear(self) -> None:
        """Hold none."""
        super().clear()
        self.payload_bytes = 0
