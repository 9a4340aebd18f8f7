"""What the coordinator sends, as *fields*.

Fields are plain dictionaries that a message's constructor takes in one go. Building
nested messages out of messages copies each of them; building them out of dictionaries
does not, which halves the cost of an answer.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from coordinator.api.convert.enums import (
    BRANCH_KINDS,
    BRANCH_STATUSES,
    DECISIONS,
    KINDS,
    MODES,
    PHASES,
    STATUSES,
)
from coordinator.api.limits import Limits
from coordinator.core.actions import CallBranch
from coordinator.core.model import (
    NO_PAYLOAD,
    Branch,
    GlobalTransaction,
    Instant,
    Operation,
    Payload,
)
from coordinator.ports import JournalEntry, StoredDefinition, TransactionFilter
from protos.v1 import types_pb2

Fields: TypeAlias = dict[str, Any]
"""What a message's constructor takes."""

SAGAS_SHOWN_MAX = 100
"""Of the sagas that name an operation; their number is always told."""

OMITTED_CONTENT_TYPE = "application/vnd.tercet.omitted"
"""Of an output that did not fit into the reply beside the others."""

_OMITTED_BYTES = 8
"""What it takes to say how many branches were left out."""

_BRANCH_BYTES_MAX = 700
"""Of one branch on the wire, with every text at its limit, without its output and
error text: only then does anybody count exactly."""


def transaction_fields(
    tx: GlobalTransaction, branches: Iterable[Branch], limits: Limits
) -> Fields:
    """A transaction as the wire shows it, with these of its branches.

    It fits into one message: when all outputs together do not, those that have no
    room are replaced by an empty payload of type :data:`OMITTED_CONTENT_TYPE`, and
    error texts by nothing. When even that is too much, the last branches are left
    out, and counted.
    """
    shown = list(branches)
    fields = _transaction_head(tx)
    if tx.output != NO_PAYLOAD:
        fields["output"] = _payload_fields(tx.output)
    if shown:
        fields["branches"] = [_branch_fields(branch) for branch in shown]
        size = sum(len(b.output.data) + 4 * len(b.error_text) for b in shown)
        if size + _BRANCH_BYTES_MAX * len(shown) > limits.message_bytes_max // 2:
            _make_room(fields, limits.message_bytes_max)
    return fields


def _make_room(fields: Fields, bytes_max: int) -> None:
    room = bytes_max - types_pb2.Transaction(**fields).ByteSize()
    for branch in fields["branches"]:
        if room >= 0:
            return
        before = types_pb2.Branch(**branch).ByteSize()
        if "output" in branch:
            branch["output"] = {"content_type": OMITTED_CONTENT_TYPE}
        branch.pop("error_text", None)
        room += before - types_pb2.Branch(**branch).ByteSize()
    shown = fields["branches"]
    count = len(shown)
    while room < _OMITTED_BYTES:
        room += types_pb2.Branch(**shown.pop()).ByteSize()
    fields["branches_omitted"] = count - len(shown)


def _transaction_head(tx: GlobalTransaction) -> Fields:
    request = tx.request
    fields: Fields = {
        "gid": request.key.gid,
        "mode": MODES[request.mode],
        "name": request.name,
        "status": STATUSES[tx.status],
        "decision": DECISIONS[tx.decision],
        "created_at_ms": request.created_at,
        "deadline_at_ms": request.deadline_at,
        "updated_at_ms": tx.updated_at,
    }
    if tx.finished_at is not None:
        fields["finished_at_ms"] = tx.finished_at
    if tx.reason_code:
        fields["reason_code"] = tx.reason_code
        fields["reason_text"] = tx.reason_text
    if tx.paused_at is not None:
        fields["paused_at_ms"] = tx.paused_at
    if tx.attention_since is not None:
        fields["attention_since_ms"] = tx.attention_since
        fields["attention_reason"] = tx.attention_reason
    if request.definition_digest:
        fields["definition_digest"] = request.definition_digest
        fields["definition_version"] = request.definition_version
    if request.labels:
        fields["labels"] = dict(request.labels)
    return fields


