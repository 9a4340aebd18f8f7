"""Promises of durations as people write them."""

import pytest

from coordinator.core.durations import (
    DURATION_MAX_MS,
    format_duration,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("PT30S", 30_000),
        ("PT0.5S", 500),
        ("P1DT2H3M4.005S", 93_784_005),
        ("P2D", 172_800_000),
    ],
)
def test_durations_are_read(text: str, milliseconds: int) -> None:
    """Short and ISO 8601 spellings."""
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1.5s", "P", "PT", "1w", "٣s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    """Bare numbers and anything else."""
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0ms"),
        (250, "250ms"),
        (1_000, "1s"),
        (90_000, "90s"),
        (60_000, "1m"),
        (3_600_000, "1h"),
        (86_400_000, "1d"),
    ],
)
def test_shortest_exact_spelling(milliseconds: int, text: str) -> None:
    """And it is read back to the same."""
    assert format_duration(milliseconds) == text
    assert parse_duration(text) == milliseconds


def test_longest_duration_is_a_year() -> None:
    """Nothing that waits is planned for longer."""
    assert DURATION_MAX_MS == parse_duration("365d") == 31_536_000_000
