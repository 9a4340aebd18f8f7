"""What a transaction costs may not creep up."""

import pytest

from bench.speed.cost import coordinator_us, verdict
from bench.speed.figures import Window


@pytest.mark.parametrize(
    ("ratio", "expected"), [(3.0, "OK"), (4.8, "OK"), (4.9, "FAILED")]
)
def test_a_fifth_above_what_is_stored_fails(ratio, expected):
    """Less is noise, more has to be looked at."""
    assert verdict(ratio, 4.0) == expected


def test_only_the_coordinator_counts():
    """Initiator and participant are the same programs on both sides."""
    cpu = {"coordinator": 0.5, "participant": 7.0, "initiator": 7.0}
    window = Window(1.0, 1_000, 0, {}, cpu_seconds=cpu)

    assert coordinator_us(window) == pytest.approx(500)
