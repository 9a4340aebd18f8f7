"""Promises of the values that a transaction is made of."""

import pytest

from coordinator.core import model
from coordinator.core.model import (
    UNDER_WAY,
    Branch,
    GlobalTransaction,
    Key,
    Operation,
    TransactionRequest,
    is_open,
    open_of,
    participant_of,
)
from coordinator.core.words import (
    BranchStatus,
    Mode,
    OperationKind,
    Phase,
    Status,
)
from tests.core.values import mutable
from tests.core.world import spec, tcc_request


def test_every_phase_is_asked_for_in_one_status() -> None:
    """A status under way says what the participant is asked, exactly."""
    assert {
        BranchStatus.TRYING: Phase.TRY,
        BranchStatus.RUNNING: Phase.ACTION,
        BranchStatus.CONFIRMING: Phase.CONFIRM,
        BranchStatus.CANCELLING: Phase.CANCEL,
        BranchStatus.COMPENSATING: Phase.COMPENSATION,
    } == UNDER_WAY


@pytest.mark.parametrize(
    ("operation", "participant"),
    [("accounts.debit", "accounts"), ("eu.accounts.debit", "eu.accounts")],
)
def test_participant_is_all_before_the_last_dot(
    operation: str, participant: str
) -> None:
    """A participant's name may have dots itself."""
    assert participant == participant_of(operation)


def test_transaction_knows_its_key() -> None:
    """Namespace and gid come from the request, which never changes."""
    tx = GlobalTransaction(tcc_request(), Status.TRYING)

    assert Key("default", "g-1") == tx.key


def test_new_transactions_share_nothing() -> None:
    """Each has its own, empty, branches."""
    one, two = (GlobalTransaction(tcc_request(), Status.TRYING) for _ in range(2))

    assert one.branches == {}
    assert one.branches is not two.branches
    assert (one.revision, one.journal_seq, one.owner) == (0, 0, "")


def test_what_holds_when_nothing_is_said() -> None:
    """A new branch has failed nothing; a request is no more than what was asked."""
    branch = Branch(spec("a"), BranchStatus.TRYING)
    request = TransactionRequest(Key("default", "g"), Mode.TCC, "pay", "d1", 0, 9)
    operation = Operation("bank.move", OperationKind.ACTION, "bank")

    assert (branch.attempts, branch.started_at) == (0, 0)
    assert (branch.due_at, branch.pending_since, branch.finished_at) == (None,) * 3
    assert (branch.spec.pending_timeout_ms, branch.spec.parent_branch_id) == (0, "")
    assert (request.declared, request.depth, request.check_back) == (False, 0, "")
    assert operation.compensable is False
    tx = GlobalTransaction(request, Status.TRYING)
    assert (tx.updated_at, tx.finished_at, tx.paused_at) == (0, None, None)


def test_open_is_what_something_is_expected_of() -> None:
    """Or what has a known time at which something happens to it; in their order."""
    trying = Branch(spec("a"), BranchStatus.TRYING)
    held = Branch(spec("b"), BranchStatus.TRIED, due_at=7)
    done = Branch(spec("c"), BranchStatus.TRIED)
    branches = {"a": trying, "b": held, "c": done}

    assert [is_open(branch) for branch in branches.values()] == [True, True, False]
    assert list(open_of(branches)) == ["a", "b"]


def test_nobody_changes_a_value() -> None:
    """Who holds one may rely on it."""
    assert mutable(model) == []
