"""What participants send: outcomes and announcements."""

from coordinator.api import checks
from coordinator.api.convert.enums import KIND_BY_NUMBER
from coordinator.api.limits import Limits
from coordinator.core.errors import InvalidRequest
from coordinator.core.inputs import Outcome, Pending, Refused, Succeeded, Unknown
from coordinator.core.model import (
    Operation,
    Payload,
    participant_of,
)
from coordinator.core.words import OperationKind
from protos.v1 import participant_pb2, types_pb2

OWNER_CHARS_MAX = 128

BAD_REPLY = "BAD_REPLY"
"""The code of the unknown outcome that a participant's rubbish becomes."""

_SUCCEEDED = Succeeded()


def outcome_of(reply: participant_pb2.BranchReply, limits: Limits) -> Outcome:
    """What a participant answered; rubbish is an unknown outcome of its own branch."""
    match reply.WhichOneof("outcome"):
        case "succeeded":
            succeeded = reply.succeeded
            if not succeeded.HasField("output"):
                return _SUCCEEDED
            output = _output(succeeded.output, limits)
            return output if isinstance(output, Unknown) else Succeeded(output)
        case "refused":
            code = reply.refused.code
            if not checks.is_identifier(code):
                return _bad_code()
            return Refused(code, _cut(reply.refused.message, limits))
        case "pending":
            return Pending(_retry_after(reply.pending.retry_after_ms, limits))
        case "failed":
            failed = reply.failed
            output = _output(failed.output, limits)
            if isinstance(output, Unknown):
                return output
            if not checks.is_identifier(failed.code):
                return _bad_code()
            return Unknown(
                failed.code,
                _cut(failed.message, limits),
                _retry_after(failed.retry_after_ms, limits),
                output,
            )
    return Unknown(BAD_REPLY, "the reply holds no outcome")


def _output(payload: types_pb2.Payload, limits: Limits) -> Payload | Unknown:
    try:
        return checks.payload(payload, "output", limits.payload_bytes_max)
    except InvalidRequest as problem:
        return Unknown(BAD_REPLY, str(problem))


def _bad_code() -> Unknown:
    return Unknown(BAD_REPLY, f"code: expected {checks.IDENTIFIER_RULE}")


def _cut(text: str, limits: Limits) -> str:
    return checks.printable(text, chars_max=limits.text_chars_max)


def _retry_after(value_ms: int, limits: Limits) -> int | None:
    return min(value_ms, limits.deadline_ms_max) or None


def operation_of(
    operation: types_pb2.Operation, participant: str, field: str, limits: Limits
) -> Operation:
    """An operation of ``participant``, announced or registered."""
    name = checks.identifier(operation.name, f"{field}.name")
    if not participant or participant_of(name) != participant or name.endswith("."):
        expected = participant or "its participant's name"
        raise InvalidRequest(
            f"{field}.name: expected {expected}, a dot, and the operation's own name "
            f"without one, such as {participant or 'accounts'}.debit. "
            "Rename the operation.",
            field=f"{field}.name",
        )
    kind = KIND_BY_NUMBER.get(operation.kind)
    if kind is None:
        raise InvalidRequest(
            f"{field}.kind: expected one of OPERATION_TCC, OPERATION_ACTION. Set it.",
            field=f"{field}.kind",
        )
    if operation.participant not in ("", participant):
        raise InvalidRequest(
            f"{field}.participant: expected {participant} or nothing. "
            "A session announces its own participant's operations only.",
            field=f"{field}.participant",
        )
    _check_undone(operation, kind, participant, field)
    return Operation(
        name=name,
        kind=kind,
        participant=participant,
        compensable=operation.compensable,
        input_schema=_schema(operation.input_schema, f"{field}.input_schema", limits),
        output_schema=_schema(
            operation.output_schema, f"{field}.output_schema", limits
        ),
        description=checks.text(
            operation.description,
            f"{field}.description",
            chars_max=limits.text_chars_max,
        ),
        owner=checks.text(operation.owner, f"{field}.owner", chars_max=OWNER_CHARS_MAX),
        compensation=operation.compensation,
    )


def _check_undone(
    operation: types_pb2.Operation, kind: OperationKind, participant: str, field: str
) -> None:
    """By itself, by another action of its participant, by its cancel, or not at all."""
    if kind is OperationKind.TCC and operation.compensable:
        raise InvalidRequest(
            f"{field}.compensable: expected only of an action; a TCC operation is "
            "undone by its cancel. Leave it out.",
            field=f"{field}.compensable",
        )
    undo, at = operation.compensation, f"{field}.compensation"
    if not undo:
        return
    checks.identifier(undo, at)
    if kind is OperationKind.TCC or operation.compensable:
        raise InvalidRequest(
            f"{at}: expected only of an action that does not undo itself. "
            "Leave it out, or leave compensable out.",
            field=at,
        )
    if participant_of(undo) != participant or undo in (operation.name, participant):
        raise InvalidRequest(
            f"{at}: expected another operation of {participant}, which alone can tell "
            "whether the action has run. Name one, or leave it out.",
            field=at,
        )


def _schema(text: str, field: str, limits: Limits) -> str:
    if not text:
        return ""
    data = text.encode()
    if len(data) > limits.schema_bytes_max:
        raise InvalidRequest(
            f"{field}: expected at most {limits.schema_bytes_max} bytes, got "
            f"{len(data)}. Simplify the schema.",
            field=field,
        )
    if not isinstance(checks.json_value(data, field), dict | bool):
        raise InvalidRequest(
            f"{field}: expected a JSON Schema, which is an object. Correct it, or "
            "leave it empty.",
            field=field,
        )
    return text
