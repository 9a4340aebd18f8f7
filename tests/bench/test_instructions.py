"""What a transaction takes a node may not creep up unseen."""

import asyncio

import pytest

from bench.speed import instructions
from bench.speed.instructions import TOLERANCE, WORKLOADS, counting, this_python


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_transaction_takes_no_more_instructions_than_it_did(workload: str) -> None:
    """A tenth more fails, on whatever machine. Who adds that much on purpose stores it
    anew: ``python -m bench.speed.instructions --renew``.
    """
    found = asyncio.run(instructions.count(WORKLOADS[workload]))
    before = instructions.stored(this_python())[workload]

    assert found.total() <= before * TOLERANCE, found.most_common()


def test_the_same_work_is_counted_the_same() -> None:
    """And other people's code is not: it is the same before and after a change."""
    from coordinator.core.durations import parse_duration

    def count() -> dict[str, int]:
        with counting() as found:
            sorted(range(1_000), key=lambda n: -n)
            assert parse_duration("90s") == 90_000
        return dict(found)

    assert set(count()) == {"coordinator/core/durations.py"}
    assert count() == count()
