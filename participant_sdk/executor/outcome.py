"""What became of a call, and how that is told to the coordinator."""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from participant_sdk.barrier.rules import Outcome, Phase, Record, Reject
from participant_sdk.errors import HandlerMisuse, Pending, Refused, Retry
from participant_sdk.payload import Encoded, UnsuitableOutput, encode
from protos.v1.participant_pb2 import BranchReply
from protos.v1.participant_pb2 import Failed as FailedProto
from protos.v1.participant_pb2 import Pending as PendingProto
from protos.v1.participant_pb2 import Refused as RefusedProto
from protos.v1.participant_pb2 import Succeeded as SucceededProto
from protos.v1.types_pb2 import Payload

TEXT_LENGTH_MAX = 500
CODE_LENGTH_MAX = 128


@dataclass(frozen=True, slots=True)
class Done:
    """It is done; durable here once the local transaction is."""

    output: Encoded = Encoded()  # noqa: RUF009  # immutable


@dataclass(frozen=True, slots=True)
class No:
    """A business "no"; nothing was changed."""

    code: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """It will finish later; without a time it is reported from outside."""

    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """Anything else; nothing was changed here, and it is asked again.

    Attributes:
        output: with ``OUTPUT_NEEDED``, the recorded answer that the coordinator lacks.
    """

    code: str
    text: str = ""
    retry_after_ms: int = 0
    output: Encoded = Encoded()  # noqa: RUF009  # immutable


CallOutcome: TypeAlias = Done | No | Later | Failed

_DONE = Done()
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def clean(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """The text, escaped and cut: it is logged, stored and shown elsewhere."""
    escaped = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return escaped[:length_max]


def outcome_of_value(value: Any, phase: Phase) -> CallOutcome:
    """The handler returned ``value``."""
    if not phase.is_forward:
        return _DONE
    try:
        return Done(encode(value))
    except UnsuitableOutput as error:
        return Failed(error.reason, clean(error.message))


def outcome_of_error(error: BaseException, phase: Phase) -> CallOutcome:
    """The handler raised ``error``. Never its text: it could hold a payload."""
    match error:
        case Refused():
            code = clean(error.code, CODE_LENGTH_MAX)
            if phase.is_forward:
                return No(code, clean(error.text))
            return Failed(code, clean(error.text))
        case Pending():
            return Later(_milliseconds(error.retry_after))
        case Retry():
            return Failed(error.reason, "", _milliseconds(error.after))
        case HandlerMisuse():
            return Failed(error.reason, clean(error.message))
        case _:
            return Failed("HANDLER_ERROR", clean(type(error).__name__))


def outcome_of_record(record: Record) -> CallOutcome:
    """What was answered before."""
    match record.outcome:
        case Outcome.REFUSED:
            return No(record.code, record.message)
        case Outcome.PENDING:
            return Later()
        case _:
            return Done(Encoded(record.output, record.content_type))


def outcome_of_rejection(rejection: Reject) -> No | Failed:
    """The barrier did not let the call in."""
    if rejection.final:
        return No(rejection.code, rejection.message)
    return Failed(rejection.code, rejection.message)


def record_of(phase: Phase, outcome: CallOutcome) -> Record | None:
    """The row that lets a duplicate get this answer; ``None``: it is asked again."""
    match outcome:
        case Done(output):
            return Record(phase, Outcome.SUCCEEDED, output.data, output.content_type)
        case No(code, text):
            return Record(phase, Outcome.REFUSED, code=code, message=text)
        case Later(retry_after_ms=0):
            return Record(phase, Outcome.PENDING)
        case Later() | Failed():
            return None


def to_reply(call_id: int, outcome: CallOutcome) -> BranchReply:
    """As it travels."""
    match outcome:
        case Done(output):
            if not output.content_type and not output.data:
                return BranchReply(call_id=call_id, succeeded=SucceededProto())
            payload = Payload(data=output.data, content_type=output.content_type)
            return BranchReply(
                call_id=call_id, succeeded=SucceededProto(output=payload)
            )
        case No(code, text):
            return BranchReply(
                call_id=call_id, refused=RefusedProto(code=code, message=text)
            )
        case Later(retry_after_ms):
            return BranchReply(
                call_id=call_id, pending=PendingProto(retry_after_ms=retry_after_ms)
            )
        case Failed(code, text, retry_after_ms, output):
            return BranchReply(
                call_id=call_id,
                failed=FailedProto(
                    code=code,
                    message=text,
                    retry_after_ms=retry_after_ms,
                    output=Payload(data=output.data, content_type=output.content_type),
                ),
            )


def _milliseconds(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, round(seconds * 1000))
