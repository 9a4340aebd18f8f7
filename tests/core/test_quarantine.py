"""Promises of a quarantine, and of the trial that ends it (V6)."""

import pytest
from msgspec.structs import replace

from coordinator.core.changed import changed
from coordinator.core.events import AttentionRaised, RetryRequested, TrialSurvived
from coordinator.core.evolution import evolve
from coordinator.core.inputs import (
    BranchReplied,
    Input,
    Observe,
    Succeeded,
    Survived,
    Woken,
)
from coordinator.core.model import GlobalTransaction
from coordinator.core.quarantine import (
    NOBODY,
    QUARANTINE_MS,
    QUARANTINE_MS_MAX,
    hold,
    is_on_trial,
    is_quarantined,
    owner_after,
    proves_survival,
    takeovers_after,
    trial_at,
)
from coordinator.core.sweep import OWNERS_LOST_MAX
from coordinator.core.words import Phase, Status
from tests.core.world import tcc_request

NOW = 1_700_000_000_000
MINUTE = 60_000
PLAIN = GlobalTransaction(tcc_request(), Status.TRYING, owner="n-dead")


def held(tx: GlobalTransaction = PLAIN, now: int = NOW) -> GlobalTransaction:
    """As the sweeper stores it."""
    return changed(evolve(tx, hold(tx, now)), owner=NOBODY)


def on_trial(tx: GlobalTransaction, node_id: str = "n-1") -> GlobalTransaction:
    """As a claim leaves it."""
    return replace(tx, owner=node_id)


def test_a_person_is_told_how_long_it_is_held_and_what_to_do() -> None:
    """V6: how many died, when it is tried again, and what lets it go on before."""
    assert held().attention_reason == (
        "QUARANTINED: 3 nodes in a row died while they drove this transaction; one"
        " tries it again by itself at 2023-11-14T22:23:20.000Z. Look for its gid in"
        " their logs and remove the cause. To let it go on sooner: tercet tx retry GID"
        " --reason WHY"
    )
    assert held().attention_since == NOW


def test_each_death_doubles_the_hold_up_to_an_hour() -> None:
    """V6: what kills for sure costs one node an hour."""
    holds, tx = [], held()
    for _ in range(5):
        holds.append((trial_at(tx) or 0) - NOW)
        tx = held(on_trial(tx))
    assert holds == [minutes * MINUTE for minutes in (10, 20, 40, 60, 60)]
    assert (holds[0], holds[-1]) == (QUARANTINE_MS, QUARANTINE_MS_MAX)
    assert tx.attention_reason.startswith("QUARANTINED: 8 nodes in a row died")


@pytest.mark.parametrize("now", [0, 1, 999, NOW + 1, 4_000_000_000_000])
def test_the_time_that_is_told_is_the_time_that_counts(now: int) -> None:
    """V6: to the millisecond."""
    assert trial_at(held(now=now)) == now + QUARANTINE_MS


def test_what_an_operator_holds_as_well_is_not_tried() -> None:
    """V6: a trial in which nobody is called proves nothing."""
    assert trial_at(replace(held(), paused_at=NOW)) is None
    assert trial_at(PLAIN) is None


def test_after_its_end_a_quarantine_begins_anew() -> None:
    """V6: three deaths, and ten minutes."""
    before = replace(on_trial(held(on_trial(held()))), attention_since=None)
    assert trial_at(held(before)) == NOW + QUARANTINE_MS
    assert "3 nodes" in held(before).attention_reason


QUARANTINED = held().attention_reason
OTHER = "CONFIRM of branch a failed 10 times: QUARANTINED: no"


@pytest.mark.parametrize(
    ("since", "reason", "owner", "is_held", "is_tried"),
    [
        (NOW, QUARANTINED, NOBODY, True, False),
        (0, QUARANTINED, NOBODY, True, False),
        (NOW, QUARANTINED, "n-1", False, True),
        (None, QUARANTINED, NOBODY, False, False),
        (None, QUARANTINED, "n-1", False, False),
        (NOW, OTHER, NOBODY, False, False),
        (NOW, OTHER, "n-1", False, False),
        (NOW, "QUARANTINED: an output of 9 bytes, more than 8", "n-1", False, False),
    ],
)
def test_quarantine_is_a_kind_of_attention(
    since: int | None, reason: str, owner: str, *, is_held: bool, is_tried: bool
) -> None:
    """V6: held as long as nobody owns it, on trial when somebody does. In both one
    death more is one too many, and who only writes does not drive it.
    """
    tx = replace(PLAIN, attention_since=since, attention_reason=reason, owner=owner)
    assert (is_quarantined(tx), is_on_trial(tx)) == (is_held, is_tried)
    one_too_many = OWNERS_LOST_MAX - 1
    assert takeovers_after(tx) == one_too_many * (is_held or is_tried)
    assert owner_after(tx, "n-2") == (owner if is_held or is_tried else "n-2")


ANSWER = BranchReplied("a", Phase.TRY, 1, Succeeded())
REPORT = BranchReplied("a", Phase.TRY, 0, Succeeded())


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (ANSWER, True),
        (REPORT, False),
        (Survived("n-1"), True),
        (Survived("n-2"), False),
        (Survived(NOBODY), False),
        (Woken(), False),
        (Observe(wait=True), False),
    ],
)
def test_an_answer_or_time_proves_survival(what: Input, *, expected: bool) -> None:
    """V6: not what others report or ask, nor what the clock says, nor another node's
    life.
    """
    assert proves_survival(what, on_trial(held())) is expected
    assert not proves_survival(what, held())
    assert not proves_survival(what, PLAIN)


STUCK = AttentionRaised("step pay: no such value; resolve the branch by hand", NOW + 9)


def test_what_else_calls_a_person_outlives_the_quarantine() -> None:
    """S6, V6: whether it was there before or came meanwhile; the later one counts."""
    before = held(evolve(PLAIN, replace(STUCK, at=5)))
    meanwhile = evolve(evolve(held(), AttentionRaised("odd at 1Z.", NOW)), STUCK)
    again = held(on_trial(meanwhile))
    for tx, since in ((before, 5), (meanwhile, NOW), (again, NOW)):
        assert is_quarantined(tx)
        assert tx.attention_reason.endswith(f"--reason WHY. Besides: {STUCK.reason}")
        for end in (TrialSurvived(NOW), RetryRequested("ann", "go", NOW)):
            after = evolve(on_trial(tx), end)
            assert (after.attention_since, after.attention_reason) == (
                since,
                STUCK.reason,
            )
    assert evolve(PLAIN, RetryRequested("ann", "go", NOW)).attention_since is None
    assert trial_at(meanwhile) == NOW + QUARANTINE_MS
    assert trial_at(again) == NOW + 2 * QUARANTINE_MS
