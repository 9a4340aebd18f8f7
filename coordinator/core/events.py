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

from msgspec import Struct

from coordinator.core.definition import SagaDefinition
from coordinator.core.model import (
    BranchSpec,
    Instant,
    Payload,
    TransactionRequest,
)
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)


class Began(Struct, frozen=True, tag=True):
    """The transaction exists. The definition is stored once, by its digest."""

    request: TransactionRequest
    definition: SagaDefinition | None


class BranchRegistered(Struct, frozen=True, tag=True):
    """A TCC branch belongs to the transaction from here on (T3, T4)."""

    spec: BranchSpec
    direct: bool
    at: Instant


class StepStarted(Struct, frozen=True, tag=True):
    """A saga step may be sent; its input is evaluated once and for all (S7).

    Attributes:
        wake_at: for what no participant is asked: when its time is up, ``None`` =
            never.
    """

    spec: BranchSpec
    at: Instant
    wake_at: Instant | None = None


class StepSkipped(Struct, frozen=True, tag=True):
    """The condition of a saga step was false (S7)."""

    spec: BranchSpec
    at: Instant


class StepRefused(Struct, frozen=True, tag=True):
    """A saga step could not even be sent: its expressions failed.

    Attributes:
        stuck: the saga can only go forward, so the step waits for a person.
    """

    spec: BranchSpec
    code: str
    text: str
    at: Instant
    stuck: bool = False


class SignalReceived(Struct, frozen=True, tag=True):
    """Somebody sent what a step waits for, or will wait for."""

    name: str
    payload: Payload
    at: Instant


class BranchSucceeded(Struct, frozen=True, tag=True):
    """The participant carried out this phase."""

    branch_id: str
    phase: Phase
    output: Payload
    at: Instant


class BranchRefused(Struct, frozen=True, tag=True):
    """A business "no" to the try or action, or a wait that was in vain."""

    branch_id: str
    code: str
    text: str
    at: Instant


class BranchAbandoned(Struct, frozen=True, tag=True):
    """In flight when the saga turned back or gave it up, with nothing to undo.

    Attributes:
        code: why it was given up, when the saga as a whole goes on.
    """

    branch_id: str
    at: Instant
    code: str = ""
    text: str = ""


class AttemptFailed(Struct, frozen=True, tag=True):
    """A call came to nothing known; it is made again at ``due_at``."""

    branch_id: str
    attempts: int
    due_at: Instant
    code: str
    text: str


class BranchPending(Struct, frozen=True, tag=True):
    """The participant will finish later; it is asked again at ``due_at``."""

    branch_id: str
    due_at: Instant
    at: Instant


class OutputLearned(Struct, frozen=True, tag=True):
    """What an action had answered became known when it was to be undone."""

    branch_id: str
    output: Payload
    at: Instant


class CompensationStarted(Struct, frozen=True, tag=True):
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


class Decided(Struct, frozen=True, tag=True):
    """The turn of the transaction. For TCC all branches turn with it."""

    decision: Decision
    code: str
    text: str
    at: Instant


class ConfirmStarted(Struct, frozen=True, tag=True):
    """A saga has committed: this reservation is made real from here on (T4)."""

    branch_id: str
    at: Instant


class AllStepsDone(Struct, frozen=True, tag=True):
    """Decided, and nothing is left but to confirm, or to undo what was given up."""

    at: Instant


class AttentionRaised(Struct, frozen=True, tag=True):
    """A person should look at this."""

    reason: str
    at: Instant


class TrialSurvived(Struct, frozen=True, tag=True):
    """What was quarantined did not take down the node that tried it again (V6)."""

    at: Instant


class RetryRequested(Struct, frozen=True, tag=True):
    """An operator asked for the next attempts at once."""

    actor: str
    reason: str
    at: Instant


class CheckBackStarted(Struct, frozen=True, tag=True):
    """Undecided at the deadline: the initiator's own operation is asked."""

    spec: BranchSpec
    at: Instant


class Paused(Struct, frozen=True, tag=True):
    """An operator stopped the transaction's calls."""

    actor: str
    reason: str
    at: Instant


class Resumed(Struct, frozen=True, tag=True):
    """An operator let the transaction's calls go on."""

    actor: str
    reason: str
    at: Instant


class BranchResolved(Struct, frozen=True, tag=True):
    """An operator settled a branch by hand."""

    branch_id: str
    actor: str
    reason: str
    at: Instant


class Finished(Struct, frozen=True, tag=True):
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


THINNED: frozenset[type[Event]] = frozenset({AttemptFailed})
"""Of these kinds the journal keeps some; of all others, every one."""


def is_journaled(event: Event) -> bool:
    """Whether the journal keeps this fact.

    Failed attempts are thinned to the powers of two: a participant that is down for
    a week costs a transaction 15 entries and not 20,000. The branch's row always
    holds the exact count, the last error and the next time.
    """
    return not isinstance(event, AttemptFailed) or event.attempts.bit_count() == 1
