"""Words for tests of the core: a transaction that is played with, move by move."""

from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.actions import CallBranch
from coordinator.core.backoff import FORWARD, PHASE_TWO, RetryPolicy
from coordinator.core.definition import (
    BranchKind,
    Call,
    Compensation,
    Constant,
    ForEach,
    Reference,
    SagaDefinition,
    Step,
    Template,
)
from coordinator.core.events import Event
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Input,
    Outcome,
    Submit,
    Succeeded,
)
from coordinator.core.model import (
    UNDER_WAY,
    Branch,
    BranchSpec,
    GlobalTransaction,
    Key,
    Payload,
    TransactionRequest,
)
from coordinator.core.words import Mode

JSON = "application/json"
DEADLINE = 60_000


def spec(branch_id: str, *, attempt_max: int = 3, data: bytes = b"{}") -> BranchSpec:
    return BranchSpec(branch_id, "bank.move", Payload(data, JSON), 3_000, attempt_max)


def tcc_request(
    *, declared: bool = False, digest: str = "d1", check_back: str = ""
) -> TransactionRequest:
    return TransactionRequest(
        key=Key("default", "g-1"),
        mode=Mode.TCC,
        name="transfer",
        digest=digest,
        created_at=0,
        deadline_at=DEADLINE,
        declared=declared,
        check_back=check_back,
    )


def saga_request(data: bytes = b'{"amount": 7}') -> TransactionRequest:
    return TransactionRequest(
        key=Key("default", "s-1"),
        mode=Mode.SAGA,
        name="saga",
        digest="d1",
        created_at=0,
        deadline_at=DEADLINE,
        input=Payload(data, JSON),
        definition_digest="sha256:1",
        definition_version="1.0.0",
    )


def step(
    step_id: str,
    *needs: str,
    input: Template = Constant({}),  # noqa: A002, B008 - the saga's own word; frozen
    undo: bool = True,
    undo_input: Template | None = None,
    retry: RetryPolicy = FORWARD,
) -> Step:
    call = Call(
        operation=f"{step_id}.do",
        input=input,
        retry=retry,
        timeout_ms=3_000,
        compensation=compensation(step_id, undo_input) if undo else None,
    )
    return Step(step_id, BranchKind.CALL, needs, (call,))


def compensation(step_id: str, undo_input: Template | None = None) -> Compensation:
    return Compensation(
        operation=f"{step_id}.undo",
        input=undo_input,
        retry=PHASE_TWO,
        timeout_ms=2_000,
        attention_after=4,
    )


def call_step(step_id: str, *needs: str, **options: Any) -> Step:
    """A call with anything else that a step may have: optional, pivot, for_each ..."""
    return replace(step(step_id, *needs), **options)


def pivot(step_id: str, *needs: str) -> Step:
    return replace(step(step_id, *needs, undo=False), pivot=True)


def with_fallback(first: Step, *others: Step) -> Step:
    """The calls of the others are the fallbacks of the first."""
    return replace(first, calls=(*first.calls, *(o.calls[0] for o in others)))


def tcc_step(step_id: str, *needs: str, expires_ms: int = 0, **options: Any) -> Step:
    call = Call(
        operation=f"{step_id}.reserve",
        input=Constant({}),
        retry=RetryPolicy(attempt_max=3),
        timeout_ms=3_000,
        kind=BranchKind.TCC,
        expires_ms=expires_ms,
    )
    return Step(step_id, BranchKind.TCC, needs, (call,), **options)


def wait_step(step_id: str, *needs: str, wait: Template, **options: Any) -> Step:
    return Step(step_id, BranchKind.WAIT, needs, wait=wait, **options)


def await_step(
    step_id: str, *needs: str, signal: str, timeout_ms: int = 0, **options: Any
) -> Step:
    return Step(
        step_id,
        BranchKind.AWAIT,
        needs,
        signal=signal,
        timeout_ms=timeout_ms,
        **options,
    )


def child_step(
    step_id: str, *needs: str, child: SagaDefinition, **options: Any
) -> Step:
    return Step(step_id, BranchKind.SAGA, needs, child=child, **options)


def for_each(path: str, parallel_max: int = 2) -> ForEach:
    return ForEach(reference(path), parallel_max)


def reference(path: str) -> Reference:
    return Reference(tuple(path.split(".")), path)


def submit(
    *steps: Step, output: Template | None = None, data: bytes = b'{"amount": 7}'
) -> "Play":
    return Play.begin(Submit(saga_request(data), definition(*steps, output=output)))


def definition(*steps: Step, output: Template | None = None) -> SagaDefinition:
    return SagaDefinition("saga", "1.0.0", "sha256:1", DEADLINE, steps, output)


@dataclass
class Play:
    """One transaction, its clock, and everything that became a fact."""

    tx: GlobalTransaction
    now: int = 0
    facts: list[Event] = field(default_factory=list)

    @classmethod
    def begin(cls, what: Begin | Submit) -> "Play":
        tx, events = machine.step(None, what, 0)
        return cls(tx, 0, list(events))

    def happen(self, what: Input) -> tuple[Event, ...]:
        self.tx, events = machine.step(self.tx, what, self.now)
        self.facts += events
        return events

    def answer(self, branch_id: str, outcome: Outcome | None = None) -> None:
        """The participant answers the call that is out."""
        branch = self.branch(branch_id)
        phase = UNDER_WAY[branch.status]
        self.happen(
            BranchReplied(branch_id, phase, branch.attempts + 1, outcome or Succeeded())
        )

    def branch(self, branch_id: str) -> Branch:
        return self.tx.branches[branch_id]

    def due(self) -> dict[str, CallBranch]:
        return {call.branch_id: call for call in machine.due(self.tx, self.now)}

    def asked(self) -> set[tuple[str, str]]:
        """Branch and phase of every call that should be out now."""
        return {(c.branch_id, c.phase.value) for c in self.due().values()}

    def statuses(self) -> dict[str, str]:
        return {name: b.status.value for name, b in self.tx.branches.items()}

    def wait_until_due(self) -> None:
        due_at = machine.due_at(self.tx)
        assert due_at is not None
        self.now = max(self.now, due_at)
