"""A participant: a transactional store, the real barrier, and scripted business.

The barrier's rules *and* its order of claims and reads are the SDK's own; only the
three statements below it are a dictionary here. A call's rows and its business effect
are staged together and become durable together, or are lost together (B1).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from coordinator.core import inputs
from coordinator.core.actions import CallBranch
from coordinator.core.errors import PreconditionFailed
from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    BranchSpec,
    GlobalTransaction,
    Payload,
)
from coordinator.core.words import BranchStatus, Decision
from coordinator.core.words import Phase as CalledPhase
from participant_sdk.barrier import rules
from participant_sdk.barrier.rules import Phase, Record, Slot
from participant_sdk.barrier.sql import BranchKey, SqlBarrier
from participant_sdk.executor.outcome import (
    CallOutcome,
    Done,
    Failed,
    Later,
    No,
    outcome_of_record,
    outcome_of_rejection,
    record_of,
)
from participant_sdk.payload import Encoded
from tests.simulation.loop import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

Rows: TypeAlias = dict[tuple[str, str, Slot], Record]
Answer: TypeAlias = Callable[[inputs.Outcome], None]

_PHASES = {phase: Phase(phase.value) for phase in CalledPhase}
"""The SDK's words for the coordinator's."""


@dataclass(slots=True)
class LocalTransaction:
    """Staged rows over the durable ones; ``None`` is a deleted row."""

    durable: Rows
    staged: dict[tuple[str, str, Slot], Record | None] = field(default_factory=dict)

    def get(self, key: tuple[str, str, Slot]) -> Record | None:
        if key in self.staged:
            return self.staged[key]
        return self.durable.get(key)

    def commit(self) -> None:
        for key, record in self.staged.items():
            if record is None:
                self.durable.pop(key, None)
            else:
                self.durable[key] = record


class MemoryBarrier(SqlBarrier):
    """The SDK's barrier over dictionaries instead of SQL."""

    def __init__(self) -> None:
        """No statements to compile."""

    def settle(
        self, cursor: LocalTransaction, key: BranchKey, slot: Slot, record: Record
    ) -> None:
        cursor.staged[key.gid, key.branch_id, slot] = record

    def drop(self, cursor: LocalTransaction, key: BranchKey, slot: Slot) -> None:
        cursor.staged[key.gid, key.branch_id, slot] = None

    def outlive_crash(self, cursor: LocalTransaction, key: BranchKey) -> None:
        """What can be read is durable."""

    def _claim(
        self,
        cursor: LocalTransaction,
        key: BranchKey,
        slot: Slot,
        outcome: rules.Outcome,
        now_ms: int,
    ) -> bool:
        row = (key.gid, key.branch_id, slot)
        if cursor.get(row) is not None:
            return False
        cursor.staged[row] = Record(key.phase, outcome)
        return True

    def _take_over(
        self,
        cursor: LocalTransaction,
        key: BranchKey,
        replaced: Record,
        outcome: rules.Outcome,
        at_ms: int,
    ) -> bool:
        row = (key.gid, key.branch_id, Slot.FORWARD)
        if cursor.get(row) != replaced:
            return False
        cursor.staged[row] = Record(key.phase, outcome)
        return True

    def _rows(
        self, cursor: LocalTransaction, key: BranchKey, *, without: Slot | None
    ) -> tuple[Record | None, Record | None]:
        gid, branch_id, forward, second = key.gid, key.branch_id, None, None
        if without is not Slot.FORWARD:
            forward = cursor.get((gid, branch_id, Slot.FORWARD))
        if without is not Slot.SECOND:
            second = cursor.get((gid, branch_id, Slot.SECOND))
        return forward, second


@dataclass(slots=True)
class Job:
    """One call inside its local transaction."""

    call: CallBranch
    key: BranchKey
    lock: tuple[str, str]
    answer: Answer
    transaction: LocalTransaction
    slot: Slot = Slot.FORWARD
    recorded: Record | None = None
    replaces: Record | None = None
    is_over: bool = False


