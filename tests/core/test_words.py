"""Promises of the words of a state."""

from coordinator.core.words import Mode, Status


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
