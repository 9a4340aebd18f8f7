"""Promises of what the shell is asked to do."""

from msgspec.structs import replace

from coordinator.core import actions
from coordinator.core.actions import CallBranch
from coordinator.core.model import (
    NO_PAYLOAD,
    Key,
    Payload,
)
from coordinator.core.words import Phase
from tests.core.values import mutable

CALL = CallBranch(
    key=Key("default", "g-1"),
    branch_id="a",
    operation="bank.move",
    phase=Phase.TRY,
    attempt=1,
    input=Payload(b"{}", "application/json"),
    output=NO_PAYLOAD,
    timeout_ms=3_000,
)


def test_calls_are_equal_by_value() -> None:
    """A call that was recomputed after a crash is the same call."""
    assert replace(CALL) == CALL
    assert hash(replace(CALL)) == hash(CALL)
    assert replace(CALL, attempt=2) != CALL


def test_outermost_call_has_no_depth() -> None:
    """And no time of beginning where nobody names one."""
    assert (CALL.began_at, CALL.depth) == (0, 0)


def test_a_call_is_an_ordinary_one_where_nobody_says_more() -> None:
    """It is answered from what is recorded, and has attempts to use up."""
    assert (CALL.reconsider, CALL.endless) == (False, False)


def test_nobody_changes_a_call() -> None:
    """Who holds one may rely on it."""
    assert mutable(actions) == []