class Participant:
    """Carries branches out, and survives its own crashes.

    Attributes:
        process: of the present incarnation.
        rows: the durable barrier table.
        plans: (gid, branch, phase) to what the business says, run by run; when
            the list is used up it succeeds.
        nested: (gid, branch) to the branch that its try tries in turn.
        fails: it cannot work just now, and answers so.
    """

    def __init__(self, world: "World", index: int) -> None:
        self.name = f"p{index}"
        self._world = world
        self._barrier = MemoryBarrier()
        self.process = Process(self.name)
        self.fails = False
        self.rows: Rows = {}
        self.nested: dict[tuple[str, str], BranchSpec] = {}
        self.plans: dict[tuple[str, str, str], list[CallOutcome]] = {}
        self._locks: dict[tuple[str, str], deque[Job]] = {}

    def crash(self) -> None:
        """Open local transactions are rolled back; rows and effects stay."""
        self.process.crash()
        self._locks.clear()

    def restart(self) -> None:
        self.process = Process(self.name)

    def receive(self, call: CallBranch, answer: Answer) -> None:
        """A call arrives; a concurrent one of the same branch waits for its turn."""
        if self.fails:
            answer(inputs.Unknown("NO_DATABASE"))
            return
        gid, branch_id = lock = call.key.gid, call.branch_id
        key = BranchKey(gid, branch_id, call.operation, _PHASES[call.phase])
        job = Job(call, key, lock, answer, LocalTransaction(self.rows))
        waiting = self._locks.get(lock)
        if waiting is not None:
            self._world.rare.hit("concurrent_calls_of_one_branch")
            waiting.append(job)
            return
        self._locks[lock] = deque()
        self._begin(job)

    def _begin(self, job: Job) -> None:
        world, call = self._world, job.call
        admission = self._barrier.admit(
            job.transaction,
            job.key,
            known_done=bool(call.output.data or call.output.content_type),
            now_ms=0,
            reconsider=call.reconsider,
        )
        world.checks.admitted(self, job.call, admission)
        match admission.verdict:
            case rules.Run(forward, _, replaces):
                job.slot = admission.slot or Slot.FORWARD
                job.recorded, job.replaces = forward, replaces
                nested = self.nested.get(job.lock)
                if nested is not None and job.key.phase is Phase.TRY:
                    self._try_nested(job, nested)
                elif world.happens("slow_handler"):
                    delay = world.rng.randint(1_000, 900_000)
                    world.loop.later(delay, self.process, self._finish, job)
                else:
                    self._finish(job)
            case rules.Answer(record):
                self._commit(job, outcome_of_record(record), ran=False)
            case rules.Bury():
                self._commit(job, Done(), ran=False)
            case rules.Reject() as rejection:
                self._commit(job, outcome_of_rejection(rejection), ran=False)

    def _try_nested(self, job: Job, nested: BranchSpec) -> None:
        """This try tries another branch of its transaction, and waits for it (T12)."""
        world, key, process = self._world, job.call.key, self.process

        def reply(answer: object) -> None:
            if isinstance(answer, GlobalTransaction):
                world.checks.answered(key, answer)
            world.transmit(
                node.name, self.name, process, self._hear_nested, job, nested, answer
            )  # fmt: skip

        if node := world.alive_node():
            what = inputs.Try((nested,))
            world.transmit(
                self.name, node.name, node, node.engine.submit, key, what, reply
            )
        patience = job.call.timeout_ms * 1_000
        world.loop.later(patience, process, self._hear_nested, job, nested, None)

    def _hear_nested(self, job: Job, nested: BranchSpec, answer: object) -> None:
        if job.is_over:
            return
        job.is_over = True
        outcome: CallOutcome | None = Failed("NESTED_UNKNOWN")
        if isinstance(answer, GlobalTransaction):
            branch = answer.branches.get(nested.branch_id)
            if branch is not None and branch.status is BranchStatus.TRIED:
                self._world.rare.hit("nested_try_joined")
                outcome = None
            elif answer.decision is Decision.ABORT:
                outcome = No("NESTED_REFUSED")
        elif isinstance(answer, PreconditionFailed):
            self._world.rare.hit("nested_try_came_too_late")
            outcome = No("NESTED_REFUSED")
        self._finish(job, outcome)

    def _finish(self, job: Job, outcome: CallOutcome | None = None) -> None:
        """The business code has run; keep or undo it, and record its answer."""
        outcome = outcome or self._business(job)
        record = record_of(job.key.phase, outcome)
        if left := record or job.replaces:
            self._barrier.settle(job.transaction, job.key, job.slot, left)
        else:
            self._barrier.drop(job.transaction, job.key, job.slot)
        self._commit(job, outcome, ran=isinstance(outcome, Done | Later) and record)

    def _business(self, job: Job) -> CallOutcome:
        key, call = job.key, job.call
        if key.phase is Phase.COMPENSATION and not call.input.data:
            recorded = job.recorded or Record(Phase.ACTION, rules.Outcome.SUCCEEDED)
            output = Encoded(recorded.output, recorded.content_type)
            return Failed("OUTPUT_NEEDED", "it ran", output=output)
        plan = self.plans.get((key.gid, key.branch_id, str(key.phase)))
        if plan:
            return plan.pop(0)
        if not key.phase.is_forward:
            return Done()
        return Done(Encoded(self.new_output(), JSON_CONTENT_TYPE))

    def new_output(self) -> bytes:
        """An answer that no other call is given."""
        number = self._world.next_number()
        return b'{"n": %d, "even": %s}' % (number, b"false" if number % 2 else b"true")

    def _commit(self, job: Job, outcome: CallOutcome, *, ran: Any) -> None:
        world = self._world
        fate = world.rng.random() if world.happens("participant_commit") else 1.0
        if fate < 0.4:
            world.rare.hit("participant_commit_lost")
            self.answer(job, Failed("COMMIT_UNKNOWN"))
        else:
            job.transaction.commit()
            world.checks.settled(self, job.call, outcome, ran=bool(ran))
            if fate < 0.8:
                world.rare.hit("participant_commit_kept_but_unknown")
                outcome = Failed("COMMIT_UNKNOWN")
            self.answer(job, outcome)
        waiting = self._locks[job.lock]
        if waiting:
            world.loop.soon(self.process, self._begin, waiting.popleft())
        else:
            del self._locks[job.lock]

    def answer(self, job: Job, outcome: CallOutcome) -> None:
        self._world.trace(
            "answer", self.name, job.key.gid, job.key.branch_id, str(job.key.phase),
            type(outcome).__name__, getattr(outcome, "code", ""),
        )  # fmt: skip
        job.answer(_on_the_wire(outcome))


def _on_the_wire(outcome: CallOutcome) -> inputs.Outcome:
    match outcome:
        case Done(output):
            return inputs.Succeeded(Payload(output.data, output.content_type))
        case No(code, text):
            return inputs.Refused(code, text)
        case Later(retry_after_ms):
            return inputs.Pending(retry_after_ms or None)
        case Failed(code, text, retry_after_ms, output):
            return inputs.Unknown(
                code,
                text,
                retry_after_ms or None,
                Payload(output.data, output.content_type),
            )
