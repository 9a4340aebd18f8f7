"""What is measured: which transactions, in which shape, and how they may end.

A shape says how many calls go out at once and in which order; the limit program needs
nothing else to do the same calls and the same durable waits as Tercet does.
"""

from dataclasses import dataclass

from protos.v1 import types_pb2
from protos.v1.coordinator_pb2 import (
    BeginRequest,
    BranchSpec,
    SubmitSagaRequest,
)
from protos.v1.types_pb2 import Payload

PARTICIPANT = "bench"
POST = f"{PARTICIPANT}.post"
"""An action that brings its compensation."""
HOLD = f"{PARTICIPANT}.hold"
"""A try with its confirm and cancel."""

ACCEPT = Payload(data=b'{"amount":100}', content_type="application/json")
REFUSE = Payload(data=b'{"amount":-1}', content_type="application/json")
"""Business says no to it: the second action of a saga, the second try of a TCC."""

WITHOUT_LIMIT = 3_600_000


@dataclass(frozen=True, slots=True)
class Saga:
    """A saga.

    Attributes:
        waves: how many actions run side by side, wave after wave.
    """

    name: str
    waves: tuple[int, ...]

    @property
    def definition(self) -> str:
        """In the saga language: the input of the last step says whether it refuses."""
        lines = [
            "apiVersion: tercet/v1",
            "kind: Saga",
            f'metadata: {{name: {self.name}, version: "1"}}',
            "timeout: 1h",
            "steps:",
        ]
        before: list[str] = []
        for number, width in enumerate(self.waves):
            ids = [f"s{number}x{n}" for n in range(width)]
            is_last = number == len(self.waves) - 1
            amount = '"${input.amount}"' if is_last else "100"
            lines += [
                f"  - {{id: {step}, needs: [{', '.join(before)}], call: {POST},"
                f" input: {{amount: {amount}}}}}"
                for step in ids
            ]
            before = ids
        return "\n".join(lines) + "\n"

    def submit(self, gid: str, *, refuse: bool) -> SubmitSagaRequest:
        """Answered at the end."""
        return SubmitSagaRequest(
            gid=gid, name=self.name, input=REFUSE if refuse else ACCEPT, wait=True
        )

    @property
    def durable_waits(self) -> int:
        """Accepted, and every wave's answers; the last ones together with the end."""
        return 1 + len(self.waves)


@dataclass(frozen=True, slots=True)
class Tcc:
    """A TCC transaction.

    Attributes:
        branches: that are tried side by side.
        declared: one request, and the coordinator decides; else the initiator begins,
            has the branches tried, and confirms.
    """

    branches: int
    declared: bool = False

    def begin(self, gid: str, *, refuse: bool) -> BeginRequest:
        """A declared one is answered at the end."""
        request = BeginRequest(gid=gid, name="bench", deadline_ms=WITHOUT_LIMIT)
        if self.declared:
            request.tries.extend(self.tries(refuse=refuse))
            request.auto_confirm = request.wait = True
        return request

    def tries(self, *, refuse: bool) -> list[BranchSpec]:
        """Its branches."""
        last = self.branches
        return [
            BranchSpec(
                branch_id=str(n),
                operation=HOLD,
                input=REFUSE if refuse and n == last else ACCEPT,
            )
            for n in range(1, last + 1)
        ]

    @property
    def durable_waits(self) -> int:
        """Accepted, branches (with it if declared), decision, end."""
        return 3 if self.declared else 4


Shape = Saga | Tcc


@dataclass(frozen=True, slots=True)
class Workload:
    """Shapes in turn.

    Attributes:
        refused_each: one of so many is refused; 0 = none.
        is_unary: each transaction is a unary call instead of an item of a session.
    """

    name: str
    about: str
    shapes: tuple[Shape, ...]
    refused_each: int = 0
    is_unary: bool = False

    def is_refused(self, number: int) -> bool:
        """Whether business says no to this one; spread over all shapes."""
        each = self.refused_each
        return bool(each) and number // len(self.shapes) % each == each - 1


SAGA2 = Saga("saga2", (1, 1))
SAGA20 = Saga("saga20", (1, 18, 1))
SAGAS = {saga.name: saga for saga in (SAGA2, SAGA20)}

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("saga2", "sagas of two steps", (SAGA2,)),
        Workload("tcc2", "TCC of two branches, tried side by side", (Tcc(2),)),
        Workload("tcc3", "TCC of three branches, tried side by side", (Tcc(3),)),
        Workload(
            "tcc2-declared",
            "TCC of two branches in one request",
            (Tcc(2, declared=True),),
        ),
        Workload(
            "mixed",
            "saga2 and tcc2 in turn, 5 % of both refused",
            (SAGA2, Tcc(2)),
            refused_each=20,
        ),
        Workload("saga20", "sagas of 20 steps, 18 of them side by side", (SAGA20,)),
        Workload("unary", "sagas of two steps by unary calls", (SAGA2,), is_unary=True),
    )
}

GOOD = frozenset({types_pb2.COMPLETED, types_pb2.CONFIRMED, types_pb2.CONFIRMING})
BAD = frozenset({types_pb2.COMPENSATED, types_pb2.CANCELLED, types_pb2.CANCELLING})
"""What an initiator sees of a transaction that business said no to."""
