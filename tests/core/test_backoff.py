"""Promises of retry times."""

from statistics import mean

import pytest
from msgspec.structs import replace

from coordinator.core.backoff import FORWARD, PHASE_TWO, RetryPolicy, delay_ms

PLAIN = RetryPolicy(initial_interval_ms=200, jitter=0)


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [(1, 200), (2, 400), (3, 800), (8, 25_600), (9, 30_000), (10_000, 30_000)],
)
def test_intervals_grow_to_the_cap(attempt: int, expected: int) -> None:
    """Doubled after each failure and never above the cap, however many (V8)."""
    assert expected == delay_ms(attempt, PLAIN, "g:a")


def test_any_coefficient_and_cap() -> None:
    """The author of a saga chooses both."""
    policy = replace(PLAIN, coefficient=3.0, interval_max_ms=5_000)

    assert [delay_ms(n, policy, "") for n in (1, 2, 3, 4)] == [200, 600, 1_800, 5_000]


def test_growth_is_bounded_beyond_every_float() -> None:
    """No attempt count and no coefficient overflows; the result is still a time."""
    policy = replace(PLAIN, coefficient=1e4, interval_max_ms=10**18)

    assert delay_ms(63, policy, "") == 200 * 10**12
    assert delay_ms(1_000_000, policy, "") == 200 * 10**12


def test_growth_stops_at_the_62nd_doubling() -> None:
    """A coefficient near one still grows up to there, and not beyond."""
    policy = replace(PLAIN, coefficient=1.1, interval_max_ms=10**9)

    assert round(200 * 1.1**62) == delay_ms(63, policy, "")
    assert delay_ms(63, policy, "") == delay_ms(64, policy, "")
    assert delay_ms(62, policy, "") < delay_ms(63, policy, "")


def test_full_jitter_spreads_over_the_whole_interval() -> None:
    """A crowd that failed together comes back evenly spread (V8)."""
    delays = [delay_ms(9, PHASE_TWO, f"g-{n}:a") for n in range(4_000)]

    assert 0 <= min(delays) < 300
    assert 29_700 < max(delays) <= 30_000
    assert 14_000 < mean(delays) < 16_000


def test_half_jitter_keeps_half_of_the_interval() -> None:
    """The part that is not random is always waited."""
    policy = replace(PLAIN, jitter=0.5)
    delays = [delay_ms(1, policy, f"g-{n}:a") for n in range(1_000)]

    assert 100 <= min(delays) < 105
    assert 195 < max(delays) <= 200


def test_delay_is_computed_and_never_drawn() -> None:
    """Every node and every replay gets the same instant; each attempt its own."""
    assert delay_ms(5, FORWARD, "g:a") == delay_ms(5, FORWARD, "g:a")
    assert delay_ms(5, FORWARD, "g:a") == 2_292
    assert len({delay_ms(n, PHASE_TWO, "g:a") for n in range(10, 110)}) > 50


def test_policies_when_nobody_says_otherwise() -> None:
    """Forward five attempts, phase two without end, both jittered, capped at 30 s."""
    assert (FORWARD.attempt_max, PHASE_TWO.attempt_max) == (5, 0)
    for policy in (FORWARD, PHASE_TWO):
        assert (200, 2.0, 30_000, 1.0, frozenset()) == (
            policy.initial_interval_ms,
            policy.coefficient,
            policy.interval_max_ms,
            policy.jitter,
            policy.non_retryable,
        )
