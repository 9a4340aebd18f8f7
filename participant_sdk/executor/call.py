"""One call on its way through a participant: from the wire to its outcome."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from participant_sdk.barrier.rules import Phase, is_identifier
from participant_sdk.barrier.sql import BranchKey
from participant_sdk.context import Context, enter, leave
from participant_sdk.executor.conflict import gave_way
from participant_sdk.executor.outcome import (
    CallOutcome,
    Failed,
    No,
    clean,
    outcome_of_error,
    outcome_of_value,
    to_reply,
)
from participant_sdk.log import log
from participant_sdk.operations import Handler, Registry
from participant_sdk.payload import Encoded, InvalidPayload
from protos.v1 import types_pb2
from protos.v1.participant_pb2 import BranchCall, BranchReply

Deliver = Callable[[list[BranchReply]], None]

_PHASES: dict[int, Phase] = {
    types_pb2.PHASE_TRY: Phase.TRY,
    types_pb2.PHASE_CONFIRM: Phase.CONFIRM,
    types_pb2.PHASE_CANCEL: Phase.CANCEL,
    types_pb2.PHASE_ACTION: Phase.ACTION,
    types_pb2.PHASE_COMPENSATION: Phase.COMPENSATION,
}


class Rejected(Exception):
    """The call is answered without running anything."""

    def __init__(self, outcome: CallOutcome) -> None:
        self.outcome = outcome
        super().__init__()


class Job:
    """A call that was accepted, with the handler that will answer it."""

    __slots__ = (
        "began_at_ms",
        "call_id",
        "context",
        "handler",
        "key",
        "known",
        "reconsider",
        "request",
        "settle",
    )

    def __init__(
        self, call: BranchCall, handler: Handler, phase: Phase, deliver: Deliver
    ) -> None:
        self.began_at_ms = call.began_at_ms
        self.call_id = call.call_id
        self.handler = handler
        self.settle = deliver
        self.key = BranchKey(call.gid, call.branch_id, call.operation, phase)
        self.known = Encoded(call.output.data, call.output.content_type)
        self.reconsider = call.reconsider
        self.request = Encoded(call.input.data, call.input.content_type)
        timeout = call.timeout_ms / 1000 if call.timeout_ms else float("inf")
        self.context: Context[Any, Any] = Context(
            gid=call.gid,
            branch_id=call.branch_id,
            operation=call.operation,
            phase=phase,
            attempt=call.attempt or 1,
            deadline=time.monotonic() + timeout,
            depth=call.depth,
        )

    @property
    def known_done(self) -> bool:
        """The coordinator has the try's or action's answer."""
        return bool(self.known.data or self.known.content_type)

    def arguments(self, recorded: Encoded | None) -> tuple[Any, ...]:
        """What the handler is called with.

        Args:
            recorded: what the try or action answered by this side's record;
                ``None`` without one, then the coordinator's is taken.

        Raises:
            Rejected: a payload does not have the declared type.
        """
        handler = self.handler
        if self.key.phase is Phase.COMPENSATION and not (
            self.request.data or self.request.content_type
        ):
            # Its input is made of the action's answer, which got lost on the way.
            text = "the action ran; the compensation's input is made of its answer"
            raise Rejected(Failed("OUTPUT_NEEDED", text, output=recorded or self.known))
        try:
            request = handler.input.decode(*self.request)
            if handler.output is None:
                return self.context, request
            answer = recorded or self.known
            if not answer.data and not answer.content_type:
                return self.context, request, None
            return self.context, request, handler.output.decode(*answer)
        except InvalidPayload as error:
            text = clean(error.message)
            if self.key.phase.is_forward:
                raise Rejected(No(error.reason, text)) from None
            raise Rejected(Failed(error.reason, text)) from None

    def check_time(self) -> None:
        """Raise ``Rejected`` when the coordinator has stopped waiting."""
        if time.monotonic() >= self.context.deadline:
            raise Rejected(
                Failed("TIMEOUT", "the call waited for its turn until its time was up")
            )

    def reply(self, outcome: CallOutcome) -> BranchReply:
        """As it travels."""
        return to_reply(self.call_id, outcome)


def accept(call: BranchCall, registry: Registry, deliver: Deliver) -> Job:
    """The job for ``call``.

    Raises:
        Rejected: this participant cannot answer it at all.
    """
    phase = _PHASES.get(call.phase)
    if phase is None:
        raise Rejected(Failed("UNKNOWN_PHASE", "this SDK does not know the phase"))
    if not is_identifier(call.gid) or not is_identifier(call.branch_id):
        raise Rejected(
            Failed(
                "INVALID_IDENTITY",
                "gid and branch_id have 1 to 128 of A-Z a-z 0-9 . _ : -",
            )
        )
    operation = registry.get(call.operation)
    handler = operation.handler(phase) if operation is not None else None
    if handler is None:
        raise Rejected(
            Failed(
                "UNKNOWN_OPERATION",
                f"{clean(call.operation, 128)} has no {phase} at this participant",
            )
        )
    return Job(call, handler, phase, deliver)


class ErrorSink(Protocol):
    """Turns what a handler raised into an outcome, and logs what nobody expects."""

    def __call__(self, job: Job, error: BaseException) -> CallOutcome:
        """The outcome of ``error``."""


def error_sink(*, debug: bool) -> ErrorSink:
    """A sink; with ``debug`` its log lines carry tracebacks, which may hold data."""

    def outcome_of(job: Job, error: BaseException) -> CallOutcome:
        outcome = outcome_of_error(error, job.key.phase)
        is_told_later = job.context.has_transaction and gave_way(error)
        if (
            isinstance(outcome, Failed)
            and outcome.code in _LOGGED
            and not is_told_later
        ):
            log_failure(job, outcome, exc_info=error if debug else None)
        return outcome

    return outcome_of


_LOGGED = frozenset({"HANDLER_ERROR", "HANDLER_MISUSE"})


def log_failure(
    job: Job, outcome: Failed | No, exc_info: BaseException | None = None
) -> None:
    """Write that a call failed here, without any payload."""
    log().error(
        "call_failed",
        operation=job.key.operation,
        phase=job.key.phase.value,
        gid=job.key.gid,
        branch_id=job.key.branch_id,
        attempt=job.context.attempt,
        code=outcome.code,
        text=outcome.text,
        exc_info=exc_info,
    )


def run_sync(job: Job, recorded: Encoded | None, sink: ErrorSink) -> CallOutcome:
    """Call a sync handler, whatever it does."""
    entered = enter(job.context)
    try:
        value = job.handler.function(*job.arguments(recorded))
    except Rejected as rejected:
        return rejected.outcome
    except BaseException as error:  # noqa: BLE001  # sys.exit() is no way out either
        return sink(job, error)
    finally:
        leave(entered)
    return outcome_of_value(value, job.key.phase)
