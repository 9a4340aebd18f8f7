"""What may happen to a transaction. Every input is a fact or a wish, never an order.

The core decides what an input means; a late, repeated or foreign one means nothing.
"""

from typing import Final, TypeAlias

from msgspec import Struct

from coordinator.core.definition import SagaDefinition
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    Milliseconds,
    Payload,
    TransactionRequest,
)
from coordinator.core.words import Phase

# ---- What an initiator asks -------------------------------------------------------


class Begin(Struct, frozen=True):
    """A TCC transaction is asked for; with ``tries`` it may be a declared one.

    Attributes:
        wait: answer at the end, and not as soon as it has begun.
    """

    request: TransactionRequest
    tries: tuple[BranchSpec, ...] = ()
    wait: bool = False


class Submit(Struct, frozen=True):
    """A saga is asked for.

    Attributes:
        wait: answer at the end, and not as soon as it has begun.
    """

    request: TransactionRequest
    definition: SagaDefinition
    wait: bool = False


class Try(Struct, frozen=True):
    """Register these branches and ask their participants to try (mediated)."""

    specs: tuple[BranchSpec, ...]


class Register(Struct, frozen=True):
    """Register these branches; the initiator sends the tries itself (direct)."""

    specs: tuple[BranchSpec, ...]


class Confirm(Struct, frozen=True):
    """Decide for the transaction.

    Attributes:
        listed: the branches that the initiator saw succeed; ``None`` when it leaves
            the list to the coordinator, which only mediated tries allow (T2).
        wait: answer at the end, not at the decision.
    """

    listed: frozenset[str] | None = None
    wait: bool = False


class Cancel(Struct, frozen=True):
    """Decide against the transaction: TCC cancels, a saga compensates."""

    code: str = "CANCELLED_BY_INITIATOR"
    text: str = ""
    wait: bool = False


class Signal(Struct, frozen=True):
    """What a step of a saga waits for, or will wait for, has happened."""

    name: str
    payload: Payload = NO_PAYLOAD


class Observe(Struct, frozen=True):
    """Nothing is asked but the state: now, or (``wait``) at the end."""

    wait: bool = False


# ---- What participants answer -----------------------------------------------------


class Succeeded(Struct, frozen=True):
    """The participant did it; durable there."""

    output: Payload = NO_PAYLOAD


class Refused(Struct, frozen=True):
    """A business "no"; nothing was changed there."""

    code: str
    text: str = ""


class Pending(Struct, frozen=True):
    """It will finish later: by ``CompleteBranch``, or ask again after this long."""

    retry_after_ms: Milliseconds | None = None


class Unknown(Struct, frozen=True):
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


class BranchReplied(Struct, frozen=True):
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


class Woken(Struct, frozen=True):
    """Time has passed, or another node's transaction was taken over."""


class StillWaiting(Struct, frozen=True):
    """A call is due, and for long its participant has been taking none of its kind.

    It may be told more than once; the first time calls a person.
    """

    branch_id: str
    phase: Phase
    attempt: int


class Survived(Struct, frozen=True):
    """A node has driven it for a while, and is alive (V6). What time alone decides is
    looked at, as when it is woken.
    """

    node_id: str


class RetryNow(Struct, frozen=True):
    """An operator wants the next attempts at once."""

    actor: str
    reason: str


class CancelByOperator(Struct, frozen=True):
    """An operator decides against a transaction that is undecided."""

    actor: str
    reason: str


class Pause(Struct, frozen=True):
    """An operator wants no further calls for now; deadlines still hold."""

    actor: str
    reason: str


class Resume(Struct, frozen=True):
    """An operator wants the calls to go on."""

    actor: str
    reason: str


class Resolve(Struct, frozen=True):
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

BEGINNINGS: Final = (Begin, Submit)
"""Only these may meet no transaction."""

DEFERRED: Final = Confirm
"""Only this may have to wait until it can be decided: for tries that are open."""

OF_TIME: Final = (Woken, Survived)
"""Nobody has said these."""
