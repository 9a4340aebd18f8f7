"""What windows of load say."""

from array import array

import pytest

from bench.speed.figures import (
    Window,
    in_tenths,
    median,
    percentile,
    spread,
    window_of,
)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(50.0, 50.0), (90.0, 90.0), (99.0, 99.0), (99.9, 100.0), (100.0, 100.0)],
)
def test_a_percentile_is_a_value_that_was_measured(percent, expected):
    """The smallest one that so many per cent do not exceed; nothing is interpolated."""
    ordered = [float(n) for n in range(1, 101)]

    assert expected == percentile(ordered, percent)


def test_a_percentile_of_one_value_is_that_value():
    """Also the lowest one, and there is one of nothing: 0."""
    assert percentile([7.0], 0.1) == 7.0
    assert percentile([], 99.0) == 0.0


def test_a_window_has_its_latencies_in_milliseconds():
    """Whatever the order in which transactions ended."""
    window = window_of(array("d", [0.3, 0.1, 0.2]), seconds=2, ended=3, refused=0)

    assert window.latency_ms[50.0] == pytest.approx(200)
    assert window.latency_ms[99.9] == pytest.approx(300)
    assert window.per_second == 1.5


def test_tenths_are_of_the_order_in_which_values_came():
    """Each of them has a tenth, also where they do not divide."""
    values = [float(n) for n in range(25)]

    assert in_tenths(values, 100.0, 2) == [2, 8, 12, 18, 22, 28, 32, 38, 42, 48]
    assert in_tenths(values[:9], 50.0, 1) == []


def test_a_window_shows_a_queue_that_grows():
    """Every latency of a tenth is above those of the tenth before."""
    latencies = array("d", [number / 1_000 for number in range(1_000)])
    window = window_of(latencies, seconds=2, ended=1_000, refused=0)

    assert window.tenths["p50 ms"] == pytest.approx([49 + 100 * n for n in range(10)])
    assert window.tenths["p99.9 ms"] == pytest.approx([99 + 100 * n for n in range(10)])


def test_the_median_is_over_windows():
    """One window that others disturbed does not move it."""
    windows = [Window(1.0, ended, 0, {}) for ended in (900, 20, 1_000)]

    assert median(windows, lambda w: w.per_second) == 900


def test_a_window_in_which_nothing_ended_divides_by_nothing():
    """Its shares are told as if one had ended."""
    assert Window(1.0, 0, 0, {}).per_transaction(3.0) == 3.0


def test_the_spread_shows_the_least_and_the_most():
    """Of the rounds."""
    assert spread([0.3, 0.1, 0.2]) == "0.10 to 0.30"
    assert spread([]) == "-"
