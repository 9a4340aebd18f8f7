"""The table of points holds everything that is persisted, and all of it is walked."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest

from coordinator.core import machine
from coordinator.core.events import BranchAbandoned, CheckBackStarted, Decided, Event
from coordinator.core.inputs import Begin
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    Key,
    TransactionRequest,
)
from coordinator.core.words import Decision, Mode
from coordinator.ports import Change, Queries, Store
from tests.e2e.failpoint import strays
from tests.e2e.failpoint.points import (
    COMMIT,
    FACTS,
    PARTICIPANT_POINTS,
    POINTS,
    READS,
    STORE_POINTS,
    Unnamed,
    points_of,
)
from tests.e2e.failpoint.saga_flows import FLOWS
from tests.e2e.failpoint.test_store_walk import STEPS
from tests.e2e.failpoint.world import World

REQUEST = TransactionRequest(
    key=Key("default", "g"),
    mode=Mode.TCC,
    name="walk",
    digest="d",
    created_at=0,
    deadline_at=1_000,
)


@dataclass(frozen=True)
class Unheard:
    """A fact that has no row in the table."""


def change(*events: Any) -> Change:
    """A new transaction with these facts after its first one."""
    tx, began = machine.step(None, Begin(REQUEST), 0)
    return Change(None, tx, (*began, *events), None)


def methods(port: type) -> set[str]:
    """The names of what a port can do."""
    return {name for name in vars(port) if not name.startswith("_")}


def test_every_fact_has_a_point() -> None:
    """A new class in ``core/events.py`` needs a row, and so a flow that reaches it."""
    assert {kind.__name__ for kind in get_args(Event)} == FACTS.keys()


def test_every_writing_method_of_the_ports_has_a_point() -> None:
    """A new method of the store is a read, or has a point."""
    writes = {COMMIT, *STORE_POINTS}

    assert methods(Store) | methods(Queries) == READS | writes
    assert not READS & writes


def test_every_point_is_walked() -> None:
    """Each stands in a flow that reaches it, or in a step of the store's walk."""
    walked = {*chain.from_iterable(flow.points for flow in FLOWS), *STEPS}
    local = set(chain.from_iterable(flow.local for flow in FLOWS))

    assert walked == POINTS
    assert local == PARTICIPANT_POINTS


def test_the_names_of_a_commit_are_those_of_its_facts() -> None:
    """One name for each kind of fact, by what it says."""
    decided = Decided(Decision.ABORT, "DEADLINE", "", 1_000)

    assert points_of(change(decided)) == {"tcc.began", "tcc.decided-abort"}


def test_a_fact_without_a_row_is_refused() -> None:
    """It does not pass as something else."""
    with pytest.raises(Unnamed, match="Unheard"):
        points_of(change(Unheard()))


def test_a_fact_that_makes_an_unknown_name_is_refused() -> None:
    """A mode that begins to use a fact of the other one needs a point for it."""
    spec = BranchSpec("b", "shop.pack", NO_PAYLOAD, timeout_ms=1, attempt_max=1)

    with pytest.raises(Unnamed, match=r"BranchAbandoned as tcc\.step-abandoned"):
        points_of(change(CheckBackStarted(spec, 1), BranchAbandoned("b", 1)))


async def test_a_write_without_a_point_stops_the_node(tmp_path: Path) -> None:
    """What reaches the database past the store's named methods ends the process."""
    async with World(tmp_path) as world:
        stray = world.start(strays.run, None, tmp_path / "stray.sqlite")

        with pytest.raises(AssertionError, match="no point for a write"):
            await stray.ready()
