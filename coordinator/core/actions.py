"""What the shell may be asked to do. Recomputable from the state at any time."""

from msgspec import Struct

from coordinator.core.model import (
    Instant,
    Key,
    Milliseconds,
    Payload,
)
from coordinator.core.words import Phase


class CallBranch(Struct, frozen=True):
    """Ask a participant.

    Attributes:
        operation: in the catalogue; the participant is found by it.
        attempt: from 1; counts within the phase.
        input: of the try or action, also in phase two; a compensation may have
            its own.
        output: what the try or action answered, if the coordinator knows it.
        depth: inside how many tries and transactions it runs; a participant that
            begins another one inside says so.
        timeout_ms: after which the outcome is unknown.
        began_at: when the transaction was accepted; a participant that has removed
            old rows of its barrier tells by it which calls come too late (B3).
        reconsider: an action that was refused answers anew, instead of repeating
            what is recorded.
        endless: however often it fails it is made again, so it may as well wait for
            its participant; the others have a number of attempts to use up.
    """

    key: Key
    branch_id: str
    operation: str
    phase: Phase
    attempt: int
    input: Payload
    output: Payload
    timeout_ms: Milliseconds
    began_at: Instant = 0
    depth: int = 0
    reconsider: bool = False
    endless: bool = False
