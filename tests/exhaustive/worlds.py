"""The worlds that are searched, and how much may go wrong in each."""

from collections.abc import Callable
from typing import NamedTuple

from coordinator.core.inputs import Begin, Cancel, Confirm, Input, Submit, Try
from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    BranchSpec,
    Key,
    Payload,
    TransactionRequest,
)
from coordinator.core.words import Mode
from coordinator.saga_yaml import parse
from tests.exhaustive.decisions import DEADLINE, PAST, Decisions
from tests.exhaustive.initiator import Program, Request
from tests.exhaustive.judge import SagaJudge, TccJudge
from tests.exhaustive.parts import Faults
from tests.exhaustive.world import Pace, World

GID = Key("default", "g1")
INPUT = Payload(b'{"amount":7}', JSON_CONTENT_TYPE)

ATTEMPT_MAX = 2
"""A try or action that is lost once is asked again."""

DIAMOND = """\
apiVersion: tercet/v1
kind: Saga
metadata: {name: diamond, version: 1.0.0}
timeout: 60s
steps:
  - id: a
    call: pa.do
    input: { amount: "${input.amount}" }
    compensate: { call: pa.undo, input: { of: "${steps.a.output.of}" } }
  - id: b
    call: pb.do
    input: { amount: "${input.amount}" }
    needs: [a]
    compensate: { call: pb.undo }
  - id: c
    call: pc.do
    input: { amount: "${input.amount}" }
    needs: [a]
    compensate: { call: pc.undo }
  - id: d
    call: pd.do
    input: { amount: "${input.amount}" }
    needs: [b, c]
    compensate: { call: pd.undo }
"""


def request(mode: Mode, *, declared: bool = False) -> TransactionRequest:
    """What the initiator sends; the deadline is the only instant that matters."""
    return TransactionRequest(
        key=GID,
        mode=mode,
        name="small",
        digest="d",
        created_at=PAST,
        deadline_at=DEADLINE,
        declared=declared,
        input=INPUT,
    )


def spec(branch_id: str) -> BranchSpec:
    return BranchSpec(branch_id, f"p{branch_id}.move", INPUT, 1_000, ATTEMPT_MAX)


def mediated(plan: "Plan") -> World:
    """Both tries in one request, then a confirm, and an abort any time."""
    core = Decisions()
    tries = Try((spec("a"), spec("b")))
    number: Callable[[Input], int] = core.input_number
    program = (
        Request("begin", number(Begin(request(Mode.TCC)))),
        Request("try", number(tries), needs=(0,), tries=("a", "b")),
        Request("confirm", number(Confirm()), needs=(1,)),
        Request("abort", number(Cancel()), needs=(0,), stubborn=True),
    )
    return plan.world(core, program, TccJudge(core, ("a", "b")))


def racing(plan: "Plan") -> World:
    """Two tries at the same time, perhaps by different nodes; then as above."""
    core = Decisions()
    number: Callable[[Input], int] = core.input_number
    program = (
        Request("begin", number(Begin(request(Mode.TCC)))),
        Request("try a", number(Try((spec("a"),))), needs=(0,), tries=("a",)),
        Request("try b", number(Try((spec("b"),))), needs=(0,), tries=("b",)),
        Request("confirm", number(Confirm()), needs=(1, 2)),
        Request("abort", number(Cancel()), needs=(0,), stubborn=True),
    )
    return plan.world(core, program, TccJudge(core, ("a", "b")))


def declared(plan: "Plan", *, may_abort: bool = True) -> World:
    """Both tries in one request; the coordinator confirms; an abort any time."""
    core = Decisions()
    begin = Begin(request(Mode.TCC, declared=True), (spec("a"), spec("b")))
    program = [Request("begin", core.input_number(begin))]
    if may_abort:
        program += [Request("abort", core.input_number(Cancel()), stubborn=True)]
    return plan.world(core, tuple(program), TccJudge(core, ("a", "b")))


