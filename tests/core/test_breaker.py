"""Promises of the breaker: who may be called, and how often again (V4, V5, V8)."""

from itertools import pairwise
from math import floor

import pytest

from coordinator.core.breaker import (
    BUDGET_MAX,
    BUDGET_SHARE,
    CALLS_MIN,
    PROBES_PER_SECOND,
    PROBES_TO_CLOSE,
    RAMP_FIRST,
    RAMP_MAX,
    SILENT_MS,
    WINDOW_MS,
    Breaker,
    State,
)

START = 1_000_000
"""An instant of the monotonic clock, long after its beginning."""


@pytest.fixture
def breaker() -> Breaker:
    """Of a participant that has just got its first link."""
    made = Breaker()
    made.attached(START)
    return made


def failing(breaker: Breaker, at: int = START) -> Breaker:
    """Every call fails, until nothing but probes goes out."""
    for _ in range(CALLS_MIN):
        breaker.heard(at, works=False)
    assert breaker.state is State.PROBING
    return breaker


def ill(breaker: Breaker, at: int = START) -> Breaker:
    """Half of the calls fail."""
    for _ in range(CALLS_MIN):
        breaker.heard(at, works=True)
        breaker.heard(at, works=False)
    return breaker


def turns(breaker: Breaker, at: int, *, has_room: bool = True) -> int:
    """How many retries may go out at this instant."""
    count = 0
    while breaker.take_turn(at, has_room=has_room):
        count += 1
    return count


def probes(breaker: Breaker, until: int, *, nodes: int = 1) -> list[int]:
    """When probes go out, if they are wanted at every millisecond."""
    return [now for now in range(START, until) if breaker.take_probe(now, nodes=nodes)]


# ---- States -----------------------------------------------------------------------


def test_who_has_no_link_is_not_called() -> None:
    """That is a fact, at the beginning and whenever the last link goes."""
    breaker = Breaker()
    assert breaker.state is State.OPEN
    breaker.attached(START)
    assert breaker.state is State.CLOSED
    breaker.detached()
    assert breaker.state is State.OPEN


def test_time_outs_open_it(breaker: Breaker) -> None:
    """A participant that hangs with its session open is only probed."""
    for count in range(CALLS_MIN):
        assert breaker.state is State.CLOSED, count
        breaker.missed(START, since=START - 100, was_out=True)
    assert breaker.state is State.PROBING


def test_few_failures_conclude_nothing(breaker: Breaker) -> None:
    """A few in a row are bad luck."""
    for _ in range(CALLS_MIN - 1):
        breaker.heard(START, works=False)
    assert breaker.state is State.CLOSED
    breaker.heard(START, works=True)
    assert breaker.state is State.CLOSED, "one in twenty is enough to go on"


def test_one_broken_operation_does_not_stop_the_others(breaker: Breaker) -> None:
    """Nine calls in ten fail, and the tenth is another operation's."""
    for number in range(10 * CALLS_MIN):
        breaker.heard(START + number, works=number % 10 == 0)
    assert breaker.state is State.CLOSED


