"""Values to rows and back, as plain tuples in the tables' order of columns.

Tuples and not dictionaries, and no type is converted by SQLAlchemy on the way in:
a commit writes thousands of values, and each costs what is done to it here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from coordinator.core.definition import BranchKind
from coordinator.core.model import (
    NO_PAYLOAD,
    Branch,
    BranchSpec,
    GlobalTransaction,
    Instant,
    Key,
    Payload,
    TransactionRequest,
    open_of,
)
from coordinator.core.quarantine import takeovers_after
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    Status,
)

Row: TypeAlias = tuple[Any, ...]

_encode = msgspec.json.Encoder().encode
_decode_labels = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode
_NO_LABELS = "[]"

_decode_branches = msgspec.json.Decoder(tuple[Branch, ...]).decode

# Building an enum's member from its value costs a call; finding it does not.
_MODES = {member.value: member for member in Mode}
_STATUSES = {member.value: member for member in Status}
_DECISIONS = {member.value: member for member in Decision}
_BRANCH_KINDS = {member.value: member for member in BranchKind}
_BRANCH_STATUSES = {member.value: member for member in BranchStatus}
# So does asking a member for its value.
_WORDS = {
    member: member.value
    for words in (Mode, Status, Decision, BranchKind, BranchStatus)
    for member in words
}

HEADER_FIXED = (
    "namespace",
    "gid",
    "mode",
    "name",
    "digest",
    "declared",
    "definition_digest",
    "definition_version",
    "check_back",
    "depth",
    "labels",
    "input",
    "input_type",
    "created_at",
    "deadline_at",
)
HEADER_MOVING = (
    "status",
    "decision",
    "revision",
    "journal_seq",
    "owner",
    "due_at",
    "output",
    "output_type",
    "reason_code",
    "reason_text",
    "paused_at",
    "attention_since",
    "attention_reason",
    "updated_at",
    "finished_at",
    "takeovers",
    "branches",
)
HEADER_GROWING = ("entries",)
"""A write adds to it; read by whoever asks for the journal, and by nobody else."""

_FIXED = len(HEADER_FIXED)
BRANCH_FIXED = (
    "namespace",
    "gid",
    "branch_id",
    "position",
    "operation",
    "input",
    "input_type",
    "timeout_ms",
    "attempt_max",
    "pending_timeout_ms",
    "parent_branch_id",
)
BRANCH_MOVING = (
    "status",
    "attempts",
    "due_at",
    "pending_since",
    "output",
    "output_type",
    "compensation_input",
    "compensation_input_type",
    "error_code",
    "error_text",
    "started_at",
    "finished_at",
)
BRANCH_ADDED = ("kind", "expires_ms")
"""Fixed as well; a column that a later version brings stands at the end."""


def header_fixed(request: TransactionRequest) -> Row:
    """What is written of a transaction once."""
    labels = request.labels
    return (
        *request.key,
        _WORDS[request.mode],
        request.name,
        request.digest,
        request.declared,
        request.definition_digest,
        request.definition_version,
        request.check_back,
        request.depth,
        _encode(labels).decode() if labels else _NO_LABELS,
        *request.input,
        request.created_at,
        request.deadline_at,
    )


def header_moving(tx: GlobalTransaction, due_at: Instant | None) -> Row:
    """What every write renews."""
    return (
        _WORDS[tx.status],
        _WORDS[tx.decision],
        tx.revision,
        tx.journal_seq,
        tx.owner,
        due_at,
        *tx.output,
        tx.reason_code,
        tx.reason_text,
        tx.paused_at,
        tx.attention_since,
        tx.attention_reason,
        tx.updated_at,
        tx.finished_at,
        takeovers_after(tx),
        "" if tx.branches_apart else _encode(list(tx.branches.values())).decode(),
    )


def branch_fixed(key: Key, spec: BranchSpec, position: int) -> Row:
    """What is written of a branch once."""
    return (
        *key,
        spec.branch_id,
        position,
        spec.operation,
        *spec.input,
        spec.timeout_ms,
        spec.attempt_max,
        spec.pending_timeout_ms,
        spec.parent_branch_id,
    )


def branch_moving(branch: Branch) -> Row:
    """What every write of a branch renews."""
    return (
        _WORDS[branch.status],
        branch.attempts,
        branch.due_at,
        branch.pending_since,
        *branch.output,
        *branch.compensation_input,
        branch.error_code,
        branch.error_text,
        branch.started_at,
        branch.finished_at,
    )


def branch_added(spec: BranchSpec) -> Row:
    """What later versions write of a branch once."""
    return (_WORDS[spec.kind], spec.expires_ms)


def read_branch(row: Sequence[Any]) -> tuple[Key, Branch]:
    """A branch from the columns fixed, moving and added, and whose it is."""
    (
        namespace,
        gid,
        branch_id,
        _position,
        operation,
        input_data,
        input_type,
        timeout_ms,
        attempt_max,
        pending_timeout_ms,
        parent_branch_id,
        status,
        attempts,
        due_at,
        pending_since,
        output,
        output_type,
        compensation_input,
        compensation_input_type,
        error_code,
        error_text,
        started_at,
        finished_at,
        kind,
        expires_ms,
    ) = row
    spec = BranchSpec(
        branch_id,
        operation,
        _payload(input_data, input_type),
        timeout_ms,
        attempt_max,
        pending_timeout_ms,
        parent_branch_id,
        _BRANCH_KINDS[kind],
        expires_ms,
    )
    branch = Branch(
        spec=spec,
        status=_BRANCH_STATUSES[status],
        attempts=attempts,
        due_at=due_at,
        pending_since=pending_since,
        output=_payload(output, output_type),
        compensation_input=_payload(compensation_input, compensation_input_type),
        error_code=error_code,
        error_text=error_text,
        started_at=started_at,
        finished_at=finished_at,
    )
    return Key(namespace, gid), branch


def read_branches(header: Sequence[Any]) -> dict[str, Branch] | None:
    """Those that stand in the header itself; ``None``: they have rows of their own."""
    text: str = header[-1]
    if not text:
        return None
    return {branch.spec.branch_id: branch for branch in _decode_branches(text)}


def read_header(
    row: Sequence[Any], branches: Mapping[str, Branch]
) -> GlobalTransaction:
    """A transaction from ``HEADER_FIXED + HEADER_MOVING`` and its branches."""
    (
        status,
        decision,
        revision,
        journal_seq,
        owner,
        _due_at,
        output,
        output_type,
        reason_code,
        reason_text,
        paused_at,
        attention_since,
        attention_reason,
        updated_at,
        finished_at,
        _takeovers,
        together,
    ) = row[_FIXED:]
    return GlobalTransaction(
        request=read_request(row[:_FIXED]),
        status=_STATUSES[status],
        decision=_DECISIONS[decision],
        branches=branches,
        open=open_of(branches),
        revision=revision,
        journal_seq=journal_seq,
        owner=owner,
        output=_payload(output, output_type),
        reason_code=reason_code,
        reason_text=reason_text,
        paused_at=paused_at,
        attention_since=attention_since,
        attention_reason=attention_reason,
        updated_at=updated_at,
        finished_at=finished_at,
        branches_apart=not together,
    )


def read_request(row: Sequence[Any]) -> TransactionRequest:
    """What was asked, from ``HEADER_FIXED``."""
    (
        namespace,
        gid,
        mode,
        name,
        digest,
        declared,
        definition_digest,
        definition_version,
        check_back,
        depth,
        labels,
        input_data,
        input_type,
        created_at,
        deadline_at,
    ) = row
    return TransactionRequest(
        key=Key(namespace, gid),
        mode=_MODES[mode],
        name=name,
        digest=digest,
        created_at=created_at,
        deadline_at=deadline_at,
        declared=bool(declared),
        input=_payload(input_data, input_type),
        definition_digest=definition_digest,
        definition_version=definition_version,
        check_back=check_back,
        depth=depth,
        labels=() if labels == _NO_LABELS else _decode_labels(labels),
    )


def _payload(data: bytes, content_type: str) -> Payload:
    return Payload(data, content_type) if data or content_type else NO_PAYLOAD
