"""Workloads are what they say they are, in Tercet's own words."""

import pytest

from bench.speed.counters import Counters, Counts
from bench.speed.workload import SAGAS, WORKLOADS, Saga, Tcc
from coordinator.saga_yaml import check


@pytest.mark.parametrize("saga", SAGAS.values(), ids=lambda saga: saga.name)
def test_sagas_are_valid_and_as_wide_as_the_limit_program_has_them(saga):
    """The same calls go out side by side on both sides."""
    definition, findings = check(saga.definition)

    assert not findings
    assert definition is not None
    assert len(definition.steps) == sum(saga.waves)


def test_durable_waits_are_those_of_the_rules():
    """N+1 of a chain of N steps, 3 of a declared TCC, 4 of a mediated one."""
    assert Saga("chain", (1, 1, 1)).durable_waits == 4
    assert Tcc(2, declared=True).durable_waits == 3
    assert Tcc(3).durable_waits == 4


def test_five_of_a_hundred_are_refused_in_the_mixed_workload():
    """As many of either shape."""
    mixed = WORKLOADS["mixed"]
    refused = [number for number in range(200) if mixed.is_refused(number)]

    assert len(refused) == 10
    assert sum(number % 2 for number in refused) == 5


def test_counters_are_read_while_they_are_kept(tmp_path):
    """One process counts, another one looks."""
    kept = Counters.create(tmp_path / "counters")
    read = Counters(tmp_path / "counters")
    before = read.read()

    kept.committed(rows=10, moves=3)
    kept.committed(rows=5, moves=1)

    assert read.read().since(before) == Counts(commits=2, rows=15, moves=4)