def _branch_fields(branch: Branch) -> Fields:
    fields: Fields = {
        "branch_id": branch.spec.branch_id,
        "operation": branch.spec.operation,
        "kind": BRANCH_KINDS[branch.spec.kind],
        "status": BRANCH_STATUSES[branch.status],
        "attempts": branch.attempts,
        "started_at_ms": branch.started_at,
    }
    if branch.due_at is not None:
        fields["due_at_ms"] = branch.due_at
    if branch.pending_since is not None:
        fields["pending"] = True
        fields["pending_since_ms"] = branch.pending_since
    if branch.spec.parent_branch_id:
        fields["parent_branch_id"] = branch.spec.parent_branch_id
    if branch.output != NO_PAYLOAD:
        fields["output"] = _payload_fields(branch.output)
    if branch.error_code:
        fields["error_code"] = branch.error_code
        fields["error_text"] = branch.error_text
    if branch.finished_at is not None:
        fields["finished_at_ms"] = branch.finished_at
    return fields


def _payload_fields(payload: Payload) -> Fields:
    return {"data": payload.data, "content_type": payload.content_type}


def list_fields(
    transactions: Sequence[GlobalTransaction], what: TransactionFilter, limits: Limits
) -> Fields:
    """One page of a listing, without outputs; cut short where a message would burst."""
    shown: list[Fields] = []
    room = limits.frame_bytes_max
    for tx in transactions:
        fields = _transaction_head(tx)
        room -= types_pb2.Transaction(**fields).ByteSize() + 8
        if room < 0 and shown:
            break
        shown.append(fields)
    reply: Fields = {"transactions": shown}
    if shown and (len(shown) == what.limit or len(shown) < len(transactions)):
        last = shown[-1]
        reply["next_page_token"] = page_token(last["created_at_ms"], last["gid"])
    return reply


def page_token(created_at: Instant, gid: str) -> str:
    """What continues a listing behind this transaction."""
    return urlsafe_b64encode(f"{created_at} {gid}".encode()).decode()


def call_fields(call_id: int, call: CallBranch) -> Fields:
    """A call as a participant sees it."""
    fields: Fields = {
        "call_id": call_id,
        "namespace": call.key.namespace,
        "gid": call.key.gid,
        "branch_id": call.branch_id,
        "operation": call.operation,
        "phase": PHASES[call.phase],
        "attempt": call.attempt,
        "timeout_ms": call.timeout_ms,
        "began_at_ms": call.began_at,
        "depth": call.depth,
    }
    if call.reconsider:
        fields["reconsider"] = True
    if call.input != NO_PAYLOAD:
        fields["input"] = _payload_fields(call.input)
    if call.output != NO_PAYLOAD:
        fields["output"] = _payload_fields(call.output)
    return fields


class Shown(NamedTuple):
    """What an answer says of an operation beside its entry.

    Attributes:
        attached_since: at the node that answers; ``None`` when it is not.
        sagas: the published sagas that name it, as ``name@version``.
    """

    node_id: str
    attached_since: Instant | None
    sagas: Sequence[str]


def operation_fields(operation: Operation, shown: Shown) -> Fields:
    """An entry of the catalogue."""
    is_attached = shown.attached_since is not None
    return {
        "name": operation.name,
        "kind": KINDS[operation.kind],
        "participant": operation.participant,
        "compensable": operation.compensable,
        "input_schema": operation.input_schema,
        "output_schema": operation.output_schema,
        "description": operation.description,
        "owner": operation.owner,
        "compensation": operation.compensation,
        "registered": operation.is_registered,
        "attached": is_attached,
        "attached_since_ms": shown.attached_since or 0,
        "node_id": shown.node_id if is_attached else "",
        "sagas": shown.sagas[:SAGAS_SHOWN_MAX],
        "saga_count": len(shown.sagas),
    }


def definition_fields(stored: StoredDefinition, *, with_text: bool) -> Fields:
    """A published saga."""
    return {
        "name": stored.name,
        "version": stored.version,
        "digest": stored.digest,
        "text": stored.text if with_text else "",
        "published_at_ms": stored.published_at,
    }


def journal_entry_fields(entry: JournalEntry) -> Fields:
    """One commit's facts, each as a JSON object."""
    return {
        "seq": entry.seq,
        "at_ms": entry.at,
        "events": [msgspec.json.encode(event).decode() for event in entry.events],
    }
