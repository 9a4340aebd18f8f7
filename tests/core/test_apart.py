"""When branches, and entries of the journal, are stored in rows of their own."""

import pytest
from msgspec.structs import replace

from coordinator.core.apart import (
    ENTRIES_MAX,
    ENTRY_BYTES_MAX,
    TOGETHER_BYTES_MAX,
    TOGETHER_MAX,
    are_apart,
    is_entry_apart,
)
from coordinator.core.model import GlobalTransaction
from tests.storage.samples import began


def with_branches(count: int) -> GlobalTransaction:
    return began(1, *(f"b{number}" for number in range(count))).after


@pytest.mark.parametrize("count", [0, 2, TOGETHER_MAX])
def test_few_small_branches_stand_in_their_transactions_row(count: int) -> None:
    assert not are_apart(with_branches(count), TOGETHER_BYTES_MAX)


def test_too_many_or_too_large_ones_move_out() -> None:
    """What is a part of the row is written again by every commit."""
    assert are_apart(with_branches(TOGETHER_MAX + 1), 0)
    assert are_apart(with_branches(1), TOGETHER_BYTES_MAX + 1)


def test_who_moved_out_stays_out() -> None:
    """Payloads may shrink; rows that were left would be read as the present ones."""
    assert are_apart(replace(with_branches(1), branches_apart=True), 0)


@pytest.mark.parametrize("seq", [1, ENTRIES_MAX])
def test_the_first_small_entries_stand_in_their_transactions_row(seq: int) -> None:
    tx = replace(with_branches(2), journal_seq=seq)
    assert not is_entry_apart(tx, ENTRY_BYTES_MAX)


def test_later_and_longer_entries_have_rows_of_their_own() -> None:
    """What stands in the row stays bounded, however often a participant fails."""
    tx = with_branches(2)
    assert is_entry_apart(replace(tx, journal_seq=ENTRIES_MAX + 1), 1)
    assert is_entry_apart(tx, ENTRY_BYTES_MAX + 1)


def test_entries_go_where_the_branches_went() -> None:
    """Payloads that are too large for the row are in the journal as well."""
    assert is_entry_apart(replace(with_branches(2), branches_apart=True), 1)
