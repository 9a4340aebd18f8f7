"""What a saga may do, judged by its definition and by what participants really did.

Shares no code with the core: places come from :mod:`tests.simulation.saga_tree`, and
"succeeded", "undone" and "took effect" from the participants' side. Of the journal it
reads only what no participant can know: that something was given up, skipped, refused
without a call, or settled by hand.
"""

import json

from coordinator.core.actions import CallBranch
from coordinator.core.definition import (
    BranchKind,
    Constant,
    Reference,
    Template,
    TemplateMap,
)
from coordinator.core.events import (
    BranchAbandoned,
    BranchRefused,
    BranchSucceeded,
    CompensationStarted,
    Decided,
    Event,
    StepRefused,
    StepSkipped,
    StepStarted,
)
from coordinator.core.model import (
    Branch,
    BranchSpec,
    GlobalTransaction,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
)
from tests.simulation.saga_facts import ANSWERED, FORWARD, GOING_BACK, SagaFacts
from tests.simulation.saga_tree import Place, Scope, Tree, Unit, is_undoable
from tests.simulation.verdict import Violation

_PHASES = tuple(Phase)

DURATIONS_MS = {"20ms": 20, "PT0.1S": 100}
"""The texts that are generated."""


class SagaOracle(SagaFacts):
    """Judges every saga of one world, fact by fact and call by call."""

    # ---- Facts --------------------------------------------------------------------
    def fact(self, node: str, tx: GlobalTransaction, event: Event) -> None:
        """This is about to follow, in the journal of a saga."""
        match event:
            case StepStarted(spec) | StepSkipped(spec) | StepRefused(spec):
                self._opened(tx, event, spec)
            case BranchSucceeded(branch_id, phase):
                self._succeeded(tx, branch_id, phase, event)
            case BranchRefused(branch_id, code):
                self._refused(tx, branch_id, code, event.at)
            case CompensationStarted(branch_id) | BranchAbandoned(branch_id):
                self._goes_back(tx, branch_id, event)
            case Decided():
                self._deciders[tx.key.gid] = node
                self._decided(tx, event)
            case _:
                pass

    def _opened(
        self,
        tx: GlobalTransaction,
        event: StepStarted | StepSkipped | StepRefused,
        spec: BranchSpec,
    ) -> None:
        gid, branch_id = tx.key.gid, spec.branch_id
        tree = self._trees[gid]
        if tx.decision is Decision.ABORT:
            raise Violation("S4", gid, f"{branch_id} joined after the abort")
        place = tree.lists.get(branch_id)
        unit, choice = tree.branches.get(branch_id, (None, 0))
        if place is None and unit is not None:
            place = unit.place
        if place is None:
            raise Violation("S8", gid, f"no place of its saga is called {branch_id}")
        is_item = unit is not None and unit.index is not None
        expected = place.branch_id if is_item else place.scope.prefix[:-1]
        if spec.parent_branch_id != expected:
            raise Violation("S8", gid, f"{branch_id} is in {spec.parent_branch_id!r}")
        self._check_order(tx, place, branch_id)
        if unit is not None and choice:
            self._check_fallback(tx, unit, choice)
        self._check_wanted(tx, place, branch_id, event)
        if is_item and isinstance(event, StepStarted) and not choice:
            self._check_parallel(tx, place, branch_id)
        if isinstance(event, StepStarted) and place.items == [] and unit is None:
            self._hit("empty_list")

    def _check_order(self, tx: GlobalTransaction, place: Place, branch_id: str) -> None:
        """S1, in its scope and in all around it; and S4 for what was given up."""
        scope: Scope | None = place.scope
        while scope is not None:
            for need in place.needs():
                if not self._is_satisfied(tx, need):
                    text = f"{branch_id} started before {need.branch_id}"
                    raise Violation("S1", tx.key.gid, text)
            owner = scope.owner
            if owner is None:
                return
            around = [owner.unit_id]
            if owner.place.is_list:
                around.append(owner.place.branch_id)
            for group in around:
                branch = tx.branches.get(group)
                if branch is None or branch.status is not BranchStatus.WAITING:
                    raise Violation("S4", tx.key.gid, f"{branch_id} in ended {group}")
            place, scope = owner.place, owner.place.scope

    def _check_fallback(self, tx: GlobalTransaction, unit: Unit, choice: int) -> None:
        gid = tx.key.gid
        before = tx.branches.get(unit.branch_ids[choice - 1])
        if before is None or before.status in FORWARD | ANSWERED:
            raise Violation("S1", gid, f"fallback {choice} of {unit.unit_id} too early")
        self._hit("fallback_called")
        if before.status is not BranchStatus.REFUSED:
            self._hit("fallback_after_unknown")

    def _check_wanted(
        self,
        tx: GlobalTransaction,
        place: Place,
        branch_id: str,
        event: StepStarted | StepSkipped | StepRefused,
    ) -> None:
        wanted = self._condition(tx, place)
        if isinstance(event, StepSkipped):
            self._hit("step_skipped")
            if wanted is not False:
                raise Violation("S7", tx.key.gid, f"{branch_id} was skipped: {wanted}")
        elif isinstance(event, StepRefused):
            self._hit("step_refused_for_an_expression")
            if not self._is_broken(tx, place):
                text = f"{branch_id} is well, but: {event.text}"
                raise Violation("S10", tx.key.gid, text)
        elif wanted is not True:
            raise Violation("S7", tx.key.gid, f"{branch_id} was started: {wanted}")

    def _check_parallel(
        self, tx: GlobalTransaction, place: Place, branch_id: str
    ) -> None:
        under_way = sum(self._is_forward(tx, unit) for unit in place.units)
        limit = place.step.for_each.parallel_max if place.step.for_each else 1
        if under_way >= limit:
            text = f"{branch_id} is one more than {limit} at a time"
            raise Violation("S9", tx.key.gid, text)
        if under_way + 1 == limit < len(place.units):
            self._hit("list_at_its_limit")

    # ---- Succeeding ---------------------------------------------------------------

    def _succeeded(
        self,
        tx: GlobalTransaction,
        branch_id: str,
        phase: Phase,
        event: BranchSucceeded,
    ) -> None:
        gid, tree = tx.key.gid, self._trees[tx.key.gid]
        key = (gid, branch_id)
        place = tree.lists.get(branch_id)
        if phase in (Phase.CANCEL, Phase.COMPENSATION):
            units = place.units if place else [tree.branches[branch_id][0]]
            if place is None and not units[0].child:
                if key not in self._checks.buried:
                    raise Violation("S2", gid, f"{branch_id} is taken for undone")
            elif not all(self._is_clear(tx, unit, members=True) for unit in units):
                raise Violation("S2", gid, f"group {branch_id} undone before members")
            return
        if phase is Phase.CONFIRM:
            if not self._checks.effects[gid, branch_id, Phase.CONFIRM]:
                raise Violation("T8", gid, f"{branch_id} is taken for confirmed")
            return
        if place is not None:
            if not all(self._is_unit_satisfied(tx, unit) for unit in place.units):
                raise Violation("S1", gid, f"list {branch_id} ended before its items")
            return
        unit, _ = tree.branches[branch_id]
        self._unit_succeeded(tx, unit, branch_id, event)

    def _unit_succeeded(
        self, tx: GlobalTransaction, unit: Unit, branch_id: str, event: BranchSucceeded
    ) -> None:
        gid, branch = tx.key.gid, tx.branches[branch_id]
        match unit.step.kind:
            case BranchKind.SAGA:
                if not self._is_unit_satisfied(tx, unit):
                    raise Violation("S1", gid, f"{branch_id} ended before its steps")
            case BranchKind.WAIT:
                wait = unit.step.wait
                value = wait.value if isinstance(wait, Constant) else 0
                ms = DURATIONS_MS.get(str(value), value)
                if not isinstance(ms, int) or event.at < branch.started_at + ms:
                    raise Violation("S1", gid, f"timer {branch_id} ended too early")
            case BranchKind.AWAIT:
                if event.at == branch.started_at:
                    self._hit("signal_came_early")
                if self._signals.get((gid, unit.step.signal)) != event.output:
                    raise Violation("S1", gid, f"{branch_id} without its signal")
            case _:
                if (gid, branch_id) not in self._checks.succeeded:
                    raise Violation("T8", gid, f"{branch_id} is taken for done")

    def _refused(
        self, tx: GlobalTransaction, branch_id: str, code: str, at: int
    ) -> None:
        unit, choice = self._trees[tx.key.gid].branches[branch_id]
        if code == "SIGNAL_TIMEOUT":
            self._hit("signal_timed_out")
            if at < tx.branches[branch_id].started_at + unit.step.timeout_ms:
                raise Violation("S1", tx.key.gid, f"{branch_id} waited not long enough")
        if branch_id in self._trees[tx.key.gid].pivots:
            self._hit("pivot_refused")
        if unit.step.optional and choice + 1 == max(1, len(unit.step.calls)):
            self._hit("optional_step_failed")
        if tx.decision is Decision.COMMIT and not self._may_fail(unit):
            raise Violation("S5", tx.key.gid, f"{branch_id} refused after the commit")
        siblings = [other for other in unit.place.units if other is not unit]
        if any(self._is_forward(tx, other) for other in siblings):
            self._hit("item_refused_with_siblings_in_flight")

    # ---- Going back ---------------------------------------------------------------
    def _goes_back(
        self,
        tx: GlobalTransaction,
        branch_id: str,
        event: CompensationStarted | BranchAbandoned,
    ) -> None:
        gid, tree = tx.key.gid, self._trees[tx.key.gid]
        branch = tx.branches[branch_id]
        if branch.status in GOING_BACK:
            return  # its input became known
        place = tree.lists.get(branch_id)
        unit, choice = tree.branches.get(branch_id, (None, 0))
        if (
            unit is not None
            and unit.step.kind is BranchKind.CALL
            and (
                isinstance(event, CompensationStarted) and not is_undoable(unit, choice)
            )
        ):
            raise Violation("S3", gid, f"{branch_id} has nothing to undo")
        if place is None and unit is not None:
            place = unit.place
        if place is None:
            raise Violation("S8", gid, f"no place of its saga is called {branch_id}")
        is_own = not self._is_in_given_up(tx, place, unit)
        if tx.decision is not Decision.ABORT and is_own:
            self._given_up_now(tx, branch_id, unit, choice)
            return
        if isinstance(event, CompensationStarted):
            self._check_reverse(tx, place, unit, branch_id)

    def _given_up_now(
        self, tx: GlobalTransaction, branch_id: str, unit: Unit | None, choice: int
    ) -> None:
        """Undone while its saga goes on: that needs somebody who can do without."""
        has_fallback = unit is not None and choice + 1 < len(unit.step.calls)
        is_optional = unit is not None and unit.step.optional
        if not has_fallback and not is_optional:
            raise Violation("S5", tx.key.gid, f"{branch_id} undone, its saga goes on")
        self._given_up.add((tx.key.gid, branch_id))
        if unit is not None and unit.child is not None:
            self._hit("optional_child_undone")
        elif is_optional and not has_fallback:
            self._hit("optional_step_given_up")

    def _check_reverse(
        self, tx: GlobalTransaction, place: Place, unit: Unit | None, branch_id: str
    ) -> None:
        """S2, in its scope and in all around it, up to what was given up."""
        gid = tx.key.gid
        if unit is not None and unit.index is not None:
            self._check_items_last_first(tx, place, unit)
        at: Place | None = place
        while at is not None:
            for follower in at.followers():
                for other in follower.units:
                    if not self._is_clear(tx, other):
                        text = f"{branch_id} undone before {other.unit_id}"
                        raise Violation("S2", gid, text)
            owner = at.scope.owner
            if owner is None or (gid, owner.unit_id) in self._given_up:
                return
            at = owner.place

    def _check_items_last_first(
        self, tx: GlobalTransaction, place: Place, unit: Unit
    ) -> None:
        own = self._latest(tx, unit)
        if own is None or own.status not in ANSWERED:
            return  # what is in flight is undone at once (S4)
        busy = 0
        for other in place.units:
            if (other.index or 0) <= (unit.index or 0):
                continue
            started = [tx.branches[b] for b in other.branch_ids if b in tx.branches]
            busy += any(branch.status in GOING_BACK for branch in started)
            if any(
                branch.status in FORWARD | ANSWERED
                and (branch.status in FORWARD or self._has_to_be_undone(other, branch))
                for branch in started
            ):
                text = f"item {unit.unit_id} undone before {other.unit_id}"
                raise Violation("S2", tx.key.gid, text)
        if place.step.for_each and busy >= place.step.for_each.parallel_max:
            text = f"item {unit.unit_id} is one too many at a time"
            raise Violation("S9", tx.key.gid, text)

    # ---- The decision, calls and the end --------------------------------------------
    def _decided(self, tx: GlobalTransaction, event: Decided) -> None:
        gid, tree = tx.key.gid, self._trees[tx.key.gid]
        if event.decision is Decision.COMMIT:
            by_pivot = "saga_committed_by_its_pivot"
            self._hit(by_pivot if tree.pivots else "saga_committed_at_its_end")
            places = tree.root.places.values()
            done = tree.pivots & {b for g, b in self._checks.succeeded if g == gid}
            if not done and not all(self._is_satisfied(tx, place) for place in places):
                raise Violation("T2", gid, "committed before all its steps")
            if tree.pivots and not done:
                raise Violation("S5", gid, "committed without its pivot")
            self._check_reservations(tx, tree, event.at)
            return
        for pivot in tree.pivots:
            if self._checks.effects[gid, pivot, Phase.ACTION]:
                raise Violation("S5", gid, f"aborted, but pivot {pivot} took effect")
            branch = tx.branches.get(pivot)
            if branch is not None and branch.status in FORWARD:
                raise Violation("S5", gid, f"aborted while pivot {pivot} is out")
        if event.code == "RESERVATION_EXPIRED":
            self._hit("reservation_expired")
            if not any(
                branch.status is BranchStatus.TRIED
                and event.at >= branch.started_at + branch.spec.expires_ms
                for branch in tx.branches.values()
            ):
                raise Violation("S5", gid, "no reservation has expired")
        for branch_id, branch in tx.branches.items():
            self._note_turn(tx, tree, branch_id, branch)

    def _check_reservations(self, tx: GlobalTransaction, tree: Tree, at: int) -> None:
        """What is confirmed has not expired; a pivot that is out outlasts it (S5)."""
        for branch_id, branch in tx.branches.items():
            expires_ms = branch.spec.expires_ms
            is_held = branch.status is BranchStatus.TRIED and expires_ms
            if is_held and not tree.pivots and at >= branch.started_at + expires_ms:
                text = f"committed, but {branch_id} had expired"
                raise Violation("T9", tx.key.gid, text)

    def _note_turn(
        self, tx: GlobalTransaction, tree: Tree, branch_id: str, branch: Branch
    ) -> None:
        unit, _ = tree.branches.get(branch_id, (None, 0))
        if branch.status is not BranchStatus.SUCCEEDED:
            return
        if unit is not None and unit.child is not None:
            self._hit("child_undone_after_its_end")
        if branch_id in tree.lists and tree.lists[branch_id].units:
            self._hit("list_undone_after_its_end")

    def may_time_out(self, tx: GlobalTransaction, at: int) -> bool:
        """Whether a child saga, and not the whole, may have used up its time."""
        for branch in tx.branches.values():
            spec = branch.spec
            if (
                spec.kind is BranchKind.SAGA
                and spec.timeout_ms
                and at >= branch.started_at + spec.timeout_ms
            ):
                self._hit("child_timed_out")
                return True
        return False

    def sent(self, node: str, tx: GlobalTransaction, call: CallBranch) -> None:
        """A node is about to let a call of a saga out."""
        gid, branch_id, phase = call.key.gid, call.branch_id, call.phase
        unit, choice = self._trees[gid].branches[branch_id]
        stable = self._inputs.setdefault((gid, branch_id, phase), call.input.data)
        if stable != call.input.data:
            if phase is Phase.COMPENSATION and not call.input.data:
                return  # of a node that has not heard yet what the action answered
            if stable or phase is not Phase.COMPENSATION:
                raise Violation("S7", gid, f"{phase} of {branch_id}: another input")
            self._inputs[gid, branch_id, phase] = call.input.data
        spec = unit.step.calls[choice]
        if phase in (Phase.TRY, Phase.ACTION):
            self._check_attempts(tx, unit, spec.retry.attempt_max, call)
            if call.reconsider:
                self._hit("refusal_after_the_commit_reconsidered")
            self._check_input(tx, unit, call, spec.input, own=False)
        elif phase is Phase.COMPENSATION and spec.compensation is not None:
            if spec.compensation.input is not None and call.input.data:
                template = spec.compensation.input
                self._check_input(tx, unit, call, template, own=True)
        elif phase is Phase.CONFIRM:
            self._hit("reservation_of_a_saga_confirmed")
        if phase not in (Phase.TRY, Phase.ACTION) and self._deciders.get(gid) != node:
            is_confirm = phase is Phase.CONFIRM
            self._hit(
                "saga_confirmed_after_take_over"
                if is_confirm
                else "item_undone_after_take_over"
                if unit.index is not None
                else "saga_undone_after_take_over"
            )

    def _check_attempts(
        self, tx: GlobalTransaction, unit: Unit, limit: int, call: CallBranch
    ) -> None:
        bound = unit.step.pivot or (
            tx.decision is Decision.COMMIT and not self._may_fail(unit)
        )
        if limit and call.attempt > limit and not bound:
            text = f"attempt {call.attempt} of {call.branch_id}, of {limit}"
            raise Violation("S9", tx.key.gid, text)
        if call.reconsider and tx.decision is not Decision.COMMIT:
            raise Violation("S5", tx.key.gid, f"{call.branch_id} may reconsider")

    def _check_input(
        self,
        tx: GlobalTransaction,
        unit: Unit,
        call: CallBranch,
        template: Template,
        *,
        own: bool,
    ) -> None:
        """S10: what is read of an output is what the participant recorded."""
        if not isinstance(template, TemplateMap):
            return
        value = json.loads(call.input.data)
        for name, part in template.entries:
            if not isinstance(part, Reference):
                continue
            if own:
                output = self._checks.outputs.get((tx.key.gid, call.branch_id), b"{}")
                expected = json.loads(output).get("n")
            else:
                need = unit.place.scope.places[str(part.path[1])]
                expected = self._output(tx, need, "n")
            if value[name] != expected:
                text = f"{call.phase} of {call.branch_id} read another output"
                raise Violation("S10", tx.key.gid, text)

    def took_effect(self, tx: GlobalTransaction, call: CallBranch) -> None:
        """A participant's local transaction of a saga's branch is durable."""
        gid, branch_id, phase = call.key.gid, call.branch_id, call.phase
        tree = self._trees[gid]
        is_pivot = branch_id in tree.pivots and phase is Phase.ACTION
        if is_pivot and tx.decision is Decision.ABORT:
            raise Violation("S5", gid, f"pivot {branch_id} after the abort")
        if phase not in (Phase.CANCEL, Phase.COMPENSATION):
            return
        decided = any(self._checks.effects[gid, p, Phase.ACTION] for p in tree.pivots)
        if not decided and tx.decision is Decision.ABORT:
            return
        unit, _ = tree.branches[branch_id]
        at: Unit | None = unit
        while at is not None:
            if any((gid, b) in self._given_up for b in at.branch_ids):
                return
            at = at.place.scope.owner
        raise Violation("S5", gid, f"{phase} of {branch_id}: the saga goes forward")

    def ended(self, tx: GlobalTransaction) -> None:
        """S3, S5, S6, T6: the end is what the participants did."""
        gid, tree = tx.key.gid, self._trees[tx.key.gid]
        pivoted = any(self._checks.effects[gid, p, Phase.ACTION] for p in tree.pivots)
        if tx.decision is Decision.COMMIT:
            for place in tree.root.places.values():
                if not self._is_satisfied(tx, place):
                    text = f"{tx.status} without {place.branch_id}"
                    raise Violation("S6", gid, text)
        elif pivoted:
            raise Violation("S5", gid, f"{tx.status}, but its pivot took effect")
        for unit in tree.root.units():
            self._check_lasting(tx, unit)

    def _check_lasting(self, tx: GlobalTransaction, unit: Unit) -> None:
        """At most one choice of a unit lasts; what was undone or skipped has none."""
        gid, lasting = tx.key.gid, 0
        for choice, branch_id in enumerate(unit.branch_ids):
            branch = tx.branches.get(branch_id)
            if not unit.step.calls or (gid, branch_id) in self._checks.by_hand:
                continue
            effects = self._checks.effects
            eff = {phase: effects[gid, branch_id, phase] for phase in _PHASES}
            forward = eff[Phase.TRY] + eff[Phase.ACTION]
            backward = eff[Phase.CANCEL] + eff[Phase.COMPENSATION]
            lasting += forward - backward
            if branch is None and forward:
                raise Violation("S3", gid, f"{branch_id} was never started, and ran")
            kept = branch is not None and branch.status in (
                BranchStatus.SUCCEEDED,
                BranchStatus.CONFIRMED,
            )
            if is_undoable(unit, choice) and forward != backward + (
                kept and tx.decision is Decision.COMMIT
            ):
                raise Violation("S3", gid, f"{tx.status}, but {branch_id} did {eff}")
            is_tcc = unit.step.calls[choice].kind is BranchKind.TCC
            is_real = kept and is_tcc and tx.decision is Decision.COMMIT
            if eff[Phase.CONFIRM] != int(is_real):
                raise Violation("T6", gid, f"{tx.status}, but {branch_id} did {eff}")
        if lasting > 1:
            raise Violation("T6", gid, f"two choices of {unit.unit_id} last")
