"""Facts worth persisting: what the journal holds, and the only way state changes.

Most facts are committed before anything else happens. A fact of :data:`LAZY` may
stay in memory until the transaction's next commit: it is an answer that can be had
again by asking again (the participant's barrier has recorded it), and nothing that
leaves the process depends on it. That saves a durable wait for every parallel branch
but the last, and weakens no rule: an end is never written before all the answers
that it rests on, because they are written with it. A transaction with a check-back
has no lazy facts: what its initiator does after a try's answer leaves no trace here.
"""

from typing import TypeAlias

from coordinator.core.definition import SagaDefinition
from coordinator.core.frozen import dataclass
from coordinator.core.model import (
    BranchSpec,
    Decision,
    Instant,
    Payload,
    Phase,
    Status,
    TransactionRequest,
)


@dataclass(frozen=True, slots=True)
class Began:
    """The transaction exists. The definition is stored once, by its digest."""

    request: TransactionRequest
    definition: SagaDefinition | None


@dataclass(frozen=True, slots=True)
class BranchRegistered:
    """A TCC branch belongs to the transaction from here on (T3, T4)."""

    spec: BranchSpec
    direct: bool
    at: Instant


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A saga step may be sent; its input is evaluated once and for all (S7)."""

    spec: BranchSpec
    at: Instant


@dataclass(frozen=True, slots=True)
class BranchSucceeded:
    """The participant carried out this phase."""

    branch_id: str
    phase: Phase
    output: Payload
    at: Instant


@dataclass(frozen=True, slots=True)
class BranchRefused:
    """A business "no" to the try or action."""

    branch_id: str
    code: str
    text: str
    at: Instant


@dataclass(frozen=True, slots=True)
class BranchAbandoned:
    """In flight when the saga turned back, with nothing to undo."""

    branch_id: str
    at: Instant


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A call came to nothing known; it is made again at ``due_at``."""

    branch_id: str
    attempts: int
    due_at: Instant
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class BranchPending:
    """The participant will finish later; it is asked again at ``due_at``."""

    branch_id: str
    due_at: Instant
    at: Instant


@dataclass(frozen=True, slots=True)
class OutputLearned:
    """What an action had answered became known when it was to be undone."""

    branch_id: str
    output: Payload
    at: Instant


@dataclass(frozen=True, slots=True)
class CompensationStarted:
    """A step may be undone; its compensation's input is evaluated (S7)."""

    branch_id: str
    input: Payload
    at: Instant


@dataclass(frozen=True, slots=True)
class Decided:
    """The turn of the transaction. For TCC all branches turn with it."""

    decision: Decision
    code: str
    text: str
    at: Instant


@dataclass(frozen=True, slots=True)
class AttentionRaised:
    """A person should look at this."""

    reason: str
    at: Instant


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """An operator asked for the next attempts at once."""

    actor: str
    reason: str
    at: Instant


@dataclass(frozen=True, slots=True)
class CheckBackStarted:
    """Undecided at the deadline: the initiator's own operation is asked."""

    spec: BranchSpec
    at: Instant


@dataclass(frozen=True, slots=True)
class Paused:
    """An operator stopped the transaction's calls."""

    actor: str
    reason: str
    at: Instant


@dataclass(frozen=True, slots=True)
class Resumed:
    """An operator let the transaction's calls go on."""

    actor: str
    reason: str
    at: Instant


@dataclass(frozen=True, slots=True)
class BranchResolved:
    """An operator settled a branch by hand."""

    branch_id: str
    actor: str
    reason: str
    at: Instant


@dataclass(frozen=True, slots=True)
class Finished:
    """The end."""

    status: Status
    output: Payload
    at: Instant


Event: TypeAlias = (
    Began
    | BranchRegistered
    | StepStarted
    | BranchSucceeded
    | BranchRefused
    | BranchAbandoned
    | AttemptFailed
    | BranchPending
    | OutputLearned
    | CompensationStarted
    | Decided
    | AttentionRaised
    | RetryRequested
    | CheckBackStarted
    | Paused
    | Resumed
    | BranchResolved
    | Finished
)

LAZY: tuple[type[Event], ...] = (BranchSucceeded,)
"""May wait in memory for the transaction's next commit; see the module's head."""


def is_journaled(event: Event) -> bool:
    """Whether the journal keeps this fact.

    Failed attempts are thinned to the powers of two: a participant that is down for
    a week costs a transaction 15 entries and not 20,000. The branch's row always
    holds the exact count, the last error and the next time.
    """
    return not isinstance(event, AttemptFailed) or event.attempts.bit_count() == 1
