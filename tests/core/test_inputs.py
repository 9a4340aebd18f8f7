"""Promises of inputs: facts and wishes, with what is meant when nothing is said."""

from coordinator.core import inputs
from coordinator.core.inputs import (
    Begin,
    Cancel,
    Confirm,
    Observe,
    Pending,
    Refused,
    Succeeded,
    Unknown,
)
from coordinator.core.model import NO_PAYLOAD
from tests.core.values import mutable
from tests.core.world import tcc_request


def test_what_is_meant_when_nothing_is_said() -> None:
    """Nobody waits, nothing is listed, and a cancel says who wanted it."""
    assert (Confirm().listed, Confirm().wait) == (None, False)
    assert (
        Cancel().code,
        Cancel().text,
        Cancel().wait,
    ) == ("CANCELLED_BY_INITIATOR", "", False)
    assert Observe().wait is False
    assert Begin(tcc_request()).tries == ()
    assert Succeeded().output == NO_PAYLOAD
    assert Refused("NO").text == ""
    assert Pending().retry_after_ms is None
    unknown = Unknown("X")
    assert (
        unknown.text,
        unknown.retry_after_ms,
        unknown.output,
    ) == ("", None, NO_PAYLOAD)


def test_nobody_changes_an_input() -> None:
    """Who holds one may rely on it."""
    assert mutable(inputs) == []
