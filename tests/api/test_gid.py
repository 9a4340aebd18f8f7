"""Gids that the coordinator makes."""

from coordinator.api.checks import is_identifier
from coordinator.api.gid import GidSource


def test_gids_are_identifiers_and_sort_by_time():
    """A later gid is greater, as text and as bytes."""
    times = iter([1_000, 1_700_000_000_000, 9_000_000_000_000])
    source = GidSource(lambda: next(times))

    made = [source.make() for _ in range(3)]

    assert made == sorted(made)
    assert all(is_identifier(gid) and len(gid) == 36 for gid in made)


def test_gids_do_not_sort_back_when_the_clock_is_set_back():
    """The time part never goes back while the process lives."""
    times = iter([2_000, 1_000])
    source = GidSource(lambda: next(times), random_bits=lambda _: 7)

    first, second = source.make(), source.make()

    assert first[:12] == second[:12]


def test_two_nodes_in_the_same_millisecond_do_not_meet():
    """96 random bits tell gids apart that share their time."""
    one, other = GidSource(lambda: 1), GidSource(lambda: 1)

    made = {source.make() for source in (one, other) for _ in range(1_000)}

    assert len(made) == 2_000


def test_all_random_bits_are_used():
    """96 bits are asked for, and all of them are shown."""
    asked = []

    def bits(count: int) -> int:
        asked.append(count)
        return 2**count - 1

    assert GidSource(lambda: 0, bits).make() == "0" * 12 + "f" * 24
    assert asked == [96]
