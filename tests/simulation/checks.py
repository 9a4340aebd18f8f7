"""Safety, checked the moment something becomes durable, is sent or is answered.

The checker sees everything at once: what the database holds, what every participant
did, who sent what and who was told what. It judges by that, never by what a node
believes.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from coordinator.core.actions import CallBranch
from coordinator.core.changed import changed
from coordinator.core.errors import IllegalTransition
from coordinator.core.events import (
    AttemptFailed,
    AttentionRaised,
    BranchAbandoned,
    BranchRegistered,
    BranchResolved,
    CompensationStarted,
    Decided,
    Event,
    Finished,
    Paused,
    StepStarted,
    is_journaled,
)
from coordinator.core.evolution import evolve
from coordinator.core.inputs import BranchReplied, Pending, Unknown
from coordinator.core.model import (
    UNDER_WAY,
    GlobalTransaction,
    Key,
)
from coordinator.core.tcc import CHECK_BACK_ID
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    Phase,
    Status,
)
from coordinator.ports import Change, NodeRow, SweepRow
from participant_sdk.barrier import rules
from participant_sdk.barrier.sql import Admission
from participant_sdk.executor.outcome import CallOutcome, Done, Later, No
from tests.simulation.fairness import Fairness
from tests.simulation.overload import Overload
from tests.simulation.quarantines import Quarantines
from tests.simulation.recoveries import Recoveries
from tests.simulation.saga_oracle import SagaOracle
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.participant import Participant
    from tests.simulation.world import World

PHASES = tuple(Phase)
PHASE_TWO = (Phase.CONFIRM, Phase.CANCEL)
FORWARD = (Phase.TRY, Phase.ACTION)
UNDOES = {Phase.CANCEL: Phase.TRY, Phase.COMPENSATION: Phase.ACTION}


class Checks:
    """What has happened, and whether it was allowed to.

    Attributes:
        durable: the folded journal of every transaction, kept by the checker itself.
        effects: how often each (gid, branch, phase) took effect.
        succeeded: (gid, branch) whose try or action is done for good.
        by_hand: (gid, branch) that an operator settled; anything may become of it.
        forgotten: nodes whose row was removed once.
        buried: (gid, branch) that no try or action may touch any more.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.hit = self._hit = world.rare.hit
        self.durable: dict[Key, GlobalTransaction] = {}
        self.effects: dict[tuple[str, str, Phase], int] = defaultdict(int)
        self.outputs: dict[tuple[str, str], bytes] = {}
        self.succeeded: set[tuple[str, str]] = set()
        self.buried: set[tuple[str, str]] = set()
        self.ended: set[str] = set()
        self.by_hand: set[tuple[str, str]] = set()
        self.callers: dict[tuple[str, str, Phase], str] = {}
        self.heartbeats: dict[str, int] = {}
        self.forgotten: set[str] = set()
        self.probing = False
        self.recoveries = Recoveries(world)
        self.fairness = Fairness(world)
        self.quarantines = Quarantines(world)
        self.overload = Overload(world)
        self.sagas = SagaOracle(self)

    # ---- The database --------------------------------------------------------------

    def committed(
        self, node: "Node", changes: Sequence[Change], conflicts: Collection[Key]
    ) -> None:
        """These changes have just become durable, but for the conflicts."""
        if len(changes) > 1:
            self._hit("group_commit_of_several")
        for change in changes:
            if conflicts and change.key in conflicts:
                self._hit("commit_conflict")
                self._conflicted(node, change)
            else:
                self._applied(node, change)

    def _conflicted(self, node: "Node", change: Change) -> None:
        durable = self.durable.get(change.key)
        if durable is None:
            raise Violation("L1", change.key.gid, "conflict with nothing")
        if change.before is not None and change.before.revision == durable.revision:
            raise Violation("L1", change.key.gid, "conflict though the guard holds")
        if durable.owner != node.name and change.before is not None:
            if change.before.owner == node.name:
                self._hit("conflict_after_take_over")
            if node.name in self._world.was_paused:
                self._hit("zombie_write_rejected")

    def _applied(self, node: "Node", change: Change) -> None:
        key = change.key
        gid, before = key.gid, self.durable.get(key)
        revision, seq = (before.revision, before.journal_seq) if before else (0, 0)
        if (change.before.revision if change.before else 0) != revision:
            raise Violation("L1", gid, f"{node.name} wrote over revision {revision}")
        if before is not None and before.status.is_final:
            raise Violation("T8", gid, f"{node.name} wrote after {before.status}")
        tx = before
        try:
            for event in change.events:
                self._fact(node, tx, event)
                tx = evolve(tx, event)
        except IllegalTransition as illegal:
            raise Violation("T11", gid, f"the log does not fold: {illegal}") from None
        if tx is None:
            raise Violation("T11", gid, "a row without a fact")
        if not change.events:
            self._hit("take_over_survived_unmoved")
        expected = changed(
            tx,
            revision=revision + 1,
            journal_seq=seq + any(map(is_journaled, change.events)),
            owner=self.quarantines.committed(node, change),
            branches_apart=change.after.branches_apart,
        )
        # Who quarantines reads no definition, and needs none.
        if expected != changed(change.after, definition=expected.definition):
            raise Violation("T11", gid, "the row is not the fold of its log")
        is_held = (
            expected.status.is_final
            or expected.paused_at is not None
            or self.sagas.waits_for_somebody(expected)
        )
        if change.due_at is None and not is_held:
            raise Violation("L7", gid, f"{expected.status}, and never due again")
        self.durable[key] = expected
        if expected.status.is_final:
            self._finished(expected)

    def _fact(self, node: "Node", tx: GlobalTransaction | None, event: Event) -> None:
        gid = tx.key.gid if tx else ""
        if tx is not None and tx.request.mode is Mode.SAGA:
            self.sagas.fact(node.name, tx, event)
        match event:
            case Decided():
                self._decided(tx, event)
            case BranchRegistered() | StepStarted() if tx is not None:
                self._joined(tx, event)
            case AttemptFailed() if event.code not in _PACED and tx is not None:
                self._attempt_failed(node, tx, event)
            case Finished() if tx is not None:
                self._late_end(tx, event)
            case BranchResolved(branch_id=branch_id):
                self._hit("branch_resolved_by_hand")
                self.by_hand.add((gid, branch_id))
            case CompensationStarted() if tx is not None:
                branch = tx.branches[event.branch_id]
                if branch.status is BranchStatus.RUNNING:
                    self._hit("compensation_of_unknown_step")
            case _:
                if name := _RARE_FACTS.get(type(event)):
                    self._hit(name)

    def _joined(
        self, tx: GlobalTransaction, event: BranchRegistered | StepStarted
    ) -> None:
        if tx.decision is not Decision.NONE and tx.request.mode is Mode.TCC:
            raise Violation("T3", tx.key.gid, f"a branch joined after {tx.decision}")
        if (tx.key.gid, event.spec.parent_branch_id) in self.succeeded:
            raise Violation("T12", tx.key.gid, "a branch joined an answered try")

    def _late_end(self, tx: GlobalTransaction, event: Finished) -> None:
        if event.at < tx.request.deadline_at:
            return
        if event.status is Status.CONFIRMED:
            self._hit("confirm_beats_deadline")
        elif event.status is Status.COMPLETED and tx.decision is Decision.NONE:
            raise Violation("T9", tx.key.gid, "completed at or after its timeout")

    def _attempt_failed(
        self, node: "Node", tx: GlobalTransaction, event: AttemptFailed
    ) -> None:
        branch = tx.branches[event.branch_id]
        if event.attempts != branch.attempts + 1:
            raise Violation("V8", tx.key.gid, "attempts do not count one by one")
        scenario = self._world.scenario
        cap = max(scenario.forward.interval_max_ms, scenario.phase_two.interval_max_ms)
        latest = node.clock.now() + cap
        if event.due_at > latest and "clock_jump" not in scenario.faults:
            raise Violation("V8", tx.key.gid, "a retry is later than the cap allows")

    def _decided(self, tx: GlobalTransaction | None, event: Decided) -> None:
        if tx is None:
            raise Violation("T1", "", "decided before the beginning")
        gid = tx.key.gid
        if tx.decision is not Decision.NONE:
            raise Violation("T1", gid, "decided twice")
        if event.decision is Decision.COMMIT:
            self._committed(tx, event)
        else:
            self._aborted(tx, event)

    def _committed(self, tx: GlobalTransaction, event: Decided) -> None:
        gid = tx.key.gid
        is_saga = tx.request.mode is Mode.SAGA
        if is_saga and tx.definition is not None and tx.definition.has_pivot:
            if event.at >= tx.request.deadline_at:
                self._hit("pivot_in_flight_at_the_timeout")
        elif CHECK_BACK_ID in tx.branches:
            answered = (gid, CHECK_BACK_ID) in self.succeeded
            self._hit(
                "initiator_asked_back_says_commit"
                if answered
                else "confirm_beats_check_back"
            )
        elif event.at >= tx.request.deadline_at:
            raise Violation("T9", gid, "committed at or after the deadline")
        if tx.request.declared:
            self._hit("declared_decided_by_itself")
        for branch_id in () if is_saga else tx.branches:
            if (gid, branch_id) not in self.succeeded and branch_id != CHECK_BACK_ID:
                text = f"commit, but the try of {branch_id} did not succeed"
                raise Violation("T2", gid, text)

    def _aborted(self, tx: GlobalTransaction, event: Decided) -> None:
        is_tcc = tx.request.mode is Mode.TCC
        if event.code in ("DEADLINE", "TIMEOUT"):
            is_early = event.at < tx.request.deadline_at
            if is_early and (is_tcc or not self.sagas.may_time_out(tx, event.at)):
                raise Violation("T9", tx.key.gid, "the deadline came too early")
            if not is_tcc and not is_early:
                self._hit("saga_timed_out")
        elif event.code == "ATTEMPTS_USED_UP":
            self._hit("try_attempts_used_up" if is_tcc else "action_attempts_used_up")
        elif event.code == "NO_FUNDS":
            self._hit("try_refused")
        elif event.code == "NOT_MINE":
            self._hit("initiator_asked_back_says_abort")
        elif event.code == "CANCELLED_BY_OPERATOR":
            self._hit("operator_cancelled")
        elif event.code == "PENDING_TIMEOUT":
            self._hit("pending_timed_out")
        running = (b.status is BranchStatus.RUNNING for b in tx.branches.values())
        if any(running):
            self._hit("sibling_in_flight_at_turn")

    def _finished(self, tx: GlobalTransaction) -> None:
        """T8, T6, S3: an end is what the participants really did."""
        gid, eff = tx.key.gid, self.effects
        self.ended.add(gid)
        self._world.loop.look = True
        if not tx.branches:
            self._hit("empty_transaction_ended")
        for branch_id in tx.branches if tx.request.mode is Mode.TCC else ():
            if branch_id == CHECK_BACK_ID or (gid, branch_id) in self.by_hand:
                continue
            done = {phase: eff[gid, branch_id, phase] for phase in PHASES}
            if not _is_honest(tx, done):
                raise Violation("T8", gid, f"{tx.status}, but {branch_id} did {done}")
        if tx.status is Status.RESOLVED:
            self._hit("ended_as_resolved")
            if not any(key == gid for key, _ in self.by_hand):
                raise Violation("T8", gid, "resolved, and by nobody's hand")
        if tx.request.mode is Mode.SAGA:
            self._hit(f"saga_{tx.status.value.lower()}")
            self.sagas.ended(tx)

    def claimed(
        self, node: "Node", rows: Sequence[SweepRow], claimed: Collection[Key]
    ) -> None:
        """These rows have just changed their owner (L3)."""
        listed = {row.key: row for row in rows}
        if len(claimed) < len(listed):
            self._hit("claim_lost_to_somebody")
        for key in claimed:
            tx, row = self.durable[key], listed[key]
            self.quarantines.claimed(node, row, claimed, tx.owner)
            counted = row.takeovers - self.quarantines.counted[key]
            self.quarantines.counted[key] = row.takeovers
            if not counted and tx.owner in node.listed - self.forgotten:
                raise Violation("L1", key.gid, f"{tx.owner} has not left")
            if counted and self.is_alive(tx.owner):
                self.fairness.taken_over(tx.owner, key.gid)
            if tx.revision != row.revision:
                raise Violation("L3", key.gid, "claimed a row that had moved on")
            if tx.status.is_final:
                raise Violation("L3", key.gid, "claimed an ended transaction")
            self.durable[key] = changed(tx, owner=node.name, revision=tx.revision + 1)
            self._hit("take_over_claimed")

    def is_alive(self, node_id: str) -> bool:
        """It is only slow, which may be taken for dead (L1)."""
        return any(n.alive for n in self._world.nodes if n.name == node_id)

    def beaten(self, node: "Node", row: NodeRow) -> None:
        """A node's heartbeat: its id is its own, so the counter only rises (L2)."""
        self.fairness.tried(node)
        if row.heartbeat <= self.heartbeats.get(row.node_id, 0):
            raise Violation("L2", row.node_id, "two processes share one node id")
        self.heartbeats[row.node_id] = row.heartbeat

    # ---- Calls ---------------------------------------------------------------------

    def sent(self, node: "Node", call: CallBranch, *, was_due: bool = False) -> None:
        """A node is about to let this call out; its time was judged before it had to
        wait, if it had to: the clock may have been set back since.
        """
        gid, branch_id, phase = call.key.gid, call.branch_id, call.phase
        tx = self.durable.get(call.key)
        if tx is None or branch_id not in tx.branches:
            raise Violation("T4", gid, f"{phase} of {branch_id} before it is durable")
        if phase in FORWARD and (
            call.key in node.aborted or (call.key, branch_id) in node.given_up
        ):
            raise Violation("S4", gid, f"{phase} of {branch_id} sent after the abort")
        if phase is Phase.CONFIRM and tx.decision is not Decision.COMMIT:
            raise Violation("T4", gid, f"confirm while durable {tx.decision}")
        is_saga = tx.request.mode is Mode.SAGA
        if UNDOES.get(phase) and tx.decision is not Decision.ABORT and not is_saga:
            raise Violation("T4", gid, f"{phase} while durable {tx.decision}")
        if node.owners.get(call.key) != node.name:
            raise Violation("L4", gid, f"{phase} sent by {node.name}, not its owner")
        if not was_due:
            self._is_its_time(node, tx, call)
        if call.key in node.paused:
            raise Violation("V8", gid, f"{phase} sent while an operator holds it")
        if is_saga:
            self._saga_call(node, tx, call)
        elif call.input != tx.branches[branch_id].spec.input:
            raise Violation("S7", gid, f"{phase} of {branch_id} with another input")
        caller = self.callers.setdefault((gid, branch_id, phase), node.name)
        if caller != node.name:
            self._hit("two_nodes_call_same_phase")
        self._world.trace("call", node.name, gid, branch_id, str(phase), call.attempt)

    def _is_its_time(
        self, node: "Node", tx: GlobalTransaction, call: CallBranch
    ) -> None:
        """V8: nothing is asked again before the time that was computed for it."""
        branch = tx.branches[call.branch_id]
        if (
            tx.owner == node.name
            and UNDER_WAY.get(branch.status) is call.phase
            and branch.attempts + 1 == call.attempt
            and (branch.due_at is None or branch.due_at > node.clock.now())
        ):
            if branch.due_at is not None and self.recoveries.may_be_early(node, call):
                self._hit("asked_soon_after_a_return")
                return
            raise Violation("V8", tx.key.gid, f"{call.phase} asked before it was due")

    def _saga_call(self, node: "Node", tx: GlobalTransaction, call: CallBranch) -> None:
        """S7, T4: what is called is what is stored, in the phase that is stored."""
        branch, phase = tx.branches[call.branch_id], call.phase
        is_undo = phase is Phase.COMPENSATION
        if phase in UNDOES and branch.status not in (
            BranchStatus.CANCELLING,
            BranchStatus.COMPENSATING,
            BranchStatus.CANCELLED,
            BranchStatus.COMPENSATED,
            BranchStatus.RESOLVED,
        ):
            text = f"{phase} of {call.branch_id}, which is {branch.status}"
            raise Violation("T4", tx.key.gid, text)
        if not is_undo and call.input != branch.spec.input:
            text = f"{phase} of {call.branch_id} with another input"
            raise Violation("S7", tx.key.gid, text)
        self.sagas.sent(node.name, tx, call)

    def replied(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        """A node's dispatcher hands outcomes to its engine."""
        self.quarantines.heard_of(replies)
        for _, reply in replies:
            if isinstance(reply.outcome, Unknown):
                if name := _UNKNOWNS.get(reply.outcome.code):
                    self._hit(name)
            elif isinstance(reply.outcome, Pending):
                self._hit("pending_polled")

    # ---- Participants --------------------------------------------------------------

    def admitted(
        self, participant: "Participant", call: CallBranch, admission: Admission
    ) -> None:
        """The barrier has judged a call."""
        verdict, gid, phase = admission.verdict, call.key.gid, call.phase
        match verdict:
            case rules.Reject(code=code, alarming=True) if not self.probing:
                text = f"{phase} of {call.branch_id} was out of order: {code}"
                raise Violation("B5", gid, text)
            case rules.Reject(final=True):
                is_try = phase is Phase.TRY
                self._hit("late_try_refused" if is_try else "late_action_refused")
            case rules.Bury():
                if self.effects[gid, call.branch_id, UNDOES[phase]]:
                    raise Violation("B2", gid, f"empty {phase}, but there is an effect")
                is_cancel = phase is Phase.CANCEL
                self._hit("empty_cancel" if is_cancel else "empty_compensation")
            case rules.Answer(record):
                refused = record.outcome is rules.Outcome.REFUSED
                if refused:
                    self._hit("duplicate_refusal_answered_from_record")
                elif phase is Phase.CANCEL and record.phase is rules.Phase.TRY:
                    self._hit("cancel_of_refused_try")
                elif name := _DUPLICATES.get(phase):
                    self._hit(name)
            case _:
                pass

    def settled(
        self,
        participant: "Participant",
        call: CallBranch,
        outcome: CallOutcome,
        *,
        ran: bool,
    ) -> None:
        """A local transaction has just become durable, with this answer."""
        gid, branch_id, phase = call.key.gid, call.branch_id, call.phase
        if ran:
            self._took_effect(call, outcome)
        if phase in FORWARD and isinstance(outcome, Done | Later):
            self._told_yes(participant, call, outcome, ran=ran)
        elif isinstance(outcome, Done):
            self._told_done(call)
        elif (
            isinstance(outcome, No)
            and (gid, branch_id) not in self.buried
            and self.effects[gid, branch_id, phase]
        ):
            raise Violation("B4", gid, f"{phase} of {branch_id} refused, but done")

    def _told_yes(
        self,
        participant: "Participant",
        call: CallBranch,
        outcome: Done | Later,
        *,
        ran: bool,
    ) -> None:
        gid, branch_id, phase = call.key.gid, call.branch_id, call.phase
        if (gid, branch_id) in self.buried:
            raise Violation("B4", gid, f"a late {phase} of {branch_id} was told OK")
        if isinstance(outcome, Later):
            if ran:
                self._world.complete_later(participant, call)
            return
        if not self.effects[gid, branch_id, phase]:
            raise Violation("B1", gid, f"{phase} of {branch_id} OK, nothing done")
        self.succeeded.add((gid, branch_id))
        output = outcome.output.data
        if self.outputs.setdefault((gid, branch_id), output) != output:
            raise Violation("B4", gid, f"{phase} of {branch_id}: not what is recorded")

    def _told_done(self, call: CallBranch) -> None:
        gid, branch_id, phase = call.key.gid, call.branch_id, call.phase
        effects = self.effects[gid, branch_id, phase]
        if phase is Phase.CONFIRM:
            if not effects:
                raise Violation("B1", gid, f"confirm of {branch_id} OK, nothing done")
            return
        if self.effects[gid, branch_id, UNDOES[phase]] != effects:
            raise Violation("B1", gid, f"{phase} of {branch_id} OK, nothing undone")
        self.buried.add((gid, branch_id))

    def _took_effect(self, call: CallBranch, outcome: CallOutcome) -> None:
        gid, branch_id, phase = call.key.gid, call.branch_id, call.phase
        eff, tx = self.effects, self.durable.get(call.key)
        if self.probing:
            raise Violation("B5", gid, f"a stray {phase} of {branch_id} took effect")
        eff[gid, branch_id, phase] += 1
        self._world.trace("effect", gid, branch_id, str(phase))
        if eff[gid, branch_id, phase] > 1:
            raise Violation("T6", gid, f"{phase} of {branch_id} took effect twice")
        if tx is None or branch_id not in tx.branches:
            raise Violation("T4", gid, f"{phase} of {branch_id} before it is durable")
        if phase in FORWARD and (gid, branch_id) in self.buried:
            raise Violation("B3", gid, f"{phase} of {branch_id} after it was undone")
        if eff[gid, branch_id, Phase.CONFIRM] and eff[gid, branch_id, Phase.CANCEL]:
            raise Violation("T5", gid, f"{branch_id} confirmed and cancelled")
        if phase is Phase.CONFIRM and tx.decision is not Decision.COMMIT:
            raise Violation("T5", gid, f"{branch_id} confirmed, durable {tx.decision}")
        if tx.request.mode is Mode.SAGA:
            self.sagas.took_effect(tx, call)
        if phase in UNDOES:
            if tx.decision is not Decision.ABORT and tx.request.mode is Mode.TCC:
                raise Violation("T5", gid, f"{phase} of {branch_id}: {tx.decision}")
            if not eff[gid, branch_id, UNDOES[phase]]:
                raise Violation("B2", gid, f"{phase} of {branch_id} undid nothing")
        self._not_after_the_end(tx, branch_id, phase)

    def _not_after_the_end(
        self, tx: GlobalTransaction, branch_id: str, phase: Phase
    ) -> None:
        gid = tx.key.gid
        if gid not in self.ended or (gid, branch_id) in self.by_hand:
            return
        if phase is not Phase.ACTION or self.undoable(tx, branch_id):
            raise Violation("T6", gid, f"{phase} of {branch_id} after the end")

    def undoable(self, tx: GlobalTransaction, branch_id: str) -> bool:
        """Whether a branch can be undone; every try has a cancel."""
        if tx.request.mode is Mode.TCC:
            return branch_id != CHECK_BACK_ID
        return self.sagas.is_undoable(tx.key.gid, branch_id)

    # ---- Initiators ----------------------------------------------------------------

    def answered(self, key: Key, answer: GlobalTransaction) -> None:
        """Somebody is told this state: it must be durable (T7, T9)."""
        tx = self.durable.get(key)
        if tx is None:
            raise Violation("T7", key.gid, "answered before it was durable")
        if answer.decision is not Decision.NONE and answer.decision != tx.decision:
            raise Violation("T7", key.gid, f"told {answer.decision}, is {tx.decision}")
        if answer.status.is_final and answer.status is not tx.status:
            raise Violation("T7", key.gid, f"told {answer.status}, is {tx.status}")
        for branch_id, branch in answer.branches.items():
            if branch_id not in tx.branches:
                raise Violation("T7", key.gid, f"told of {branch_id}: not durable")
            is_open = tx.branches[branch_id].status is BranchStatus.TRYING
            was_tried = branch.status is BranchStatus.TRIED
            if tx.request.check_back and was_tried and is_open:
                # The initiator acts on it, and will be asked about it.
                raise Violation("T7", key.gid, f"told that {branch_id} was tried")


_UNKNOWNS = {
    "TIMEOUT": "call_timed_out",
    "DISCONNECTED": "session_broke_under_a_call",
    "PARTICIPANT_UNAVAILABLE": "participant_not_attached",
    "OUTPUT_NEEDED": "output_needed",
}
_PACED = ("RETRY_AFTER", "SIGNAL_TIMEOUT")
"""Failed attempts whose next time is somebody's wish, and no back-off."""
_RARE_FACTS: dict[type[Event], str] = {
    AttentionRaised: "attention_raised",
    BranchAbandoned: "step_abandoned",
    Paused: "operator_paused",
}
_DUPLICATES = {
    Phase.TRY: "duplicate_try_answered_from_record",
    Phase.CONFIRM: "duplicate_confirm",
    Phase.CANCEL: "duplicate_cancel",
}


def _is_honest(tx: GlobalTransaction, done: Mapping[Phase, int]) -> bool:
    """Whether what a branch of a TCC transaction did is what the decision demands."""
    if tx.decision is Decision.COMMIT:
        return done[Phase.TRY] == done[Phase.CONFIRM] == 1
    return done[Phase.TRY] == done[Phase.CANCEL] and not done[Phase.CONFIRM]
