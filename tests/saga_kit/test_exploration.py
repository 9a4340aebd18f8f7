"""Everything goes wrong at every point, and the saga still keeps its rules."""

import pytest

from coordinator.core.expressions import to_payload
from coordinator.saga_kit import End, FaultKind, explore
from coordinator.saga_kit.exploration import may_turn_back
from tests.saga_kit.sagas import CHAIN, INPUT, answers, saga, whole


@pytest.fixture(scope="module")
def explored_whole():
    """Every element of the language, put through all its scenarios once."""
    return explored(whole())


def explored(definition, **limits):
    *_, last = explore(definition, INPUT, answers(definition), **limits)
    return last


def test_a_saga_of_every_element_keeps_all_rules(explored_whole):
    """Hundreds of scenarios; each ends, and both ends are reached."""
    found = explored_whole

    assert [(str(t.rehearsal.scenario), t.broken) for t in found.broken] == []
    assert found.missing == ()
    assert set(found.ends) == {End.COMPLETED, End.COMPENSATED}
    assert len(found.trials) > 200
    assert found.left_out == 0


def test_every_way_back_and_every_fallback_is_disturbed_too(explored_whole):
    """Points that only a failing run reaches get their faults as well."""
    found = explored_whole
    moments = {
        (fault.point.branch_id, fault.point.moment.value)
        for trial in found.trials
        for fault in trial.rehearsal.scenario.faults
    }

    assert {
        ("reserve", "cancel"),
        ("parts:0:label", "compensation"),
        ("book", "compensation"),
        ("book:fallback-1", "action"),
        ("book:fallback-1", "compensation"),
        ("gift", "compensation"),
        ("approve", "signal"),
        ("cool", "timer"),
        ("parts:1:hold", "confirm"),
    } <= moments


def test_items_of_a_list_that_are_alike_are_disturbed_once(explored_whole):
    """The first two and one more: a list of a thousand costs no more than three."""
    found = explored_whole
    items = {
        fault.point.branch_id
        for trial in found.trials
        for fault in trial.rehearsal.scenario.faults
        if fault.point.branch_id.startswith("parts:")
        and fault.kind is FaultKind.REFUSED
    }

    assert {item.split(":")[1] for item in items} == {"0", "1", "2"}


def test_an_exploration_stops_at_its_limit():
    """It says how many scenarios it left out."""
    found = explored(saga(CHAIN), scenarios_max=5)

    assert len(found.trials) == 5
    assert found.left_out > 0
    assert found.waiting == 0


def test_an_end_that_is_never_reached_is_named():
    """A saga whose stubs are wrong never completes."""
    definition = saga(CHAIN)

    def answer(_call):
        from coordinator.core.model import Payload

        return Payload(b"1", "application/json")

    *_, found = explore(definition, INPUT, answer, scenarios_max=3)

    assert found.missing == (End.COMPLETED,)


def test_a_step_that_no_run_comes_to_is_named():
    """Its condition was false: another input would show more."""
    definition = whole()
    *_, found = explore(
        definition,
        to_payload({"parts": [], "vip": False}),
        answers(definition),
        scenarios_max=1,
    )

    assert found.never_run == ("kyc", "parts:hold", "parts:label")


NEVER_FAILS = """
apiVersion: tercet/v1
kind: Saga
metadata: {name: p, version: 1.0.0}
timeout: 1m
steps:
- {id: wait, wait: 1s}
- {id: mail, needs: [], call: mail.send, optional: true, compensate: none}
"""


@pytest.mark.parametrize(("text", "may"), [(CHAIN, True), (NEVER_FAILS, False)])
def test_only_a_saga_with_something_that_may_fail_has_to_turn_back(text, may):
    """Timers and optional steps never turn a saga back."""
    assert may_turn_back(saga(text)) is may
