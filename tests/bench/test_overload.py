"""Figures of an overload: who is late is not good, and back means back for good."""

from bench.overload import AFTER, BEFORE, CALM_SECONDS, OVERLOAD, figures_of
from bench.surge import CONFIRMED, FAILED, REFUSED, SPARED, Seen, Stage

STAGES = [Stage(10, 10), Stage(60, 10), Stage(10, 20)]
"""From second 0, 10 and 20 on."""

USUAL = 0.1


def seen(*transactions: tuple[int, float, float, int]) -> Seen:
    """Those of an ordinary beginning, and these: stage, begun, took, outcome."""
    before = [(BEFORE, float(n), USUAL, CONFIRMED) for n in range(10)]
    stages, begun, took, outcomes = zip(*before, *transactions, strict=True)
    return Seen(list(stages), list(begun), list(took), list(outcomes), {})


def after(seconds: range, took: float = USUAL, outcome: int = CONFIRMED):
    """One transaction a second, from the end of the overload."""
    return [(AFTER, 20.0 + second, took, outcome) for second in seconds]


def test_good_is_what_ends_well_in_the_overload_and_in_time() -> None:
    """Too late, failed, refused, or after the overload: not good."""
    figures = figures_of(
        seen(
            (OVERLOAD, 10.0, 1.0, CONFIRMED),
            (OVERLOAD, 11.0, 2.5, CONFIRMED),
            (OVERLOAD, 12.0, 0.5, FAILED),
            (OVERLOAD, 13.0, 0.01, REFUSED),
            (OVERLOAD, 14.0, 0.0, SPARED),
            (OVERLOAD, 14.5, 0.0, SPARED),
            (OVERLOAD, 19.5, 1.0, CONFIRMED),
        ),
        STAGES,
        deadline_seconds=2,
    )
    assert figures.good == 1 / 10
    assert figures.offered == 7 / 10
    assert (figures.refused_share, figures.spared_share) == (1 / 7, 2 / 7)
    assert figures.refusal_ms == (10.0, 10.0)


def test_back_is_the_first_second_after_which_all_stays_well() -> None:
    """A refusal or a long latency in between begins the count anew."""
    late = [*after(range(1)), *after(range(1, 2), took=1.0), *after(range(2, 4))]
    refused = after(range(4, 5), outcome=REFUSED)
    rest = after(range(5, 5 + CALM_SECONDS))
    assert figures_of(seen(*late, *refused, *rest), STAGES, 2).back == 5


def test_who_is_held_back_by_the_sdk_is_not_back() -> None:
    """It makes no difference to the caller who told it to come later."""
    spared = after(range(2), outcome=SPARED)
    rest = after(range(2, 2 + CALM_SECONDS))
    assert figures_of(seen(*spared, *rest), STAGES, 2).back == 2


def test_who_is_well_for_too_short_a_time_is_not_back() -> None:
    """Or the last second before the next refusal would count."""
    well = after(range(CALM_SECONDS - 1))
    ill = after(range(CALM_SECONDS - 1, 20), outcome=REFUSED)
    assert figures_of(seen(*well, *ill), STAGES, 2).back is None
