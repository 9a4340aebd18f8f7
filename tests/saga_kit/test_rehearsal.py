"""One run in memory: production's rules, virtual time, and things that go wrong."""

import pytest

from coordinator.core.words import Phase
from coordinator.saga_kit import (
    End,
    Fault,
    FaultKind,
    Moment,
    Point,
    Scenario,
    broken_rules,
    rehearse,
)
from coordinator.saga_kit.rehearsal import Crashed, Sent
from tests.saga_kit.sagas import CHAIN, INPUT, answers, saga, whole


def run(definition, *faults):
    scenario = Scenario(
        tuple(Fault(Point(branch, moment), kind) for branch, moment, kind in faults)
    )
    result = rehearse(definition, INPUT, answers(definition), scenario)
    assert broken_rules(definition, result) == ()
    return result


def calls(result, phase):
    return [
        entry.call.branch_id
        for entry in result.trace
        if isinstance(entry, Sent) and entry.call.phase is phase
    ]


def test_a_saga_in_which_nothing_goes_wrong_completes():
    """Timers and signals take virtual time only; the output is there."""
    result = run(whole())

    assert result.end is End.COMPLETED
    assert result.tx.output.data == b'{"transfer":"pay-id"}'
    assert 31_000 < result.duration_ms < 32_000
    assert calls(result, Phase.CONFIRM) == [
        "reserve",
        "parts:0:hold",
        "parts:1:hold",
        "parts:2:hold",
    ]


def test_the_same_scenario_gives_the_same_run():
    """Nothing is drawn and no clock is read."""
    fault = ("book", Moment.ACTION, FaultKind.REPLY_LOST)

    first, second = run(whole(), fault), run(whole(), fault)

    assert first.trace == second.trace


@pytest.mark.parametrize("kind", [FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER])
@pytest.mark.parametrize("branch", ["first", "second", "third"])
def test_a_crash_changes_nothing_but_the_number_of_calls(branch, kind):
    """What was not stored is asked again, and what was stored is not."""
    moment = Moment.TRY if branch == "second" else Moment.ACTION
    result = run(saga(CHAIN), (branch, moment, kind))

    assert result.end is End.COMPLETED
    assert sum(isinstance(entry, Crashed) for entry in result.trace) == 1
    forward = calls(result, Phase.ACTION) + calls(result, Phase.TRY)
    again = forward.count(branch) == 2
    # The answers before the last may wait in memory for it.
    assert again or kind is FaultKind.CRASH_AFTER


def test_a_refusal_is_undone_in_reverse():
    """Every step that ran is compensated or cancelled, the last one first."""
    result = run(saga(CHAIN), ("third", Moment.ACTION, FaultKind.REFUSED))

    assert result.end is End.COMPENSATED
    assert result.reason_code == "REFUSED_IN_TEST"
    undone = [
        entry.call.branch_id
        for entry in result.trace
        if isinstance(entry, Sent)
        and entry.call.phase in (Phase.COMPENSATION, Phase.CANCEL)
    ]
    assert undone == ["second", "first"]


@pytest.mark.parametrize(
    ("kind", "has_run"), [(FaultKind.REQUEST_LOST, False), (FaultKind.REPLY_LOST, True)]
)
def test_an_unknown_outcome_is_undone_whether_it_ran_or_not(kind, has_run):
    """A compensation that needs the output gets it from the participant."""
    result = run(saga(CHAIN), ("first", Moment.ACTION, kind))

    assert result.end is End.COMPENSATED
    assert result.reason_code == "ATTEMPTS_USED_UP"
    record = result.participants.records["first"]
    assert record.has_run is has_run
    assert record.is_undone
    asked = [
        entry.call.input.data
        for entry in result.trace
        if isinstance(entry, Sent) and entry.call.phase is Phase.COMPENSATION
    ]
    assert asked == [b"", b'{"was":"first-id"}'][: 1 + has_run]


def test_a_pending_step_is_done_later_or_too_late():
    """Done in time the saga goes on; else it turns back, and undoes what was late."""
    in_time = run(saga(CHAIN), ("first", Moment.ACTION, FaultKind.PENDING))
    late = run(saga(CHAIN), ("first", Moment.ACTION, FaultKind.LATE))

    assert in_time.end is End.COMPLETED
    assert in_time.duration_ms > 7_000
    assert late.end is End.COMPENSATED
    assert late.reason_code == "TIMEOUT"


def test_a_signal_may_come_early_and_may_never_come():
    """An early one is kept; one that never comes turns the saga back."""
    early = run(whole(), ("approve", Moment.SIGNAL, FaultKind.EARLY))
    never = run(whole(), ("approve", Moment.SIGNAL, FaultKind.NEVER))

    assert early.end is End.COMPLETED
    assert never.end is End.COMPENSATED
    assert never.reason_code == "SIGNAL_TIMEOUT"


def test_nobody_turns_a_saga_back_while_its_pivot_is_out():
    """The initiator's cancel is refused, and a coordinator that was away goes on."""
    cancelled = run(whole(), ("pay", Moment.ACTION, FaultKind.CANCEL))
    away = run(whole(), ("pay", Moment.ACTION, FaultKind.DOWN))

    assert cancelled.end is End.COMPLETED
    assert cancelled.wishes_refused == ("PIVOT_IN_FLIGHT",)
    assert away.end is End.COMPLETED


def test_a_coordinator_that_is_away_for_too_long_turns_back():
    """The timeout holds whoever is awake when it passes."""
    result = run(saga(CHAIN), ("second", Moment.TRY, FaultKind.DOWN))

    assert result.end is End.COMPENSATED
    assert result.reason_code == "TIMEOUT"


def test_a_step_after_the_pivot_that_is_refused_calls_a_person_and_goes_on():
    """It is asked again, with the request to reconsider, until it succeeds."""
    result = run(whole(), ("archive", Moment.ACTION, FaultKind.REFUSED))

    assert result.end is End.COMPLETED
    assert calls(result, Phase.ACTION).count("archive") == 2


def test_a_run_that_cannot_end_is_stopped():
    """A compensation whose input can never be made waits for a person."""
    definition = saga(CHAIN)
    fault = Fault(Point("first", Moment.ACTION), FaultKind.REPLY_LOST)

    def answer(_call):
        from coordinator.core.expressions import to_payload

        return to_payload({})

    result = rehearse(definition, INPUT, answer, Scenario((fault,)))

    assert result.end is End.ATTENTION
    assert broken_rules(definition, result) == ()


def test_a_scenario_reads_like_a_sentence():
    """Each fault says where, what and how."""
    fault = Fault(Point("pay", Moment.ACTION), FaultKind.REFUSED)

    assert str(Scenario()) == "nothing goes wrong"
    assert str(Scenario((fault, fault))) == (
        "pay: action is refused; pay: action is refused"
    )


@pytest.mark.parametrize("kind", [FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER])
def test_a_signal_outlives_a_crash(kind):
    """One that was stored is there; one that was not is sent again."""
    result = run(whole(), ("approve", Moment.SIGNAL, kind))

    assert result.end is End.COMPLETED
    assert str(result.scenario).startswith("approve: signal comes, crash ")
