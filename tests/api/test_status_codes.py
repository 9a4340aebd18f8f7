"""One mapping of errors, complete and silent about insides."""

import grpc
import pytest
import structlog

from coordinator.api.status_codes import (
    ERROR_METADATA_KEY,
    INTERNAL_MESSAGE,
    STATUS_CODES,
    error_of,
)
from coordinator.core import errors
from protos.v1 import coordinator_pb2, coordinator_pb2_grpc
from protos.v1.types_pb2 import Error


def test_every_error_has_a_status_code():
    """A new kind of error without an entry fails here."""
    named = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.CoordinatorError)
        and kind not in (errors.CoordinatorError, errors.Refusal)
    }

    assert named == set(STATUS_CODES)


def test_a_child_of_an_error_has_its_parents_code():
    """Parsers raise their own children of InvalidRequest."""

    class OddSaga(errors.InvalidRequest):
        """Odd."""

    error = error_of(OddSaga("line 3", field="steps[0]", reason="CYCLE"))

    assert error.status == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert (error.reason, error.field, error.message) == (
        "CYCLE",
        "steps[0]",
        "line 3",
    )


@pytest.mark.parametrize("kind", [errors.Overloaded, errors.StoreUnavailable])
def test_who_should_come_back_is_told_when(kind):
    """Temporary errors carry an advice."""
    assert error_of(kind()).retry_after_ms > 0


def test_an_unexpected_exception_is_logged_once_and_hidden():
    """The caller sees a fixed text; the log sees the exception."""
    with structlog.testing.capture_logs() as logs:
        error = error_of(KeyError("inside"))

    assert (error.reason, error.message) == ("INTERNAL", INTERNAL_MESSAGE)
    assert [entry["event"] for entry in logs] == ["request_failed"]


def test_a_broken_invariant_is_hidden_too():
    """What the core says about its state is for the log of the engine."""
    error = error_of(errors.InvariantViolated("revision 7 of g1"))

    assert error.message == INTERNAL_MESSAGE
    assert error.reason == "INVARIANT_VIOLATED"


@pytest.mark.parametrize("letter", ["x", "ä", "\U0001f600"])
async def test_long_messages_fit_into_metadata(world, serve, letter):
    """Header blocks above 8 KiB are refused by peers; the error still arrives."""
    world.engine.script = lambda _: errors.InvalidRequest(letter * 100_000, field="f")
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Get(coordinator_pb2.GetRequest(gid="g1"))

    metadata = dict(caught.value.trailing_metadata())
    error = Error.FromString(metadata[ERROR_METADATA_KEY])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.field == "f"
    assert error.message.endswith("…")
