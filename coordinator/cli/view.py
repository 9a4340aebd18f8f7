"""The wire's messages as plain values under stable names, for JSON and for tables."""

import base64
import json
from typing import Protocol

from coordinator.cli.output import instant
from protos.v1 import admin_pb2, types_pb2

JSON_CONTENT_TYPE = "application/json"


class _Enum(Protocol):
    def Name(self, number: int) -> str: ...  # noqa: N802 - protobuf's own name


def transaction(tx: types_pb2.Transaction) -> dict[str, object]:
    """A global transaction without its branches."""
    return {
        "gid": tx.gid,
        "mode": word(types_pb2.Mode, tx.mode),
        "name": tx.name,
        "status": status(tx),
        "decision": word(types_pb2.Decision, tx.decision, "DECISION_"),
        "reason_code": tx.reason_code,
        "reason_text": tx.reason_text,
        "output": payload(tx.output),
        "created_at": instant(tx.created_at_ms),
        "deadline_at": instant(tx.deadline_at_ms),
        "updated_at": instant(tx.updated_at_ms),
        "finished_at": instant(tx.finished_at_ms),
        "paused_at": instant(tx.paused_at_ms),
        "attention_since": instant(tx.attention_since_ms),
        "attention_reason": tx.attention_reason,
        "definition_version": tx.definition_version,
        "definition_digest": tx.definition_digest,
        "labels": dict(sorted(tx.labels.items())),
    }


def branch(of: types_pb2.Branch) -> dict[str, object]:
    """One participant's share of a transaction."""
    return {
        "branch_id": of.branch_id,
        "operation": of.operation,
        "kind": word(types_pb2.BranchKind, of.kind, "KIND_"),
        "status": word(types_pb2.BranchStatus, of.status, "BRANCH_"),
        "attempts": of.attempts,
        "parent_branch_id": of.parent_branch_id,
        "pending": of.pending,
        "pending_since": instant(of.pending_since_ms),
        "next_retry_at": instant(of.due_at_ms),
        "error_code": of.error_code,
        "error_text": of.error_text,
        "output": payload(of.output),
        "started_at": instant(of.started_at_ms),
        "finished_at": instant(of.finished_at_ms),
    }


def operated(of: admin_pb2.OperateManyReply.Item) -> dict[str, object]:
    """One of many that an operator acted on."""
    error = None
    if of.HasField("error"):
        keys = ("reason", "message", "field")
        error = {key: getattr(of.error, key) for key in keys}
    return {
        "gid": of.gid,
        "status": word(types_pb2.TransactionStatus, of.status),
        "error": error,
    }


def operation(of: types_pb2.Operation) -> dict[str, object]:
    """An entry of the catalogue."""
    return {
        "name": of.name,
        "kind": word(types_pb2.OperationKind, of.kind, "OPERATION_"),
        "description": of.description,
        "owner": of.owner,
        "participant": of.participant,
        "compensable": of.compensable,
        "compensation": of.compensation,
        "registered": of.registered,
        "attached": of.attached,
        "attached_since": instant(of.attached_since_ms),
        "node_id": of.node_id,
        "input_schema": _json_or_text(of.input_schema),
        "output_schema": _json_or_text(of.output_schema),
        "sagas": list(of.sagas),
        "saga_count": of.saga_count,
    }


def definition(of: admin_pb2.SagaDefinition) -> dict[str, object]:
    """A published saga without its text."""
    return {
        "name": of.name,
        "version": of.version,
        "digest": of.digest,
        "published_at": instant(of.published_at_ms),
    }


def journal_entry(of: admin_pb2.JournalEntry) -> dict[str, object]:
    """One commit's facts."""
    return {
        "seq": of.seq,
        "at": instant(of.at_ms),
        "events": [_json_or_text(event) for event in of.events],
    }


def node(of: admin_pb2.Node) -> dict[str, object]:
    """A node, as the one that answers sees it."""
    return {
        "node_id": of.node_id,
        "address": of.address,
        "state": "alive" if of.alive else "silent",
        "answers": of.answers,
        "heartbeat": of.heartbeat,
        "silent_ms": of.silent_ms,
        "version": of.version or None,
        "warnings": list(of.warnings),
    }


def payload(of: types_pb2.Payload) -> dict[str, object] | None:
    """A payload: JSON as a value, anything else in Base64; ``None`` when empty."""
    if not of.data:
        return None
    if of.content_type == JSON_CONTENT_TYPE:
        try:
            return {"content_type": of.content_type, "json": json.loads(of.data)}
        except (ValueError, RecursionError):
            pass
    text = base64.b64encode(of.data).decode()
    return {"content_type": of.content_type, "base64": text}


def status(tx: types_pb2.Transaction) -> str:
    """The word for where a transaction is."""
    return word(types_pb2.TransactionStatus, tx.status)


def word(enum: _Enum, number: int, prefix: str = "") -> str:
    """The word for an enum's value; its number when this version knows no word."""
    try:
        return enum.Name(number).removeprefix(prefix)
    except ValueError:
        return str(number)


def _json_or_text(text: str) -> object:
    if not text:
        return None
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value
