"""What may happen to a transaction. Every input is a fact or a wish, never an order.

The core decides what an input means; a late, repeated or foreign one means nothing.
"""

from typing import TypeAlias

from coordinator.core.definition import SagaDefinition
from coordinator.core.frozen import dataclass
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    Milliseconds,
    Payload,
    Phase,
    TransactionRequest,
)

# ---- What an initiator asks -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """A TCC transaction is asked for; with ``tries`` it may be a declared one."""

    request: TransactionRequest
    tries: tuple[BranchSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Submit:
    """A saga is asked for."""

    request: TransactionRequest
    definition: SagaDefinition


@dataclass(frozen=True, slots=True)
class Try:
    """Register these branches and ask their participants to try (mediated)."""

    specs: tuple[BranchSpec, ...]


@dataclass(frozen=True, slots=True)
class Register:
    """Register these branches; the initiator sends the tries itself (direct)."""

    specs: tuple[BranchSpec, ...]


@dataclass(frozen=True, slots=True)
class Confirm:
    """Decide for the transaction.

    Attributes:
        listed: the branches that the initiator saw succeed; ``None`` when it leaves
            the list to the coordinator, which only mediated tries allow (T2).
        wait: answer at the end, not at the decision.
    """

    listed: frozenset[str] | None = None
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Decide against the transaction: TCC cancels, a saga compensates."""

    code: str = "CANCELLED_BY_INITIATOR"
    text: str = ""
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """What a step of a saga waits for, or will wait for, has happened."""

    name: str
    payload: Payload = NO_PAYLOAD


@dataclass(frozen=True, slots=True)
class Observe:
    """Nothing is asked but the state: now, or (``wait``) at the end."""

    wait: bool = False


# ---- What participants answer -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The participant did it; durable there."""

    output: Payload = NO_PAYLOAD


@dataclass(frozen=True, slots=True)
class Refused:
    """A business "no"; nothing was changed there."""

    code: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """It will finish later: by ``CompleteBranch``, or ask again after this long."""

    retry_after_ms: Milliseconds | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Timeout, lost reply, crash, anything else: ask again.

    Attributes:
        output: with code ``OUTPUT_NEEDED``, what the action had answered: the
            participant was asked to compensate, but the coordinator never learned
            the answer that the compensation's input is made of.
    """

    code: str
    text: str = ""
    retry_after_ms: Milliseconds | None = None
    output: Payload = NO_PAYLOAD


Outcome: TypeAlias = Succeeded | Refused | Pending | Unknown


@dataclass(frozen=True, slots=True)
class BranchReplied:
    """A call was answered, or its time is up.

    Attributes:
        attempt: of the call that is answered; 0 when somebody else than the called
            participant's connection answers (``CompleteBranch``).
    """

    branch_id: str
    phase: Phase
    attempt: int
    outcome: Outcome


# ---- What time and operators do ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Woken:
    """Time has passed, or another node's transaction was taken over."""


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """A call is due, and for long its participant has been taking none of its kind.

    It may be told more than once; the first time calls a person.
    """

    branch_id: str
    phase: Phase
    attempt: int


@dataclass(frozen=True, slots=True)
class Survived:
    """A node has driven it for a while, and is alive (V6). What time alone decides is
    looked at, as when it is woken.
    """

    node_id: str


@dataclass(frozen=True, slots=True)
class RetryNow:
    """An operator wants the next attempts at once."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class CancelByOperator:
    """An operator decides against a transaction that is undecided."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """An operator wants no further calls for now; deadlines still hold."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """An operator wants the calls to go on."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """An operator has settled a branch by hand and will answer for it."""

    branch_id: str
    actor: str
    reason: str


OperatorInput: TypeAlias = RetryNow | CancelByOperator | Pause | Resume | Resolve
ClientInput: TypeAlias = (
    Begin
    | Submit
    | Try
    | Register
    | Confirm
    | Cancel
    | Signal
    | Observe
    | OperatorInput
)
Input: TypeAlias = ClientInput | BranchReplied | Woken | StillWaiting | Survived
