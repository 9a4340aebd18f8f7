"""One branch at its participant: the real barrier, and a business that counts.

Claims, reads and verdicts are the SDK's own (``participant_sdk/barrier``) over a
dictionary. A call's rows and its effect are one local transaction, and calls of one
branch follow one another, as the database's row locks make them; that is the one thing
that is modelled. A local transaction that comes to nothing is a lost call.
"""

from typing import NamedTuple

from coordinator.core.actions import CallBranch
from coordinator.core.inputs import (
    BranchReplied,
    Outcome,
    Pending,
    Refused,
    Succeeded,
    Unknown,
)
from coordinator.core.model import JSON_CONTENT_TYPE, Payload
from participant_sdk.barrier import rules
from participant_sdk.barrier.rules import Phase, Record, Slot
from participant_sdk.barrier.sql import BranchKey
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
from tests.exhaustive.decisions import Decisions
from tests.exhaustive.engine import GONE, without
from tests.simulation.participant import LocalTransaction, MemoryBarrier

_BARRIER = MemoryBarrier()


class Effects(NamedTuple):
    """How often the business ran: its try or action, its confirm, its undoing."""

    forward: int = 0
    confirm: int = 0
    undo: int = 0


class Share(NamedTuple):
    """One branch, where it is carried out.

    Attributes:
        calls: call number and the node that waits for the answer; ``GONE`` when
            nobody does.
    """

    forward: Record | None = None
    second: Record | None = None
    effects: Effects = Effects()
    calls: tuple[tuple[int, int], ...] = ()

    @property
    def is_buried(self) -> bool:
        """It was undone, or can never take effect."""
        return (self.second is not None and self.second.phase.is_backward) or (
            self.forward is not None and self.forward.outcome is rules.Outcome.EMPTY
        )


class Carried(NamedTuple):
    """One call carried out: the branch after it, and who is told what."""

    label: str
    share: Share
    node: int
    reply: int
    bug: str = ""


def moves(decisions: Decisions, share: Share, *, may_refuse: bool) -> list[Carried]:
    """Every call that can be carried out next."""
    found = []
    for number, node in dict.fromkeys(share.calls):
        rest = share._replace(calls=without(share.calls, (number, node)))
        call = decisions.call(number)
        for refuses in (False, True) if may_refuse else (False,):
            carried = _carry_out(rest, call, refuses=refuses)
            if carried is None:
                continue
            after, outcome, bug = carried
            reply = reply_number(decisions, call, on_the_wire(outcome))
            said = type(outcome).__name__ + f" {getattr(outcome, 'code', '')}".rstrip()
            label = f"{call.branch_id} carries out {call.phase}: {said}"
            found.append(Carried(label, after, node, reply, bug))
    return found


def lost(decisions: Decisions, number: int) -> int:
    """What a node hears of a call whose answer will not come."""
    return reply_number(decisions, decisions.call(number), Unknown("TIMEOUT"))


def reply_number(decisions: Decisions, call: CallBranch, outcome: Outcome) -> int:
    return decisions.input_number(
        BranchReplied(call.branch_id, call.phase, call.attempt, outcome)
    )


def _carry_out(
    share: Share, call: CallBranch, *, refuses: bool
) -> tuple[Share, CallOutcome, str] | None:
    """One local transaction; ``None`` when there is nothing to refuse in it."""
    phase = Phase(call.phase.value)
    key = BranchKey(call.key.gid, call.branch_id, call.operation, phase)
    rows = {(key.gid, key.branch_id, Slot.FORWARD): share.forward}
    rows[key.gid, key.branch_id, Slot.SECOND] = share.second
    local = LocalTransaction({k: r for k, r in rows.items() if r is not None})
    known_done = bool(call.output.data or call.output.content_type)
    admission = _BARRIER.admit(local, key, known_done=known_done, now_ms=0)
    effects, bug = share.effects, ""
    runs = isinstance(admission.verdict, rules.Run)
    if refuses and not (runs and phase.is_forward):
        return None
    match admission.verdict:
        case rules.Run(forward):
            outcome = No("NO_FUNDS") if refuses else _business(call, phase, forward)
            record = record_of(phase, outcome)
            slot = admission.slot or Slot.FORWARD
            if record is None:
                _BARRIER.drop(local, key, slot)
            else:
                _BARRIER.settle(local, key, slot, record)
            if isinstance(outcome, Done):
                effects = _counted(effects, phase)
        case rules.Answer(record):
            outcome = outcome_of_record(record)
        case rules.Bury():
            outcome = Done()
        case rules.Reject() as rejection:
            outcome = outcome_of_rejection(rejection)
            if rejection.alarming:
                bug = f"B5 {phase} of {call.branch_id} out of order: {rejection.code}"
    local.commit()
    kept = [local.durable.get(k) for k in rows]
    after = Share(kept[0], kept[1], effects, share.calls)
    return after, outcome, bug or _dishonest(share, after, phase, outcome)


def _business(call: CallBranch, phase: Phase, forward: Record | None) -> CallOutcome:
    if phase is Phase.COMPENSATION and not call.input.data and forward is not None:
        output = Encoded(forward.output, forward.content_type)
        return Failed("OUTPUT_NEEDED", output=output)
    if not phase.is_forward:
        return Done()
    text = f'{{"of":"{call.branch_id}"}}'
    return Done(Encoded(text.encode(), JSON_CONTENT_TYPE))


def _counted(effects: Effects, phase: Phase) -> Effects:
    forward, confirm, undo = effects
    if phase.is_forward:
        return Effects(forward + 1, confirm, undo)
    if phase is Phase.CONFIRM:
        return Effects(forward, confirm + 1, undo)
    return Effects(forward, confirm, undo + 1)


def _dishonest(before: Share, after: Share, phase: Phase, outcome: CallOutcome) -> str:
    """What is wrong with an answer, seen from what was really done."""
    effects = after.effects
    if phase.is_forward and before.is_buried:
        if effects != before.effects:
            return "B3 a try or action took effect after it was undone"
        if isinstance(outcome, Done):
            return "B4 a late try or action was told OK"
    if isinstance(outcome, No) and effects.forward and not after.is_buried:
        return "B4 refused, but it is done"
    if isinstance(outcome, Done):
        if phase.is_forward and not effects.forward:
            return "B1 a try or action told OK, and nothing done"
        if phase is Phase.CONFIRM and not effects.confirm:
            return "B1 a confirm told OK, and nothing done"
        if phase.is_backward and effects.undo != effects.forward:
            return "B2 an undoing told OK, but what is undone is not what was done"
    return ""


def on_the_wire(outcome: CallOutcome) -> Outcome:
    """As the coordinator hears it."""
    match outcome:
        case Done(output):
            return Succeeded(Payload(output.data, output.content_type))
        case No(code, _):
            return Refused(code)
        case Later(retry_after_ms):
            return Pending(retry_after_ms or None)
        case Failed(code, _, _, output):
            return Unknown(code, output=Payload(output.data, output.content_type))


def mirrored(share: Share) -> Share:
    """The same with the two nodes' names exchanged."""
    calls = ((c, node if node == GONE else 1 - node) for c, node in share.calls)
    return share._replace(calls=tuple(sorted(calls)))


def orphaned(share: Share, gone: int) -> Share:
    """The same when a node has ended: its calls go on, nobody hears the answers."""
    calls = ((c, GONE if node == gone else node) for c, node in share.calls)
    return share._replace(calls=tuple(sorted(calls)))
