"""Promises to whoever waits for a participant that comes back (V8)."""

import pytest
from msgspec.structs import replace

from coordinator.core import machine, recovery
from coordinator.core.backoff import FORWARD, PHASE_TWO, RetryPolicy
from coordinator.core.inputs import (
    Begin,
    Cancel,
    Confirm,
    Pause,
    Pending,
    Submit,
    Try,
    Unknown,
)
from coordinator.core.model import (
    Branch,
    GlobalTransaction,
    Key,
)
from coordinator.core.recovery import HASTE_MS, NOBODY, Recovery, Return
from coordinator.core.words import BranchStatus
from tests.core.world import (
    Play,
    definition,
    saga_request,
    spec,
    step,
    tcc_request,
)

BACK = 1_000_000
"""When the participant returns, in most tests."""
FAR = BACK + PHASE_TWO.interval_max_ms


def waiting(due_at: int = FAR, **changes: object) -> GlobalTransaction:
    """A transaction whose confirm of ``a`` at the bank failed often."""
    play = Play.begin(Begin(tcc_request()))
    play.happen(Try((spec("a"),)))
    play.answer("a")
    play.happen(Confirm())
    branch = replace(play.branch("a"), attempts=20, due_at=due_at, **changes)
    return replace(play.tx, branches={"a": branch})


def known(participant: str = "bank", at: int = BACK, **asked: int) -> Recovery:
    return Recovery({participant: Return(at, 5, HASTE_MS)}, asked)


def ask_at(tx: GlobalTransaction, what: Recovery, branch_id: str = "a") -> int | None:
    return recovery.ask_at(tx, tx.branches[branch_id], what)


def renamed(tx: GlobalTransaction, gid: str) -> GlobalTransaction:
    return replace(tx, request=replace(tx.request, key=Key("default", gid)))


def test_who_waits_is_asked_within_the_bound() -> None:
    """At most 5 s after the return, however long it would have waited."""
    assert HASTE_MS == 4_000
    for number in range(200):
        tx = renamed(waiting(), f"g-{number}")
        assert BACK <= ask_at(tx, known()) <= BACK + HASTE_MS


