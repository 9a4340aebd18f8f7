"""The judge finds what breaks a rule: planted in a trace, and planted in the core."""

from dataclasses import replace

import pytest

from coordinator.core import undo
from coordinator.core.changed import changed
from coordinator.core.events import BranchSucceeded, CompensationStarted, Decided
from coordinator.core.model import Payload
from coordinator.core.place import Place
from coordinator.core.words import Decision, Phase
from coordinator.saga_kit import (
    End,
    Fault,
    FaultKind,
    Moment,
    Point,
    Scenario,
    broken_rules,
    explore,
    rehearse,
)
from coordinator.saga_kit.rehearsal import Sent, Stored
from tests.saga_kit.sagas import CHAIN, INPUT, answers, saga, whole

REFUSED = Fault(Point("third", Moment.ACTION), FaultKind.REFUSED)


def run(definition, *faults):
    return rehearse(definition, INPUT, answers(definition), Scenario(faults))


def sent(result, branch, phase):
    """Where a call stands in the trace."""
    return next(
        place
        for place, entry in enumerate(result.trace)
        if isinstance(entry, Sent)
        and (entry.call.branch_id, entry.call.phase) == (branch, phase)
    )


def stored(result, wanted):
    return next(
        place
        for place, entry in enumerate(result.trace)
        if isinstance(entry, Stored) and wanted(entry.fact)
    )


def moved(result, place, to):
    """The same run with one entry of its trace elsewhere."""
    trace = list(result.trace)
    trace.insert(to, trace.pop(place))
    return replace(result, trace=tuple(trace))


def with_entry(result, place, entry):
    trace = list(result.trace)
    trace.insert(place, entry)
    return replace(result, trace=tuple(trace))


def rules(definition, result):
    return {text.partition(":")[0] for text in broken_rules(definition, result)}


def decided(decision):
    return lambda fact: isinstance(fact, Decided) and fact.decision is decision


def test_a_good_run_breaks_no_rule():
    """Otherwise what follows would prove nothing."""
    assert broken_rules(saga(CHAIN), run(saga(CHAIN), REFUSED)) == ()


def test_s1_a_step_before_its_need_is_found():
    """Sent before the answer that it needs was durable."""
    definition = saga(CHAIN)
    result = run(definition)
    answer = stored(
        result, lambda f: isinstance(f, BranchSucceeded) and f.branch_id == "first"
    )

    late = moved(result, answer, len(result.trace) - 1)

    assert "S1" in rules(definition, late)


def test_s2_undoing_in_the_wrong_order_is_found():
    """The first step is undone while the one after it is in effect."""
    definition = saga(CHAIN)
    result = run(definition, REFUSED)

    swapped = moved(
        result,
        sent(result, "first", Phase.COMPENSATION),
        sent(result, "second", Phase.CANCEL),
    )

    assert "S2" in rules(definition, swapped)


def test_s3_an_effect_that_is_left_is_found():
    """COMPENSATED is no truth while a participant still has the effect."""
    definition = saga(CHAIN)
    result = run(definition, REFUSED)
    result.participants.records["first"].is_undone = False

    assert rules(definition, result) == {"S3"}


def test_s3_an_effect_that_is_missing_is_found():
    """COMPLETED is no truth while a participant has no effect."""
    definition = saga(CHAIN)
    result = run(definition)
    result.participants.records["first"].is_undone = True

    assert rules(definition, result) == {"S3"}


def test_s4_a_call_forward_after_the_turn_is_found():
    """Nothing new is sent forward once it was decided against."""
    definition = saga(CHAIN)
    result = run(definition, REFUSED)
    again = result.trace[sent(result, "third", Phase.ACTION)]
    turn = stored(result, decided(Decision.ABORT))

    late = with_entry(result, turn + 1, again)

    assert "S4" in rules(definition, late)


def test_s5_turning_back_behind_the_pivot_is_found():
    """Once the pivot has succeeded there is no way back."""
    definition = whole()
    result = run(definition)
    pivot = stored(
        result, lambda f: isinstance(f, BranchSucceeded) and f.branch_id == "pay"
    )
    back = Stored(0, Decided(Decision.ABORT, "X", "", 0))

    assert "S5" in rules(definition, with_entry(result, pivot + 1, back))


def test_s6_standing_still_is_found():
    """A run that neither ends nor calls a person."""
    definition = saga(CHAIN)
    result = run(definition)

    assert rules(definition, replace(result, end=End.STUCK)) == {"S6"}
    assert rules(definition, replace(result, end=End.ATTENTION)) == {"S6"}


def test_s7_another_input_is_found():
    """A call is repeated with what it was made with."""
    definition = saga(CHAIN)
    result = run(definition)
    place = sent(result, "first", Phase.ACTION)
    entry = result.trace[place]
    other = replace(entry, call=changed(entry.call, input=Payload(b"{1}", "x")))

    assert "S7" in rules(definition, with_entry(result, place + 1, other))


def test_t4_a_call_that_nobody_stored_is_found():
    """Intent first: its start is durable before it leaves."""
    definition = saga(CHAIN)
    result = run(definition)

    assert "T4" in rules(
        definition, moved(result, sent(result, "second", Phase.TRY), 0)
    )


def test_t5_a_confirm_before_the_decision_is_found():
    """What is reserved is confirmed when the saga is decided for."""
    definition = saga(CHAIN)
    result = run(definition)
    early = moved(
        result, sent(result, "second", Phase.CONFIRM), stored(result, bool) + 1
    )

    assert "T5" in rules(definition, early)


def test_t5_a_confirm_in_a_child_that_is_given_up_is_found():
    """What goes back with its child saga is cancelled, whatever the saga decides."""
    definition = whole()
    result = run(definition)
    place = sent(result, "parts:0:hold", Phase.CONFIRM)
    given_up = CompensationStarted("parts:0", Payload(), 0, "TIMEOUT", "")

    both = with_entry(result, place, Stored(0, given_up))

    assert "T5" in rules(definition, both)


def test_t1_two_decisions_are_found():
    """A decision is written once."""
    definition = saga(CHAIN)
    result = run(definition, REFUSED)
    place = stored(result, decided(Decision.ABORT))

    twice = with_entry(result, place, result.trace[place])

    assert "T1" in rules(definition, twice)


def forgets(_place):
    """Nothing can be undone."""
    return False


def all_at_once(draft, prefix, definition, now):
    """The order of the graph is forgotten."""
    undone = [
        undo._undo_unit(draft, Place(prefix, definition, step), now)
        for step in definition.steps
    ]
    return all(undone)


@pytest.mark.parametrize(
    ("name", "planted", "rule"),
    [("is_undoable", forgets, "S3"), ("_undo_scope", all_at_once, "S2")],
)
def test_bugs_planted_in_the_core_are_found(monkeypatch, name, planted, rule):
    """Whoever breaks the way back is found by exploring a small saga."""
    definition = saga(CHAIN)
    monkeypatch.setattr(undo, name, planted)

    *_, found = explore(definition, INPUT, answers(definition))

    broken = [text.partition(":")[0] for trial in found.broken for text in trial.broken]
    assert rule in broken
