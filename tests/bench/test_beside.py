"""Disk and processors beside a window."""

import pytest

from bench.speed.beside import EVERY_SECONDS, waited, watched


def test_who_wanted_a_sync_meanwhile_waited_for_the_rest_of_it():
    """A disk that stood still counts for as long as it did, and not once."""
    waits = waited(due=10.0, ended=10.0 + 3.5 * EVERY_SECONDS)

    assert waits == pytest.approx([n * EVERY_SECONDS for n in (3.5, 2.5, 1.5, 0.5)])


def test_a_quick_sync_counts_once():
    """The next one is due later."""
    assert waited(due=10.0, ended=10.001) == pytest.approx([0.001])


def test_a_window_has_the_figures_of_disk_and_processors_beside_it(tmp_path):
    """One sync and one loop at least, however short the window."""
    with watched(tmp_path) as watch:
        pass

    assert 0 < watch.sync_ms[50.0] <= watch.sync_ms[100.0]
    assert 0 < watch.loop_us[50.0] <= watch.loop_us[90.0]