def diamond(plan: "Plan", *, may_abort: bool = True) -> World:
    """a, then b and c, then d; each with a compensation; an abort any time."""
    core = Decisions()
    definition = parse(DIAMOND)
    submit = Submit(request(Mode.SAGA), definition)
    program = [Request("submit", core.input_number(submit))]
    if may_abort:
        program += [Request("abort", core.input_number(Cancel()), stubborn=True)]
    needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    return plan.world(core, tuple(program), SagaJudge(core, needs))


def declared_unasked(plan: "Plan") -> World:
    """The same, but only the deadline aborts."""
    return declared(plan, may_abort=False)


def diamond_unasked(plan: "Plan") -> World:
    """The same, but only the deadline turns it back."""
    return diamond(plan, may_abort=False)


class Plan(NamedTuple):
    """One world to search.

    Attributes:
        build: what its initiator does.
        pace: see there.
        refusers: the branches that may refuse, a letter each.
        deep: searched by ``make exhaustive`` alone.
    """

    build: Callable[["Plan"], World]
    faults: Faults
    pace: Pace
    refusers: str = ""
    deep: bool = False

    @property
    def name(self) -> str:
        """What it is called in reports."""
        left = self.faults
        parts = [self.build.__name__]
        parts += [f"{left.crashes}crash"] * bool(left.crashes)
        parts += [f"{left.losses}loss"] * bool(left.losses)
        parts += [f"{left.pauses}pause"] * bool(left.pauses)
        parts += [f"refuse-{self.refusers}"] * bool(self.refusers)
        parts += ["slow-database"] * self.pace.slow_database
        parts += ["slow-answers"] * self.pace.slow_answers
        parts += ["two-clocks"] * self.pace.two_clocks
        return "+".join(parts)

    def world(
        self, decisions: Decisions, program: Program, judge: TccJudge | SagaJudge
    ) -> World:
        """With the initiator and the judge that were built for it."""
        return World(
            self.name,
            decisions,
            program,
            judge,
            refusers=frozenset(self.refusers),
            faults=self.faults,
            pace=self.pace,
        )


FAST = Pace(slow_database=False, slow_answers=False, two_clocks=False)
SLOW = Pace(slow_database=True, slow_answers=True, two_clocks=True)
NOTHING = Faults()
CRASH = Faults(crashes=1)
LOSS = Faults(losses=1)
PAUSE = Faults(pauses=1)
ALL_THREE = Faults(crashes=1, losses=1, pauses=1)

PLANS = (
    Plan(declared, NOTHING, FAST, "a"),
    Plan(diamond, NOTHING, FAST, "c"),
    Plan(mediated, NOTHING, FAST, "a"),
    Plan(racing, NOTHING, FAST, "a"),
    Plan(diamond, CRASH, FAST, "c"),
    Plan(declared, CRASH, FAST, "a"),
    Plan(declared, PAUSE, FAST, "a"),
    Plan(declared, LOSS, FAST, "a"),
    Plan(diamond, PAUSE, FAST, "c"),
    Plan(diamond, LOSS, FAST, "c"),
    Plan(declared, NOTHING, SLOW),
    Plan(mediated, PAUSE, FAST, "a"),
    Plan(mediated, CRASH, FAST, "a"),
    Plan(declared, Faults(crashes=1, pauses=1), FAST),
    Plan(diamond, NOTHING, SLOW, "c", deep=True),
    Plan(mediated, LOSS, FAST, deep=True),
    Plan(mediated, NOTHING, SLOW, deep=True),
    Plan(racing, CRASH, FAST, deep=True),
    Plan(racing, PAUSE, FAST, deep=True),
    Plan(declared_unasked, ALL_THREE, FAST, deep=True),
    Plan(diamond_unasked, ALL_THREE, FAST, deep=True),
)
"""Small ones first: what is wrong is found with the shortest story."""
