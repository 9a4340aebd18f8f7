"""Promises of a TCC transaction at its limits, and between two of its branches."""

from typing import get_args

import pytest
from msgspec.structs import replace

from coordinator.core import tcc
from coordinator.core.errors import InvalidRequest, PreconditionFailed
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Cancel,
    Confirm,
    Outcome,
    Pending,
    Register,
    Signal,
    Try,
    Unknown,
    Woken,
)
from coordinator.core.machine import is_ready
from coordinator.core.words import Phase, Status
from tests.core.world import DEADLINE, Play, spec, tcc_request


@pytest.fixture
def play() -> Play:
    """Two branches, one of them tried."""
    made = Play.begin(Begin(tcc_request(), (spec("a"), spec("b"))))
    made.answer("a")
    return made


def test_every_outcome_means_something() -> None:
    """None is forgotten in the table that they are looked up in."""
    assert tcc._ANSWERED.keys() == set(get_args(Outcome))
    assert tcc._AFTER_SUCCESS.keys() == set(Phase) - {Phase.COMPENSATION}


def test_limits_are_those_that_were_promised() -> None:
    """They stand in the documentation and in operators' alarms (T14)."""
    assert (tcc.BRANCH_MAX, tcc.NESTING_DEPTH_MAX) == (1_000, 8)
    assert (tcc.ATTENTION_AFTER, tcc.PENDING_POLL_MS) == (10, 10_000)
    assert (tcc.CHECK_BACK_TIMEOUT_MS, tcc.CHECK_BACK_ATTEMPT_MAX) == (3_000, 10)
    assert tcc.CHECK_BACK_PENDING_MS == 600_000


def test_declared_transaction_without_tries_is_confirmed_at_once() -> None:
    """Every one of its tries has succeeded."""
    assert Play.begin(Begin(tcc_request(declared=True))).tx.status is Status.CONFIRMED


def test_one_open_try_keeps_a_confirm_waiting(play: Play) -> None:
    """However many others are done (T2)."""
    assert not is_ready(play.tx)
    play.happen(Confirm())
    assert play.tx.status is Status.TRYING


def test_time_decides_about_what_is_undecided_and_was_not_asked_about() -> None:
    """Whoever was decided for, or whose initiator is asked, has no deadline (T13)."""
    request = tcc_request(check_back="shop.ask")
    play = Play.begin(Begin(request, (spec("a"),)))
    assert tcc.decides_at(play.tx) == DEADLINE
    play.answer("a")
    asked_back, decided = Play(play.tx, now=DEADLINE), Play(play.tx)
    asked_back.happen(Woken())
    decided.happen(Confirm())

    assert tcc.decides_at(asked_back.tx) is None
    assert tcc.decides_at(decided.tx) is None


def test_one_open_try_forbids_the_question() -> None:
    """At the deadline the initiator is asked only when a commit is possible (T9)."""
    request = tcc_request(check_back="shop.ask")
    play = Play.begin(Begin(request, (spec("a"), spec("b"))))
    play.answer("a")
    play.now = DEADLINE
    play.happen(Woken())

    assert (play.tx.status, play.tx.reason_code) == (Status.CANCELLING, "DEADLINE")


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("a", "registered but not listed: b; listed but not registered: none"),
        ("abcd", "registered but not listed: none; listed but not registered: c, d"),
        ("c", "registered but not listed: a, b; listed but not registered: c"),
    ],
)
def test_difference_of_the_lists_is_told(play: Play, listed: str, told: str) -> None:
    """Both ways, in order, so that a person sees what to do (T2)."""
    play.answer("b")
    with pytest.raises(PreconditionFailed) as refusal:
        play.happen(Confirm(frozenset(listed)))

    assert told in str(refusal.value)


def test_shortest_pending_deadline_is_kept(play: Play) -> None:
    """One millisecond is a time too; none at all is none."""
    short = replace(spec("c"), pending_timeout_ms=1)
    play.happen(Try((short,)))
    play.answer("c", Pending(500))
    play.answer("b", Pending(500))
    assert play.branch("c").due_at == 1
    assert play.branch("b").due_at == 500
    play.now = 1
    play.happen(Woken())

    assert play.tx.reason_code == "PENDING_TIMEOUT"
    assert play.tx.reason_text == "c was pending for 1 ms"


def test_pending_deadline_counts_from_the_first_answer(play: Play) -> None:
    """Saying so again does not prolong it."""
    play.happen(Try((replace(spec("c"), pending_timeout_ms=700),)))
    play.answer("c", Pending(300))
    play.now = 300
    play.answer("c", Pending(900))

    assert play.branch("c").due_at == 700


def test_failure_told_from_outside_counts(play: Play) -> None:
    """Attempt 0: not the called connection says it, but it is said of this call."""
    play.happen(BranchReplied("b", Phase.TRY, 0, Unknown("X", retry_after_ms=40)))

    assert (play.branch("b").attempts, play.branch("b").due_at) == (1, 40)


@pytest.mark.parametrize("phase", [Phase.TRY, Phase.CONFIRM])
def test_next_attempt_is_later(play: Play, phase: Phase) -> None:
    """By what the participant asked for, or by the policy's interval (V8)."""
    if phase is Phase.CONFIRM:
        play.answer("b")
        play.happen(Confirm())
    play.now = 1_000
    play.answer("b", Unknown("X", retry_after_ms=40))
    assert play.branch("b").due_at == 1_040
    play.answer("b", Unknown("X"))
    assert 1_000 <= (play.branch("b").due_at or 0) <= 1_400


def test_direct_branches_do_not_keep_a_declared_one_from_being_listed() -> None:
    """A registered branch is the initiator's to vouch for, by its list (T2)."""
    play = Play.begin(Begin(tcc_request(declared=True), (spec("a"),)))
    play.happen(Register((spec("b"),)))
    play.answer("a")
    assert play.tx.status is Status.TRYING
    play.happen(Confirm(frozenset("ab")))

    assert play.tx.status is Status.CONFIRMING


def test_late_branch_is_told_why_it_cannot_join() -> None:
    """The decision's reason where there is one, else the decision itself (T3)."""

    def told(play: Play) -> str:
        with pytest.raises(PreconditionFailed) as refusal:
            play.happen(Try((spec("late"),)))
        return str(refusal.value)

    cancelled = Play.begin(Begin(tcc_request()))
    cancelled.happen(Cancel("CHANGED_MIND"))
    assert "(CHANGED_MIND)" in told(cancelled)
    confirmed = Play.begin(Begin(tcc_request()))
    confirmed.happen(Confirm())
    assert "(COMMIT)" in told(confirmed)
    asked = Play.begin(Begin(tcc_request(check_back="shop.ask")))
    asked.now = DEADLINE
    asked.happen(Woken())
    assert "past its deadline, its initiator is being asked" in told(asked)


def test_signal_is_for_sagas() -> None:
    """A TCC transaction awaits nothing by name."""
    play = Play.begin(Begin(tcc_request(), (spec("a"),)))

    with pytest.raises(InvalidRequest, match="awaits no signals"):
        play.happen(Signal("go"))
