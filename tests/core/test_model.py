"""Promises of the values that a transaction is made of."""

import pytest

from coordinator.core.model import (
    UNDER_WAY,
    BranchStatus,
    GlobalTransaction,
    Key,
    Mode,
    Phase,
    Status,
    participant_of,
)
from tests.core.world import tcc_request


def test_five_statuses_are_final() -> None:
    """A past is final, a participle is under way (S6)."""
    assert {
        "CONFIRMED",
        "CANCELLED",
        "COMPLETED",
        "COMPENSATED",
        "RESOLVED",
    } == {status for status in Status if status.is_final}


def test_words_hash_as_their_text() -> None:
    """So that a stored text finds its word."""
    assert {Mode.TCC: 1} == {"TCC": 1}
    assert hash("TCC") == hash(Mode.TCC)


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
