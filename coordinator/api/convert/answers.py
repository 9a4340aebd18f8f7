"""What the coordinator sends.

What a transaction causes is *filled in*: each field of a message that has its place in
a reply or a frame already. Building nested messages out of messages copies each of
them, and out of dictionaries looks each field up by its name. Messages that are filled
in are fresh or cleared.

What people and tools ask for is built of *fields*: plain dictionaries that a message's
constructor takes in one go.
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
from protos.v1 import coordinator_pb2, participant_pb2, types_pb2

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


def fill_transaction(
    shown: types_pb2.Transaction,
    tx: GlobalTransaction,
    branches: Iterable[Branch],
    limits: Limits,
) -> None:
    """A transaction as the wire shows it, with these of its branches.

    It fits into one message: when all outputs together do not, those that have no
    room are replaced by an empty payload of type :data:`OMITTED_CONTENT_TYPE`, and
    error texts by nothing. When even that is too much, the last branches are left
    out, and counted.
    """
    _fill_head(shown, tx)
    if tx.output != NO_PAYLOAD:
        _fill_payload(shown.output, tx.output)
    size = 0
    for branch in branches:
        _fill_branch(shown.branches.add(), branch)
        size += len(branch.output.data) + 4 * len(branch.error_text)
        size += _BRANCH_BYTES_MAX
    if size > limits.message_bytes_max // 2:
        _make_room(shown, limits.message_bytes_max)


def _make_room(shown: types_pb2.Transaction, bytes_max: int) -> None:
    room = bytes_max - shown.ByteSize()
    branches = shown.branches
    for branch in branches:
        if room >= 0:
            return
        before = branch.ByteSize()
        if branch.HasField("output"):
            branch.output.Clear()
            branch.output.content_type = OMITTED_CONTENT_TYPE
        branch.error_text = ""
        room += before - branch.ByteSize()
    count = len(branches)
    while room < _OMITTED_BYTES:
        room += branches.pop().ByteSize()
    shown.branches_omitted = count - len(branches)


def _fill_head(shown: types_pb2.Transaction, tx: GlobalTransaction) -> None:
    request = tx.request
    shown.gid = request.key.gid
    shown.mode = MODES[request.mode]
    shown.name = request.name
    shown.status = STATUSES[tx.status]
    shown.decision = DECISIONS[tx.decision]
    shown.created_at_ms = request.created_at
    shown.deadline_at_ms = request.deadline_at
    shown.updated_at_ms = tx.updated_at
    if tx.finished_at is not None:
        shown.finished_at_ms = tx.finished_at
    if tx.reason_code:
        shown.reason_code = tx.reason_code
        shown.reason_text = tx.reason_text
    if tx.paused_at is not None:
        shown.paused_at_ms = tx.paused_at
    if tx.attention_since is not None:
        shown.attention_since_ms = tx.attention_since
        shown.attention_reason = tx.attention_reason
    if request.definition_digest:
        shown.definition_digest = request.definition_digest
        shown.definition_version = request.definition_version
    if request.labels:
        shown.labels.update(request.labels)


def _fill_branch(shown: types_pb2.Branch, branch: Branch) -> None:
    spec = branch.spec
    shown.branch_id = spec.branch_id
    shown.operation = spec.operation
    shown.kind = BRANCH_KINDS[spec.kind]
    shown.status = BRANCH_STATUSES[branch.status]
    shown.attempts = branch.attempts
    shown.started_at_ms = branch.started_at
    if branch.due_at is not None:
        shown.due_at_ms = branch.due_at
    if branch.pending_since is not None:
        shown.pending = True
        shown.pending_since_ms = branch.pending_since
    if spec.parent_branch_id:
        shown.parent_branch_id = spec.parent_branch_id
    if branch.output != NO_PAYLOAD:
        _fill_payload(shown.output, branch.output)
    if branch.error_code:
        shown.error_code = branch.error_code
        shown.error_text = branch.error_text
    if branch.finished_at is not None:
        shown.finished_at_ms = branch.finished_at


def _fill_payload(shown: types_pb2.Payload, payload: Payload) -> None:
    shown.data, shown.content_type = payload


def fill_list(
    reply: coordinator_pb2.ListReply,
    transactions: Sequence[GlobalTransaction],
    what: TransactionFilter,
    limits: Limits,
) -> None:
    """One page of a listing, without outputs; cut short where a message would burst."""
    shown = reply.transactions
    room = limits.frame_bytes_max
    for tx in transactions:
        head = shown.add()
        _fill_head(head, tx)
        room -= head.ByteSize() + 8
        if room < 0 and len(shown) > 1:
            shown.pop()
            break
    if shown and (len(shown) == what.limit or len(shown) < len(transactions)):
        last = shown[-1]
        reply.next_page_token = page_token(last.created_at_ms, last.gid)


def page_token(created_at: Instant, gid: str) -> str:
    """What continues a listing behind this transaction."""
    return urlsafe_b64encode(f"{created_at} {gid}".encode()).decode()


def fill_call(
    asked: participant_pb2.BranchCall, call_id: int, call: CallBranch
) -> None:
    """A call as a participant sees it."""
    asked.call_id = call_id
    asked.namespace, asked.gid = call.key
    asked.branch_id = call.branch_id
    asked.operation = call.operation
    asked.phase = PHASES[call.phase]
    asked.attempt = call.attempt
    asked.timeout_ms = call.timeout_ms
    asked.began_at_ms = call.began_at
    if call.depth:
        asked.depth = call.depth
    if call.reconsider:
        asked.reconsider = True
    if call.input != NO_PAYLOAD:
        _fill_payload(asked.input, call.input)
    if call.output != NO_PAYLOAD:
        _fill_payload(asked.output, call.output)


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