def test_old_outcomes_are_forgotten(breaker: Breaker) -> None:
    """Failures that are a window old tell nothing, nor do those in halves long ago."""
    for _ in range(CALLS_MIN - 1):
        breaker.heard(START, works=False)
    breaker.heard(START + WINDOW_MS, works=False)
    assert breaker.state is State.CLOSED
    for _ in range(CALLS_MIN - 2):
        breaker.heard(START + WINDOW_MS, works=False)
    breaker.heard(START + WINDOW_MS + WINDOW_MS // 2, works=False)
    assert breaker.state is State.PROBING, "the half before still counts"


def test_a_call_that_never_went_out_tells_nothing(breaker: Breaker) -> None:
    """It waited behind others that were answered: the participant is busy."""
    breaker.heard(START - 50, works=True)
    for _ in range(2 * CALLS_MIN):
        breaker.missed(START, since=START - 100, was_out=False)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("heard_at", [None, START - 101])
def test_unless_nothing_was_heard_all_that_time(heard_at: int | None) -> None:
    """Its credits are all taken by calls that hang."""
    breaker = Breaker()
    breaker.attached(START - 200)
    if heard_at is not None:
        breaker.heard(heard_at, works=True)
        breaker.heard(heard_at, works=True, is_late=True)
    for _ in range(CALLS_MIN + 1):
        breaker.missed(START, since=START - 100, was_out=False)
    assert breaker.state is State.PROBING


# ---- Probes -----------------------------------------------------------------------


def test_v4_probes_are_few(breaker: Breaker) -> None:
    """V4: at most five a second of one node."""
    failing(breaker)
    assert len(probes(breaker, START + 10_000)) == 10 * PROBES_PER_SECOND


@pytest.mark.parametrize("nodes", [2, 3, 5, 40])
def test_v4_nodes_share_the_probes(breaker: Breaker, nodes: int) -> None:
    """V4: all nodes of the cluster together send at most five a second."""
    failing(breaker)
    sent = len(probes(breaker, START + 60_000, nodes=nodes))
    assert 0 < sent * nodes <= 60 * PROBES_PER_SECOND + nodes


def test_probes_close_it(breaker: Breaker) -> None:
    """Some in a row, each right after the one before has succeeded."""
    failing(breaker)
    for _ in range(PROBES_TO_CLOSE - 1):
        assert breaker.take_probe(START, nodes=5)
        assert not breaker.heard(START, works=True)
    assert breaker.take_probe(START, nodes=5)
    assert breaker.heard(START, works=True), "it is back"
    assert breaker.state is State.CLOSED


def test_a_failed_probe_begins_the_row_anew(breaker: Breaker) -> None:
    """Whether it was answered or not; a call that never went out was no probe."""
    failing(breaker)
    for spoil in (
        lambda: breaker.heard(START, works=False),
        lambda: breaker.missed(START, since=START, was_out=True),
    ):
        for _ in range(PROBES_TO_CLOSE - 1):
            breaker.heard(START, works=True)
        spoil()
        breaker.heard(START, works=True)
        assert breaker.state is State.PROBING
        spoil()
    for _ in range(PROBES_TO_CLOSE - 1):
        breaker.heard(START, works=True)
    breaker.missed(START, since=START, was_out=False)
    assert breaker.heard(START, works=True)


def test_late_answers_are_no_probes(breaker: Breaker) -> None:
    """One that is too slow for every call answers them all in the end."""
    failing(breaker)
    for _ in range(2 * PROBES_TO_CLOSE):
        assert not breaker.heard(START, works=True, is_late=True)
    assert breaker.state is State.PROBING


# ---- Silence ----------------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, CALLS_MIN])
def test_speaking_after_a_silence_is_a_return(breaker: Breaker, calls: int) -> None:
    """V8: it hung, with its session open, and goes on: also with what came too late."""
    for _ in range(calls):
        breaker.missed(START, since=START - 10, was_out=True)
    back = START + SILENT_MS
    assert breaker.heard(back, works=True, is_late=True)
    assert breaker.state is State.CLOSED
    assert not breaker.heard(back, works=True)


def test_a_short_silence_is_none(breaker: Breaker) -> None:
    """One slow answer is no return, nor is an answer after nobody asked."""
    breaker.missed(START, since=START - 10, was_out=True)
    breaker.missed(START + 10, since=START, was_out=True)
    assert not breaker.heard(START + SILENT_MS - 1, works=True)
    assert not breaker.heard(START + 9 * SILENT_MS, works=True)


def test_a_failure_after_a_silence_closes_nothing(breaker: Breaker) -> None:
    """It speaks, and says that it cannot work."""
    for _ in range(CALLS_MIN):
        breaker.missed(START, since=START - 10, was_out=True)
    assert not breaker.heard(START + SILENT_MS, works=False)
    assert breaker.state is State.PROBING


def test_a_silence_ends_with_the_link(breaker: Breaker) -> None:
    """The new link is the return."""
    breaker.missed(START, since=START - 10, was_out=True)
    breaker.detached()
    breaker.attached(START + SILENT_MS)
    assert not breaker.heard(START + SILENT_MS, works=True)


# ---- Retries ----------------------------------------------------------------------


def test_v4_a_failing_participant_gets_a_tenth_more(breaker: Breaker) -> None:
    """V4: half of the calls fail; retries are 10 % of first calls and the floor."""
    ill(breaker)
    turns(breaker, START)
    firsts = retries = 0
    for now in range(START, START + 60_000, 10):
        breaker.first_calls(1)
        firsts += 1
        breaker.heard(now, works=firsts % 2 == 0)
        retries += turns(breaker, now)
    assert retries <= BUDGET_SHARE * firsts + 60
    assert retries >= BUDGET_SHARE * firsts - 1


def test_v4_a_lonely_retry_is_not_starved(breaker: Breaker) -> None:
    """V4: one a second goes out without any first call, and none is saved up."""
    now = START
    for _ in range(10):
        ill(breaker, now)
        turns(breaker, now)
        now += 1_000
        assert turns(breaker, now) == 1
    now += 4_000
    assert turns(breaker, now, has_room=False) == 1


def test_v4_turns_are_saved_up_to_a_limit(breaker: Breaker) -> None:
    """V4: a long good time is no licence for a burst."""
    for _ in range(100_000):
        breaker.first_calls(1)
    ill(breaker)
    assert turns(breaker, START) == BUDGET_MAX


def test_v5_a_return_begins_slowly(breaker: Breaker) -> None:
    """V5: 100 in the first second, twice as many in each that follows."""
    taken = []
    for second in range(4):
        begin = START + 1_000 * second
        taken.append(sum(turns(breaker, t) for t in range(begin, begin + 1_000, 50)))
    assert taken[0] < 2 * RAMP_FIRST
    for before, after in pairwise(taken):
        assert 1.7 * before < after < 2.3 * before


def test_v5_a_crowd_is_through_soon(breaker: Breaker) -> None:
    """V5: 100,000 who wait have all been asked within 20 s."""
    waiting, now = 100_000, START
    while waiting > 0:
        now += 50
        count = turns(breaker, now)
        assert count <= RAMP_MAX / 10 + 1
        waiting -= count
    assert now - START < 20_000


def test_nobody_is_asked_who_would_only_queue(breaker: Breaker) -> None:
    """The ramp needs free credit; the budget does not, so that nobody is starved."""
    assert turns(breaker, START, has_room=False) == 1
    assert turns(breaker, START) == floor(RAMP_FIRST / 10)


def test_v5_failures_end_the_ramp(breaker: Breaker) -> None:
    """V5: it begins anew, slowly, when they are over."""
    assert sum(turns(breaker, t) for t in range(START, START + 5_000, 50)) > 2_000
    at = START + 5_000
    ill(breaker, at)
    assert turns(breaker, at) <= 1
    well = at + WINDOW_MS
    assert turns(breaker, well) <= RAMP_FIRST / 10 + 1
    assert turns(breaker, well + 50) <= RAMP_FIRST / 10


def test_a_return_makes_all_failures_forgotten(breaker: Breaker) -> None:
    """The next process of the participant is judged by itself."""
    failing(breaker)
    breaker.detached()
    breaker.attached(START)
    assert breaker.state is State.CLOSED
    assert turns(breaker, START) > 1
