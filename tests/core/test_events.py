"""Promises of facts: what the journal keeps, and what may wait in memory."""

import pytest

from coordinator.core import events
from coordinator.core.events import (
    LAZY,
    AttemptFailed,
    BranchSucceeded,
    Decided,
    Event,
    Finished,
    is_journaled,
)
from coordinator.core.model import NO_PAYLOAD
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)
from tests.core.values import mutable, values_of


def failed(attempts: int) -> AttemptFailed:
    return AttemptFailed("a", attempts, 0, "TIMEOUT", "")


def test_failed_attempts_are_thinned_to_powers_of_two() -> None:
    """A participant that is down for a week costs 15 entries, not 20,000."""
    kept = [n for n in range(1, 20_000) if is_journaled(failed(n))]

    assert [2**n for n in range(15)] == kept


@pytest.mark.parametrize(
    "event",
    [
        BranchSucceeded("a", Phase.TRY, NO_PAYLOAD, 0),
        Decided(Decision.ABORT, "", "", 0),
        Finished(Status.CANCELLED, NO_PAYLOAD, 0),
    ],
)
def test_every_other_fact_is_journaled(event: Event) -> None:
    """The log has no gap (T11)."""
    assert is_journaled(event)


def test_only_an_answer_that_can_be_had_again_may_wait() -> None:
    """A decision, an end and a registration are durable before anything else (T7)."""
    assert (BranchSucceeded,) == LAZY


def test_nobody_changes_a_fact() -> None:
    """Who holds one may rely on it."""
    assert mutable(events) == []


def test_a_fact_is_written_down_under_its_name() -> None:
    """The journal of years ago is read by it."""
    tags = {kind.__name__: kind.__struct_config__.tag for kind in values_of(events)}
    assert tags == {name: name for name in tags}
