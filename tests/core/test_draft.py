"""Promises of a decision in the making."""

import pytest

from coordinator.core.draft import Draft
from coordinator.core.errors import IllegalTransition
from coordinator.core.events import Began, BranchRegistered, Decided
from coordinator.core.words import Decision, Status
from tests.core.world import spec, tcc_request

BEGAN = Began(tcc_request(), None)


def test_each_fact_is_applied_at_once() -> None:
    """The next rule sees its effect, and the facts are kept in order."""
    draft = Draft.begun(BEGAN)
    joined = BranchRegistered(spec("a"), direct=False, at=1)
    draft.add(joined)

    assert list(draft.tx.branches) == ["a"]
    assert draft.events == (BEGAN, joined)


def test_illegal_fact_is_not_kept() -> None:
    """What the state does not allow leaves neither a trace nor a change."""
    draft = Draft.begun(BEGAN)
    draft.add(Decided(Decision.ABORT, "", "", 1))
    with pytest.raises(IllegalTransition):
        draft.add(Decided(Decision.COMMIT, "", "", 2))

    assert Status.CANCELLING is draft.tx.status
    assert len(draft.events) == 2


def test_draft_starts_where_the_state_is() -> None:
    """Nothing new has happened yet, and the given state is never touched."""
    first = Draft.begun(BEGAN)
    second = Draft(first.tx)

    assert second.tx is first.tx
    assert second.events == ()
    second.add(BranchRegistered(spec("a"), direct=True, at=1))
    assert first.tx.branches == {}
