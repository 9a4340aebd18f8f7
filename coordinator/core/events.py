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
    """A saga step may be sent; its input is evaluated once and for all (S7).

    Attributes:
        wake_at: for what no participant is asked: when its time is up, ``None`` =
            never.
    """

    spec: BranchSpec
    at: Instant
    wake_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """The condition of a saga step was false (S7)."""

    spec: BranchSpec
    at: Instant


@dataclass(frozen=True, slots=True)
class StepRefused:
    """A saga step could not even be sent: its expressions failed.

    Attributes:
        stuck: the saga can only go forward, so the step waits for a person.
    """

    spec: BranchSpec
    code: str
    text: str
    at: Instant
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """Somebody sent what a step waits for, or will wait for."""

    name: str
    payload: Payload
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
    """A business "no" to the try or action, or a wait that was in vain."""

    branch_id: str
    code: str
    text: str
    at: Instant


@dataclass(frozen=True, slots=True)
class BranchAbandoned:
    """In flight when the saga turned back or gave it up, with nothing to undo.

    Attributes:
        code: why it was given up, when the saga as a whole goes on.
    """

    branch_id: str
    at: Instant
    code: str = ""
    text: str = ""


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
    """A step is undone from here on; its compensation's input is evaluated (S7).

    A reservation is cancelled, a group's members are undone one by one.

    Attributes:
        code: why it was given up, when the saga as a whole goes on.
    """

    branch_id: str
    input: Payload
    at: Instant
    code: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """The turn of the transaction. For TCC all branches turn with it."""

    decision: Decision
    code: str
    text: str
    at: Instant


@dataclass(frozen=True, slots=True)
class ConfirmStarted:
    """A saga has committed: this reservation is made real from here on (T4)."""

    branch_id: str
    at: Instant


@dataclass(frozen=True, slots=True)
class AllStepsDone:
    """Decided, and nothing is left but to confirm, or to undo what was given up."""

    at: Instant


@dataclass(frozen=True, slots=True)
class AttentionRaised:
    """A person should look at this."""

    reason: str
    at: Instant


@dataclass(frozen=True, slots=True)
class TrialSurvived:
    """What was quarantined did not take down the node that tried it again (V6)."""

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
    | StepSkipped
    | StepRefused
    | SignalReceived
    | ConfirmStarted
    | AllStepsDone
    | BranchSucceeded
    | BranchRefused
    | BranchAbandoned
    | AttemptFailed
    | BranchPending
    | OutputLearned
    | CompensationStarted
    | Decided
    | AttentionRaised
    | TrialSurvived
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
