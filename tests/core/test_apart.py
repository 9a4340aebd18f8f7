"""When branches are stored in rows of their own."""

import pytest
from msgspec.structs import replace

from coordinator.core.apart import TOGETHER_BYTES_MAX, TOGETHER_MAX, are_apart
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
