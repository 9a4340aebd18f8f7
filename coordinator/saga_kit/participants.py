"""Participants in memory: they do what they are asked, behind a barrier.

They keep the promises of the participant SDK: a repeated call gets the recorded
answer, an undo without its action leaves a mark that refuses a later action, and a
compensation that lacks the action's output says so and gives it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from coordinator.core.actions import CallBranch
from coordinator.core.inputs import Outcome, Refused, Succeeded, Unknown
from coordinator.core.model import NO_PAYLOAD, Payload
from coordinator.core.saga import OUTPUT_NEEDED
from coordinator.core.words import Phase

Answer = Callable[[CallBranch], Payload]
"""The output that a call of a try or an action is answered with."""

REFUSAL = "REFUSED_IN_TEST"


@dataclass(slots=True)
class Record:
    """What a participant's database says about one branch.

    Attributes:
        has_run: the try or action has taken effect.
        is_undone: cancelled or compensated, or marked so before it ran.
        faults: what the coordinator asked and never may.
    """

    has_run: bool = False
    output: Payload = NO_PAYLOAD
    refusal: Refused | None = None
    is_confirmed: bool = False
    is_undone: bool = False
    faults: tuple[str, ...] = ()

    @property
    def net_effect(self) -> int:
        """1 when its effect stands, 0 when there is none (any more)."""
        return int(self.has_run and not self.is_undone)


class Participants:
    """All participants of one saga."""

    def __init__(self, answer: Answer) -> None:
        self.records: dict[str, Record] = {}
        self._answer = answer

    def record(self, branch_id: str) -> Record:
        """What is recorded of a branch."""
        return self.records.setdefault(branch_id, Record())

    def refuse(self, call: CallBranch) -> Outcome:
        """A business "no" to a try or action, unless it was said or done before."""
        record = self.record(call.branch_id)
        if not record.has_run and not record.is_undone and not call.reconsider:
            record.refusal = record.refusal or Refused(REFUSAL, "no, for this test")
        return self.carry_out(call)

    def carry_out(self, call: CallBranch) -> Outcome:
        """Do what is asked, once."""
        record = self.record(call.branch_id)
        match call.phase:
            case Phase.TRY | Phase.ACTION:
                return self._run(record, call)
            case Phase.CONFIRM:
                if record.is_undone or not record.has_run:
                    self._note(record, "T5: asked to confirm what is not reserved")
                record.is_confirmed = True
            case Phase.CANCEL:
                if record.is_confirmed:
                    self._note(record, "T5: asked to cancel what is confirmed")
                record.is_undone = True
            case Phase.COMPENSATION:
                if record.has_run and not record.is_undone and not call.input.data:
                    return Unknown(OUTPUT_NEEDED, output=record.output)
                record.is_undone = True
        return Succeeded()

    def _run(self, record: Record, call: CallBranch) -> Outcome:
        if record.is_undone:
            return Refused("ABORTED", "undone before it came")
        if record.refusal is not None and not call.reconsider:
            return record.refusal
        if not record.has_run:
            record.has_run = True
            record.output = self._answer(call)
        return Succeeded(record.output)

    def _note(self, record: Record, fault: str) -> None:
        record.faults = (*record.faults, fault)
