"""Bugs to plant in the rules of sagas."""

from tests.simulation.mutant import bug

FORWARD = "coordinator.core.forward"
UNDO = "coordinator.core.undo"
SAGA = "coordinator.core.saga"
PLACE = "coordinator.core.place"
SCOPE = "coordinator.core.scope"
MACHINE = "coordinator.core.machine"

SAGA_MUTANTS = (
    # ---- Forward -----------------------------------------------------------------
    bug(
        "step_does_not_wait",
        "a step starts when one of the steps that it needs is satisfied",
        FORWARD,
        "if _are_satisfied(tx, place.prefix, needs):",
        "if any(_are_satisfied(tx, place.prefix, (step,)) for step in needs):",
    ),
    bug(
        "completed_too_early",
        "a saga completes when one of its last steps is satisfied",
        FORWARD,
        'if not _are_satisfied(tx, "", definition.ends):',
        'if not any(_are_satisfied(tx, "", (s,)) for s in definition.ends):',
        FORWARD,
        "    return (\n        root is not None\n",
        "    return True or (\n        root is not None\n",
    ),
    bug(
        "child_ends_too_early",
        "a child saga ends when one of its last steps is satisfied",
        FORWARD,
        "done = _are_satisfied(tx, place.prefix, ends)",
        "done = any(_are_satisfied(tx, place.prefix, (step,)) for step in ends)",
    ),
    bug(
        "skipped_step_runs",
        "a step whose condition is false is run all the same",
        FORWARD,
        "        if not wanted:\n",
        "        if False:\n",
    ),
    bug(
        "condition_that_is_no_boolean_passes",
        "a condition that is a number counts as true",
        FORWARD,
        "if not isinstance(value, bool):",
        "if not isinstance(value, bool | int):",
    ),
    bug(
        "list_without_limit",
        "all items of a list are under way at once",
        FORWARD,
        "while begun < count and under_way < place.for_each.parallel_max:",
        "while begun < count:",
    ),
    bug(
        "list_ends_with_items_under_way",
        "a list ends when its last item has begun",
        FORWARD,
        "if begun == count and not under_way:",
        "if begun == count:",
    ),
    bug(
        "fallback_without_undo",
        "the first choice of unknown outcome is not undone when its fallback is called",
        FORWARD,
        "undo.give_up(self._draft, place, code, text, self._now)\n"
        "            self._open_unit(_next_choice(place))",
        "pass\n            self._open_unit(_next_choice(place))",
    ),
    bug(
        "optional_step_of_unknown_outcome_kept",
        "an optional step that may have happened is neither kept nor undone",
        FORWARD,
        "if not is_itself or not known:",
        "if not is_itself:",
    ),
    bug(
        "early_signal_lost",
        "a step does not find the signal that came before it",
        FORWARD,
        "if signal is not None:",
        "if False:",
    ),
    # ---- Back --------------------------------------------------------------------
    bug(
        "compensated_all_at_once",
        "compensations do not follow the graph in reverse",
        UNDO,
        "after_clear = all(clear[s] for s in definition.successors[step_id])",
        "after_clear = True",
    ),
    bug(
        "compensated_first_first",
        "the items of a list are undone in the order in which they were done",
        UNDO,
        "for index in range(item_count(tx, place) - 1, -1, -1):",
        "for index in range(item_count(tx, place)):",
    ),
    bug(
        "list_undone_without_limit",
        "all items of a list are undone at once",
        UNDO,
        "if busy == place.for_each.parallel_max:",
        "if False:",
    ),
    bug(
        "list_undone_before_its_items",
        "a list counts as undone while its items are being undone",
        UNDO,
        "    if busy:\n        return False\n",
        "",
    ),
    bug(
        "child_undone_before_its_steps",
        "a child saga counts as undone when its undoing has begun",
        UNDO,
        'if not _undo_scope(draft, f"{place.branch_id}:", place.child, now):\n'
        "        return False",
        'if not _undo_scope(draft, f"{place.branch_id}:", place.child, now):\n'
        "        pass",
    ),
    bug(
        "completed_child_not_undone",
        "a child saga that has completed is left as it is",
        UNDO,
        "    if place.step.kind is BranchKind.SAGA:\n"
        "        return _undo_child(draft, place, branch, now)",
        "    if place.step.kind is BranchKind.SAGA:\n"
        "        if branch.status is BranchStatus.SUCCEEDED:\n"
        "            return True\n"
        "        return _undo_child(draft, place, branch, now)",
        UNDO,
        "                or not _has_to_be_undone(place)",
        "                or place.step.kind is BranchKind.SAGA\n"
        "                or not _has_to_be_undone(place)",
    ),
    bug(
        "unknown_step_not_compensated",
        "a step that was sent and not answered is given up when the saga turns",
        UNDO,
        "    if not is_undoable(place):\n        if branch.status is not",
        "    if not is_undoable(place) or branch.status is BranchStatus.RUNNING:\n"
        "        if branch.status is not",
    ),
    bug(
        "unknown_action_is_refused",
        "an action that timed out counts as a business no",
        SAGA,
        "    Unknown: _forward_failed,",
        "    Unknown: _refused,",
    ),
    bug(
        "compensation_skipped",
        "a compensation that failed often enough is skipped (P4)",
        SAGA,
        "    if attempts == attention_after:\n"
        "        tcc.raise_attention(draft, branch, what.phase, attempts, why, now)",
        "    if attempts == attention_after:\n"
        "        draft.add(BranchSucceeded(what.branch_id, what.phase,"
        " NO_PAYLOAD, now))\n"
        "        _settled(draft, place, now)",
    ),
    bug(
        "compensation_gets_the_action's_input",
        "a compensation is called with the input of its action",
        MACHINE,
        "input=branch.compensation_input,",
        "input=branch.spec.input,",
    ),
    # ---- Time, the pivot, reservations -----------------------------------------------
    bug(
        "saga_timeout_ignored",
        "a saga may complete after its timeout",
        SAGA,
        "    if not _is_held(draft.tx):\n",
        "    if False:\n",
    ),
    bug(
        "timer_ends_at_once",
        "a timer does not wait",
        FORWARD,
        "wake_at = self._now + duration_ms",
        "wake_at = self._now",
    ),
    bug(
        "timed_out_with_the_pivot_out",
        "a saga turns back at its timeout although nobody knows whether its pivot ran",
        PLACE,
        "            tx.branches[branch_id].status is BranchStatus.RUNNING\n",
        "            False\n",
    ),
    bug(
        "pivot_given_up",
        "a pivot of unknown outcome is given up after its attempts",
        SAGA,
        "return place.step.pivot or is_bound(tx, place)",
        "return is_bound(tx, place)",
        PLACE,
        "            tx.branches[branch_id].status is BranchStatus.RUNNING\n",
        "            False\n",
    ),
    bug(
        "pivot_does_not_decide",
        "a saga may turn back after its pivot has succeeded",
        SAGA,
        "    if is_pivot:\n        commit(draft, now)",
        "    if False:\n        commit(draft, now)",
    ),
    bug(
        "refused_after_the_commit",
        "a step that is refused after the commit turns the saga back",
        SAGA,
        "    if not is_bound(draft.tx, place):\n"
        "        draft.add(BranchRefused(what.branch_id, code, text, now))",
        "    if True:\n"
        "        draft.add(BranchRefused(what.branch_id, code, text, now))",
    ),
    bug(
        "never_reconsidered",
        "a step that was refused after the commit is asked the same again",
        MACHINE,
        "reconsider=branch.attempts > 0\n",
        "reconsider=False\n",
    ),
    bug(
        "reconsidered_before_the_commit",
        "a recorded refusal is asked anew while the saga can still turn back",
        MACHINE,
        "        and tx.decision is Decision.COMMIT\n        and forward.opt",
        "        and forward.opt",
    ),
    bug(
        "reservation_not_confirmed",
        "what a saga has reserved is left alone when it commits",
        FORWARD,
        "            draft.add(ConfirmStarted(branch_id, now))",
        "            pass",
    ),
    bug(
        "reservation_confirmed_at_once",
        "a reservation is confirmed before the saga is decided",
        FORWARD,
        "    if tx.decision is not Decision.COMMIT:\n        return\n    for",
        "    for",
    ),
    bug(
        "reservation_of_a_child_that_may_fail_confirmed",
        "an optional child's reservation is confirmed while the child may still fail",
        FORWARD,
        "goes_on and group.step.optional and not group.is_list",
        "False",
    ),
    bug(
        "expired_reservation_kept",
        "a saga goes on with a reservation that has expired",
        SAGA,
        "    if branch.status is BranchStatus.TRIED:\n        return not is_held",
        "    if branch.status is BranchStatus.TRIED:\n        return False",
    ),
    bug(
        "own_output_of_another_scope",
        "a child saga reads the outputs of its parent's steps",
        SCOPE,
        "last_choice(self._tx, step, self._place.prefix + step_id)",
        "last_choice(self._tx, step, step_id)",
    ),
    bug(
        "undone_with_what_another_choice_answered",
        "a choice whose answer is not known is undone with its fallback's",
        SCOPE,
        "if self._own is not None and",
        "if self._own and self._own != NO_PAYLOAD and",
        SCOPE,
        "        branch = step and last_choice(self._tx, step,"
        " self._place.prefix + step_id)\n"
        "        if not branch or branch.status not in SATISFIED:",
        "        at = step and changed(self._place, step=step, index=None)\n"
        "        ids = at and [changed(at, choice=k).branch_id for k in (2, 1, 0)]\n"
        "        found = [self._tx.branches.get(i) for i in ids or ()]\n"
        "        known = [b for b in found if b and b.output != NO_PAYLOAD]\n"
        "        branch = known[0] if known else None\n"
        "        if not branch:",
    ),
)
