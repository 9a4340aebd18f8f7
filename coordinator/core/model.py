"""What a global transaction is: frozen values, and nothing that acts.

Instants are milliseconds since the Unix epoch (UTC), durations milliseconds; both
are plain integers, so that a stored value and a computed one compare exactly.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from coordinator.core.definition import BranchKind, SagaDefinition
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    OperationKind,
    Phase,
    Status,
)

Instant: TypeAlias = int
Milliseconds: TypeAlias = int

DEFAULT_NAMESPACE = "default"


class Key(NamedTuple):
    """The identity of a global transaction."""

    namespace: str
    gid: str


UNDER_WAY: Mapping[BranchStatus, Phase] = {
    BranchStatus.TRYING: Phase.TRY,
    BranchStatus.RUNNING: Phase.ACTION,
    BranchStatus.CONFIRMING: Phase.CONFIRM,
    BranchStatus.CANCELLING: Phase.CANCEL,
    BranchStatus.COMPENSATING: Phase.COMPENSATION,
}
"""The phase that a participant is asked for while a branch has this status."""

OPEN = frozenset({*UNDER_WAY, BranchStatus.WAITING})
"""Something is still expected of a branch with this status."""


class Payload(NamedTuple):
    """Opaque bytes of an application, with their content type."""

    data: bytes = b""
    content_type: str = ""


NO_PAYLOAD = Payload()
JSON_CONTENT_TYPE = "application/json"


class Operation(Struct, frozen=True):
    """An atomic service of the catalogue, such as ``accounts.debit``.

    Attributes:
        name: ``participant.operation``.
        kind: TCC (try, confirm, cancel) or ACTION (a saga step).
        participant: who carries it out.
        compensable: an action that brings its own compensation.
        input_schema: JSON Schema of the input as text, empty when unknown.
        output_schema: JSON Schema of the output as text, empty when unknown.
        description: one line for people who compose sagas.
        owner: the team that answers for it.
        compensation: the action of the same participant that undoes this one, where
            that is another one; else empty.
        is_registered: an administrator has said what it is, and participants must
            keep to it; else it is what they announce.
    """

    name: str
    kind: OperationKind
    participant: str
    compensable: bool = False
    input_schema: str = ""
    output_schema: str = ""
    description: str = ""
    owner: str = ""
    compensation: str = ""
    is_registered: bool = False


class BranchSpec(Struct, frozen=True, omit_defaults=True):
    """What was asked of a branch when it was registered; it never changes.

    Attributes:
        branch_id: the caller's key, unique in its transaction. For a saga the place
            of the step, see :mod:`coordinator.core.place`.
        operation: an entry of the catalogue; empty when no participant is asked.
        input: the payload of the try or action.
        timeout_ms: how long one attempt may take.
        attempt_max: forward attempts before the transaction turns against itself.
        pending_timeout_ms: how long a try or action may stay pending; 0 = as long as
            its transaction may.
        parent_branch_id: the branch inside whose try this one is nested, or to whose
            list or child saga it belongs; or empty.
        kind: what the branch stands for.
        expires_ms: how long its reservation holds, counted from its start; 0 = until
            it is decided upon.
    """

    branch_id: str
    operation: str
    input: Payload
    timeout_ms: Milliseconds
    attempt_max: int
    pending_timeout_ms: Milliseconds = 0
    parent_branch_id: str = ""
    kind: BranchKind = BranchKind.TCC
    expires_ms: Milliseconds = 0


class Branch(Struct, frozen=True, omit_defaults=True):
    """One participant's share of a transaction.

    Attributes:
        attempts: calls of the *present* phase whose outcome is known to be no success.
        due_at: when the present phase is to be asked (again), what it waits for is up,
            or its reservation expires; ``None`` when there is no such time.
        pending_since: when the participant first said, in the present phase, that it
            will finish later; ``None`` when it did not.
        output: the answer of the try or action.
        compensation_input: what the compensation is called with.
        error_code: of the last refusal or failed attempt.
        error_text: the same, for people; cut and escaped by the participant's side.
    """

    spec: BranchSpec
    status: BranchStatus
    attempts: int = 0
    due_at: Instant | None = None
    pending_since: Instant | None = None
    output: Payload = NO_PAYLOAD
    compensation_input: Payload = NO_PAYLOAD
    error_code: str = ""
    error_text: str = ""
    started_at: Instant = 0
    finished_at: Instant | None = None


class TransactionRequest(Struct, frozen=True):
    """What the initiator asked for; it never changes.

    Attributes:
        name: of the business transaction; for a saga, of its definition.
        digest: of everything the initiator sent, so that the same gid with another
            body is told apart from a repetition (T10).
        declared: the coordinator itself confirms when all tries have succeeded.
        definition_digest: content hash of the saga definition, empty for TCC.
        definition_version: of the saga definition, empty for TCC.
        check_back: an operation of the initiator, asked "commit or not?" when the
            deadline passes undecided; empty = no question, cancelled.
        depth: of independent transactions begun inside one another.
        labels: the initiator's own marks, for finding the transaction again.
    """

    key: Key
    mode: Mode
    name: str
    digest: str
    created_at: Instant
    deadline_at: Instant
    declared: bool = False
    input: Payload = NO_PAYLOAD
    definition_digest: str = ""
    definition_version: str = ""
    check_back: str = ""
    depth: int = 0
    labels: tuple[tuple[str, str], ...] = ()


status_of: Callable[[Branch], BranchStatus] = attrgetter("status")
"""For all branches at once, where a loop over a thousand of them would be dear."""


def is_open(branch: Branch) -> bool:
    """Whether something is expected of a branch, or will be at a known time."""
    return branch.due_at is not None or branch.status in OPEN


def open_of(branches: Mapping[str, Branch]) -> dict[str, None]:
    """The ids of those that are open, in their order."""
    return {i: None for i, branch in branches.items() if is_open(branch)}


class GlobalTransaction(Struct, frozen=True):
    """The state of one global transaction.

    Attributes:
        branches: by branch id, in order of registration. Never mutated.
        revision: of the stored row; 0 while it is not stored. Raised by every write.
        journal_seq: of the last journal entry; the journal is gapless (T11).
        owner: the node that wrote it last.
        definition: the compiled saga, ``None`` for TCC.
        reason_code: why the decision fell, such as ``DEADLINE`` or a refusal's code.
        paused_at: when an operator stopped its calls; ``None`` while they go on.
        attention_since: when it began to need a person, ``None`` while it does not.
        open: ids of the branches that have a due time or of which something is
            expected, so that the rules need not look at the others: :func:`open_of`
            the branches, kept by every fact.
        branches_apart: the branches are stored in rows of their own, and not in the
            transaction's; :mod:`coordinator.core.apart` says when. Never taken back.
    """

    request: TransactionRequest
    status: Status
    decision: Decision = Decision.NONE
    branches: Mapping[str, Branch] = {}
    revision: int = 0
    journal_seq: int = 0
    owner: str = ""
    definition: SagaDefinition | None = None
    output: Payload = NO_PAYLOAD
    reason_code: str = ""
    reason_text: str = ""
    paused_at: Instant | None = None
    attention_since: Instant | None = None
    attention_reason: str = ""
    updated_at: Instant = 0
    finished_at: Instant | None = None
    open: Mapping[str, None] = {}
    branches_apart: bool = False

    @property
    def key(self) -> Key:
        """Namespace and gid."""
        return self.request.key


def participant_of(operation: str) -> str:
    """Who carries out ``accounts.debit``: all before the last dot."""
    return operation.rpartition(".")[0]