def test_a_crowd_does_not_come_back_together() -> None:
    """Spread evenly over the whole time, by gid and branch and nothing else."""
    times = [ask_at(renamed(waiting(), f"g-{n}"), known()) for n in range(4_000)]
    tenths = [0] * 10
    for at in times:
        tenths[min(9, (at - BACK) * 10 // HASTE_MS)] += 1
    assert min(tenths) > 300
    assert max(tenths) < 500


def test_the_instant_is_computed_and_never_drawn() -> None:
    """Every node and every replay gets the same; each branch its own."""
    tx = waiting()
    assert ask_at(tx, known()) == BACK + 2_092
    other = replace(tx.branches["a"], spec=spec("b"))
    assert recovery.ask_at(tx, other, known()) != ask_at(tx, known())


def test_nobody_is_asked_later_than_without_a_return() -> None:
    """What is due sooner by itself stays so."""
    assert ask_at(waiting(due_at=BACK + 1), known()) == BACK + 1
    assert ask_at(waiting(due_at=BACK - 1), known()) == BACK - 1


def test_nothing_to_ask_stays_nothing() -> None:
    """A branch that waits for nothing is not asked."""
    tx = waiting()
    done = replace(tx.branches["a"], due_at=None)
    assert recovery.ask_at(tx, done, known()) is None


@pytest.mark.parametrize(
    "what", [NOBODY, known("shop"), known(a=5), known(a=6)], ids=str
)
def test_only_a_return_that_the_branch_was_not_asked_after_hastens(
    what: Recovery,
) -> None:
    """Another participant's return is none, and each hastens a branch once."""
    assert ask_at(waiting(), what) == FAR


def test_a_later_return_hastens_again() -> None:
    """A branch that was asked after an earlier one only."""
    assert ask_at(waiting(), known(a=4)) == BACK + 2_092


def test_the_very_first_return_hastens_too() -> None:
    """Whoever was never asked after one waits for it."""
    first = Recovery({"bank": Return(BACK, 1, HASTE_MS)})
    assert ask_at(waiting(), first) == BACK + 2_092


def test_a_first_call_waits_for_nobody() -> None:
    """It is due at once, or somebody wants it later."""
    tx = waiting()
    fresh = replace(tx.branches["a"], attempts=0)
    assert recovery.ask_at(tx, fresh, known()) == FAR


def test_a_pending_branch_is_polled_at_its_participants_pace() -> None:
    """The participant works on it, and said when to ask."""
    assert ask_at(waiting(pending_since=BACK - 9), known()) == FAR
    play = Play.begin(Begin(tcc_request()))
    play.happen(Try((spec("a"),)))
    play.answer("a", Unknown("TIMEOUT"))
    play.now = play.branch("a").due_at or 0
    play.answer("a", Pending(25_000))
    assert ask_at(play.tx, known(at=play.now)) == play.now + 25_000


def test_a_wait_that_a_participant_asked_for_is_kept() -> None:
    """It is longer than any back-off, by a millisecond already."""
    assert ask_at(waiting(due_at=FAR + 1), known()) == FAR + 1


SLOW = RetryPolicy(interval_max_ms=90_000)


def saga(*, compensating: bool) -> GlobalTransaction:
    """``pay`` failed as a step, or its compensation did."""
    play = Play.begin(
        Submit(saga_request(), definition(step("pay", retry=SLOW), step("ship")))
    )
    if compensating:
        play.answer("pay")
        play.happen(Cancel())
    branch: Branch = play.branch("pay")
    assert branch.status is (
        BranchStatus.COMPENSATING if compensating else BranchStatus.RUNNING
    )
    late = replace(branch, attempts=9, due_at=BACK + 90_000)
    return replace(play.tx, branches={**play.tx.branches, "pay": late})


def test_a_sagas_step_waits_as_its_author_wants() -> None:
    """An interval of the step's own is no participant's wish."""
    tx = saga(compensating=False)
    assert recovery.longest_wait_ms(tx, tx.branches["pay"]) == 90_000
    assert ask_at(tx, known("pay"), "pay") <= BACK + HASTE_MS


def test_what_a_saga_has_reserved_is_confirmed_at_the_houses_pace() -> None:
    """Its author says how often a step is tried, not how often it is confirmed."""
    tx = saga(compensating=False)
    reserved = replace(tx.branches["pay"], status=BranchStatus.CONFIRMING)
    assert recovery.longest_wait_ms(tx, reserved) == PHASE_TWO.interval_max_ms


def test_a_compensation_waits_for_who_carries_it_out() -> None:
    """Its own operation's participant, by its own policy."""
    tx = saga(compensating=True)
    assert recovery.longest_wait_ms(tx, tx.branches["pay"]) == 30_000
    assert ask_at(tx, known("pay"), "pay") == BACK + 90_000, "longer than the policy"
    (call,) = tx.definition.by_id["pay"].calls
    undo = replace(
        call.compensation,
        operation="desk.undo",
        retry=replace(PHASE_TWO, interval_max_ms=90_000),
    )
    other = replace(step("pay"), calls=(replace(call, compensation=undo),))
    tx = replace(tx, definition=definition(other, step("ship")))
    assert ask_at(tx, known("pay"), "pay") == BACK + 90_000
    assert ask_at(tx, known("desk"), "pay") <= BACK + HASTE_MS


def test_a_step_without_compensation_is_asked_for_itself() -> None:
    """Also while the rest of its saga turns back."""
    tx = saga(compensating=True)
    bare = replace(tx, definition=definition(step("pay", undo=False), step("ship")))
    assert recovery.longest_wait_ms(bare, tx.branches["pay"]) == FORWARD.interval_max_ms


def test_due_and_due_at_agree_with_it() -> None:
    """The timer rings when the call is due, and not before."""
    tx = waiting()
    at = machine.due_at(tx, (), known())
    assert at == ask_at(tx, known())
    assert machine.due(tx, at - 1, known()) == ()
    (call,) = machine.due(tx, at, known())
    assert (call.branch_id, call.attempt) == ("a", 21), "counted as ever"
    assert machine.due(tx, at, known(a=5)) == ()
    assert machine.due_at(tx, (), known(a=5)) == machine.due_at(tx)


def test_a_held_transaction_is_not_hastened() -> None:
    """An operator wants no calls, whoever is back."""
    play = Play(waiting())
    play.happen(Pause("ann", "looks odd"))
    assert machine.due(play.tx, FAR, known()) == ()
    assert machine.due_at(play.tx, (), known()) is None


def test_a_crowd_is_hastened_over_a_longer_time() -> None:
    """Each at its share of the time that the node thinks right."""
    crowd = Recovery({"bank": Return(BACK, 5, 20_000)})
    assert ask_at(waiting(), crowd) == BACK + 10_458
