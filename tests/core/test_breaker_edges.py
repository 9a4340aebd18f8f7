"""The figures that a breaker promises, each at its edge (V4, V5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.breaker import Breaker, State

START = 1_000_000
"""An instant of the monotonic clock at which a half of the window begins."""

HALF = 5_000


@pytest.fixture
def breaker() -> Breaker:
    """Of a participant that has just got its first link."""
    made = Breaker()
    made.attached(START)
    return made


def hear(breaker: Breaker, at: int, *, well: int = 0, failed: int = 0) -> None:
    """So many calls were answered at this instant."""
    for _ in range(well):
        breaker.heard(at, works=True)
    for _ in range(failed):
        breaker.heard(at, works=False)


def turns(breaker: Breaker, at: int, *, has_room: bool = True) -> int:
    """How many retries may go out at this instant."""
    count = 0
    while breaker.take_turn(at, has_room=has_room):
        count += 1
    return count


# ---- The window -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "state"), [(19, State.CLOSED), (20, State.PROBING), (21, State.PROBING)]
)
def test_twenty_outcomes_are_enough(breaker: Breaker, calls: int, state: State) -> None:
    """Fewer harm nobody, and a few failures in a row are bad luck."""
    hear(breaker, START, failed=calls)
    assert breaker.state is state


@pytest.mark.parametrize(
    ("later", "state"),
    [
        (HALF - 1, State.PROBING),
        (HALF, State.PROBING),
        (2 * HALF - 1, State.PROBING),
        (2 * HALF, State.CLOSED),
        (4 * HALF, State.CLOSED),
    ],
)
def test_what_began_a_half_counts_until_the_next_one_is_over(
    breaker: Breaker, later: int, state: State
) -> None:
    """Outcomes of ten seconds ago tell nothing, and those a millisecond younger do."""
    hear(breaker, START, failed=19)
    hear(breaker, START + later, failed=1)
    assert breaker.state is state


def test_the_end_of_a_half_counts_for_five_seconds(breaker: Breaker) -> None:
    """A half is forgotten as a whole."""
    hear(breaker, START + HALF - 1, failed=19)
    hear(breaker, START + 2 * HALF, failed=1)
    assert breaker.state is State.CLOSED


def test_outcomes_count_from_the_first_instant_of_the_clock() -> None:
    """A machine may have been started just now; nothing is there before it."""
    breaker = Breaker()
    breaker.attached(0)
    hear(breaker, 0, failed=19)
    assert breaker.state is State.CLOSED
    hear(breaker, 0, failed=1)
    assert breaker.state is State.PROBING


@pytest.mark.parametrize(
    ("well", "state"), [(0, State.PROBING), (19, State.PROBING), (20, State.CLOSED)]
)
def test_more_than_nineteen_in_twenty_have_to_fail(
    breaker: Breaker, well: int, state: State
) -> None:
    """Else the others of its operations go on."""
    hear(breaker, START, well=well, failed=379)
    hear(breaker, START, failed=1)
    assert breaker.state is state


def test_who_answered_before_its_first_link_is_judged_like_others() -> None:
    """An answer can come from a link that ends at that moment."""
    breaker = Breaker()
    hear(breaker, START, failed=20)
    assert breaker.state is State.OPEN
    assert breaker.take_probe(0, nodes=1)


# ---- Silence ----------------------------------------------------------------------


@pytest.mark.parametrize(("for_ms", "is_back"), [(4_999, False), (5_000, True)])
def test_five_seconds_without_an_answer_are_a_silence(
    breaker: Breaker, for_ms: int, *, is_back: bool
) -> None:
    """Counted from the first call whose time was up."""
    breaker.missed(START, since=START - 100, was_out=True)
    breaker.missed(START + 3_000, since=START, was_out=True)
    assert breaker.heard(START + for_ms, works=True) is is_back


def test_a_call_that_never_went_out_begins_no_silence(breaker: Breaker) -> None:
    """The participant was not asked."""
    breaker.missed(START, since=START - 100, was_out=False)
    assert not breaker.heard(START + 5_000, works=True)


@pytest.mark.parametrize(("since", "state"), [(0, State.CLOSED), (1, State.PROBING)])
def test_an_answer_at_the_instant_of_the_question_was_heard_in_time(
    breaker: Breaker, since: int, state: State
) -> None:
    """Only who was silent all the while fails by a call that never went out."""
    breaker.heard(START, works=True, is_late=True)
    for _ in range(20):
        breaker.missed(START + 100, since=START + since, was_out=False)
    assert breaker.state is state


# ---- Probes -----------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "every"), [(0, 200), (1, 200), (2, 400), (3, 600)])
def test_all_nodes_together_probe_five_times_a_second(
    breaker: Breaker, nodes: int, every: int
) -> None:
    """A node that does not know of itself yet counts as one."""
    hear(breaker, START, failed=20)
    assert breaker.take_probe(START, nodes=nodes)
    assert not breaker.take_probe(START + every - 1, nodes=nodes)
    assert breaker.take_probe(START + every, nodes=nodes)


def test_three_good_probes_in_a_row_close_it(breaker: Breaker) -> None:
    """Two do not; and those of an earlier trouble are forgotten."""
    hear(breaker, START, failed=20)
    hear(breaker, START, well=2)
    assert breaker.state is State.PROBING
    assert breaker.heard(START, works=True)
    assert breaker.state is State.CLOSED

    hear(breaker, START, failed=20)
    hear(breaker, START, well=2)
    assert breaker.state is State.PROBING


def test_a_failed_probe_takes_exactly_the_good_ones_before_it(
    breaker: Breaker,
) -> None:
    """Three are needed after it, no more and no less."""
    hear(breaker, START, failed=20)
    hear(breaker, START, well=2, failed=1)
    hear(breaker, START, well=2)
    assert breaker.state is State.PROBING
    hear(breaker, START, well=1)
    assert breaker.state is State.CLOSED


def test_the_first_probe_of_a_trouble_goes_at_once(breaker: Breaker) -> None:
    """However long the last one of an earlier trouble would have kept it waiting."""
    hear(breaker, START, failed=20)
    assert breaker.take_probe(START, nodes=1_000)
    breaker.missed(START, since=START - 100, was_out=True)
    breaker.heard(START + 5_000, works=True)
    assert breaker.state is State.CLOSED
    hear(breaker, START + 5_000, failed=20)
    assert breaker.take_probe(START + 5_000, nodes=1)


# ---- Budget and ramp --------------------------------------------------------------


def test_a_new_participant_has_one_turn_before_its_link() -> None:
    """And no ramp: there is nothing that it has returned from."""
    breaker = Breaker()
    hear(breaker, 0, well=18, failed=3)
    assert turns(breaker, 0) == 1


def test_ten_first_calls_make_a_retry(breaker: Breaker) -> None:
    """While it is ill; nine do not."""
    hear(breaker, START, well=10, failed=10)
    turns(breaker, START)
    breaker.first_calls(9)
    assert turns(breaker, START) == 0
    breaker.first_calls(1)
    breaker.first_calls(1)
    assert turns(breaker, START) == 1


def test_fifty_turns_are_saved(breaker: Breaker) -> None:
    """However many first calls there were."""
    breaker.first_calls(1_000)
    hear(breaker, START, well=10, failed=10)
    assert turns(breaker, START) == 50


@pytest.mark.parametrize(("failed", "is_ill"), [(2, False), (3, True)])
def test_more_than_a_tenth_of_failures_is_an_illness(
    breaker: Breaker, failed: int, *, is_ill: bool
) -> None:
    """Of twenty calls two may fail."""
    hear(breaker, START, well=20 - failed, failed=failed)
    assert turns(breaker, START) == (1 if is_ill else 11)


def test_who_is_ill_gets_a_turn_a_second_exactly(breaker: Breaker) -> None:
    """Nine tenths of a second are too short."""
    hear(breaker, START, well=10, failed=10)
    turns(breaker, START)
    assert turns(breaker, START + 900) == 0
    assert turns(breaker, START + 1_000) == 1


def test_a_ramp_begins_with_the_turns_of_a_tenth_of_a_second(breaker: Breaker) -> None:
    """A hundred a second at first, so ten, and the one of the budget."""
    assert turns(breaker, START) == 11


@pytest.mark.parametrize(("second", "rate"), [(1, 200), (3, 800), (6, 6_400)])
def test_a_ramp_doubles_each_second(breaker: Breaker, second: int, rate: int) -> None:
    """So many are taken in twentieths around the end of that second."""
    now = START + 1_000 * second
    turns(breaker, now - 50)
    assert turns(breaker, now, has_room=True) == pytest.approx(rate / 20, abs=2)


def test_no_ramp_is_steeper_than_ten_thousand_a_second(breaker: Breaker) -> None:
    """A tenth of it is taken at once after a pause, whatever the pause was."""
    turns(breaker, START + 60_000)
    assert turns(breaker, START + 60_050) == 500
    assert turns(breaker, START + 120_000) == 1_001


def test_a_return_begins_its_ramp_anew(breaker: Breaker) -> None:
    """Those who waited for it are many again."""
    turns(breaker, START + 60_000)
    breaker.detached()
    breaker.attached(START + 60_000)
    assert turns(breaker, START + 60_000) == 10
    assert turns(breaker, START + 60_050) == pytest.approx(5, abs=1)


def test_a_ramp_begins_when_the_failures_are_too_old_to_count(
    breaker: Breaker,
) -> None:
    """At that very look, with the turns that any ramp begins with."""
    hear(breaker, START, well=10, failed=10)
    turns(breaker, START)
    assert turns(breaker, START + 2 * HALF - 1) == 1
    assert turns(breaker, START + 2 * HALF) == 10


def test_a_short_illness_of_long_ago_is_forgotten(breaker: Breaker) -> None:
    """Three failures beside nineteen calls of now would be one."""
    hear(breaker, START, failed=3)
    hear(breaker, START + 20 * HALF, well=19)
    assert turns(breaker, START + 20 * HALF) > 11


# ---- Many answers at once ---------------------------------------------------------

HAPPENING = st.tuples(
    st.sampled_from(("works", "fails", "is late", "is missed", "passes")),
    st.integers(1, 40),
)


@given(st.lists(HAPPENING, max_size=30), st.integers(1, 60))
def test_many_answers_at_once_are_as_many_one_by_one(
    before: list[tuple[str, int]], answers: int
) -> None:
    """Whatever came before; where anything else follows from them, nothing is done."""
    at_once, one_by_one = Breaker(), Breaker()
    now = START
    for one in (at_once, one_by_one):
        one.attached(now)
    for what, count in before:
        now += 300 * count if what == "passes" else 0
        for one in (at_once, one_by_one):
            for _ in range(count):
                if what in ("works", "fails", "is late"):
                    one.heard(now, works=what == "works", is_late=what == "is late")
                elif what == "is missed":
                    one.missed(now, since=now - 100, was_out=True)

    if at_once.goes_on_well(now, answers):
        hear(one_by_one, now, well=answers)
    for one in (at_once, one_by_one):
        assert one.state is one_by_one.state
    for later in (0, HALF, 2 * HALF, 4 * HALF):
        assert at_once.heard(now + later, works=False) == one_by_one.heard(
            now + later, works=False
        )
        assert at_once.state is one_by_one.state
        assert turns(at_once, now + later) == turns(one_by_one, now + later)


@pytest.mark.parametrize(("failed", "goes_on"), [(19, True), (20, False)])
def test_answers_are_looked_at_singly_where_nearly_all_fail(
    breaker: Breaker, failed: int, *, goes_on: bool
) -> None:
    """What went well before leaves the window: of what is left all failed."""
    hear(breaker, START, well=100)
    hear(breaker, START + HALF, failed=failed)
    assert breaker.goes_on_well(START + 2 * HALF, 1) is goes_on
    assert breaker.state is State.CLOSED


def test_answers_are_looked_at_singly_after_a_time_out(breaker: Breaker) -> None:
    """It may have been silent; after one of them it was not."""
    breaker.missed(START, since=START - 100, was_out=True)
    assert not breaker.goes_on_well(START, 1)
    hear(breaker, START, well=1)
    assert breaker.goes_on_well(START, 1)


def test_answers_are_looked_at_singly_while_it_is_probed(breaker: Breaker) -> None:
    """They may end that."""
    hear(breaker, START, failed=20)
    assert not breaker.goes_on_well(START, 1)


def test_many_answers_at_once_end_a_silence(breaker: Breaker) -> None:
    """A call whose time was up before it went out then tells nothing."""
    hear(breaker, START, failed=19)
    assert breaker.goes_on_well(START + 1, 1)
    breaker.missed(START + 2, since=START + 1, was_out=False)
    assert breaker.state is State.CLOSED
