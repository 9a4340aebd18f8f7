"""What participants send: outcomes and announcements."""

from coordinator.api import checks
from coordinator.api.convert.enums import KIND_BY_NUMBER
from coordinator.api.limits import Limits
from coordinator.core.errors import InvalidRequest
from coordinator.core.inputs import Outcome, Pending, Refused, Succeeded, Unknown
from coordinator.core.model import NO_PAYLOAD, Operation, Payload, participant_of
from protos.v1 import participant_pb2, types_pb2

BAD_REPLY = "BAD_REPLY"
"""The code of the unknown outcome that a participant's rubbish becomes."""


def outcome_of(reply: participant_pb2.BranchReply, limits: Limits) -> Outcome:
    """What a participant answered; rubbish is an unknown outcome of its own branch."""
    match reply.WhichOneof("outcome"):
        case "succeeded":
            output = _output(reply.succeeded.output, limits)
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
    data, content_type = payload.data, payload.content_type
    if not data and not content_type:
        return NO_PAYLOAD
    try:
        checks.payload_bytes(data, "output.data", bytes_max=limits.payload_bytes_max)
        checks.content_type(content_type, "output.content_type")
    except InvalidRequest as problem:
        return Unknown(BAD_REPLY, str(problem))
    return Payload(data, content_type)


def _bad_code() -> Unknown:
    return Unknown(BAD_REPLY, f"code: expected {checks.IDENTIFIER_RULE}")


def _cut(text: str, limits: Limits) -> str:
    return checks.printable(text, chars_max=limits.text_chars_max)


def _retry_after(value_ms: int, limits: Limits) -> int | None:
    return min(value_ms, limits.deadline_ms_max) or None


def operation_of(
    operation: types_pb2.Operation, participant: str, field: str, limits: Limits
) -> Operation:
    """An operation that ``participant`` announces in its hello."""
    name = checks.identifier(operation.name, f"{field}.name")
    if participant_of(name) != participant or name.endswith("."):
        raise InvalidRequest(
            f"{field}.name: expected {participant}. and the operation's own name "
            f"without a dot, such as {participant}.debit. Rename the operation.",
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
    return Operation(
        name=name,
        kind=kind,
        participant=participant,
        compensable=operation.compensable,
        input_schema=_schema(operation.input_schema, f"{field}.input_schema", limits),
        output_schema=_schema(
            operation.output_schema, f"{field}.output_schema", limits
        ),
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
    checks.json_value(data, field)
    return text
