"""Promises of the errors."""

import pytest

from coordinator.core import errors
from coordinator.core.errors import (
    CoordinatorError,
    InvalidRequest,
    NotFound,
    Refusal,
    StoreUnavailable,
)

ALL = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, CoordinatorError)
]


def test_root_is_never_raised() -> None:
    """Every error says who must act."""
    with pytest.raises(TypeError, match="children"):
        CoordinatorError("anything")


def test_reasons_are_distinct_and_stable() -> None:
    """They go over the wire and stand in programs."""
    assert {
        "COORDINATOR_ERROR",
        "REFUSED",
        "INVALID_REQUEST",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PRECONDITION_FAILED",
        "OVERLOADED",
        "STORE_UNAVAILABLE",
        "ILLEGAL_TRANSITION",
        "INVARIANT_VIOLATED",
    } <= {error.reason for error in ALL}
    assert len({error.reason for error in ALL}) == len(ALL)


@pytest.mark.parametrize("error", [e for e in ALL if e is not CoordinatorError])
def test_docstring_is_the_default_message(error: type[CoordinatorError]) -> None:
    """No error is mute."""
    assert str(error("STOPPED")) == "STOPPED"
    assert (error.__doc__ or "").strip() == str(error())
    assert str(error())


def test_refusal_names_field_and_reason() -> None:
    """The exact reason where there is one, else the class's own."""
    plain = InvalidRequest("too long", field="gid")
    exact = NotFound("gone", reason="TRANSACTION_GONE")

    assert (plain.field, plain.detail_reason) == ("gid", "INVALID_REQUEST")
    assert (exact.field, exact.detail_reason) == ("", "TRANSACTION_GONE")


def test_only_wishes_are_refused() -> None:
    """What the caller cannot mend is no refusal."""
    assert not issubclass(StoreUnavailable, Refusal)
    assert issubclass(NotFound, Refusal)
