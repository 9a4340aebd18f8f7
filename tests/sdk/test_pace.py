"""When a frame waits for what still comes."""

import pytest

from participant_sdk.pace import PACE_SECONDS, Pace

MOMENT = PACE_SECONDS / 10


def test_who_is_alone_waits_for_nobody() -> None:
    """One request after the other goes out at once, however fast they come."""
    pace = Pace()
    for number in range(10):
        assert pace.pause(1, 0, number * MOMENT) == 0
        pace.sent(number * MOMENT)


def test_as_many_as_are_to_come_wait_for_nobody() -> None:
    """Most answers have come with one frame; few others will follow."""
    pace = Pace()
    pace.sent(0.0)
    assert pace.pause(16, 16, MOMENT) == 0


def test_few_of_many_wait_until_the_last_frame_is_old_enough() -> None:
    """And never longer."""
    pace = Pace()
    pace.sent(1.0)
    assert pace.pause(15, 16, 1.0 + MOMENT) == pytest.approx(PACE_SECONDS - MOMENT)
    assert pace.pause(1, 1_000, 1.0 + PACE_SECONDS) == 0


def test_nothing_waits_for_nothing() -> None:
    """A writer that was woken in vain is not held up."""
    pace = Pace()
    pace.sent(0.0)
    assert pace.pause(0, 16, MOMENT) == 0
