"""How a saga goes forward: which steps start, what ends them, and when all is done.

A step starts when all that it needs is satisfied: has succeeded, was skipped by its
condition, or failed and is optional. What it is called with is evaluated then, stored
with the fact that it started, and never evaluated again (S1, S7, S10).

What is satisfied goes into a queue, and what that makes possible is found from there:
a chain of a thousand skipped steps needs no depth of stack, and a step that was
answered costs what hangs on it and not what the saga holds.

A step that *fails* has a fallback, or is optional, or belongs to a child saga that is
optional; otherwise the saga turns back. After a commit nothing can fail any more that
is not optional: it is *bound*, and asked until it succeeds (S5).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Final

from coordinator.core import expressions, scope, undo
from coordinator.core.definition import (
    BranchKind,
    Call,
    Constant,
    JsonValue,
    Step,
    Template,
)
from coordinator.core.draft import Draft
from coordinator.core.durations import DURATION_MAX_MS, parse_duration
from coordinator.core.errors import InvariantViolated
from coordinator.core.events import (
    AllStepsDone,
    AttentionRaised,
    BranchSucceeded,
    ConfirmStarted,
    Decided,
    Finished,
    StepRefused,
    StepSkipped,
    StepStarted,
)
from coordinator.core.evolution import SIGNAL_PREFIX
from coordinator.core.expressions import ExpressionFailed
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    GlobalTransaction,
    Instant,
    Payload,
    status_of,
)
from coordinator.core.place import (
    SATISFIED,
    Place,
    definition_of,
    group_of,
    is_pivot_out,
    item_count,
    last_choice,
    place_of,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
    Status,
)

_RUNNING: Final = Status.RUNNING
_COMPLETED: Final = Status.COMPLETED
_UNDECIDED: Final = Decision.NONE
_RESOLVED: Final = BranchStatus.RESOLVED

ITEMS_MAX = 1_000
"""Items of one list: each is a branch, and a list is stored and shown as a whole."""

SAGA_BRANCH_MAX = 5_000
"""Branches of one saga, whatever its lists and child sagas multiply to (S9): at about
1 KiB each, what is loaded in one query and held in memory without harm."""

_UNDER_WAY_FORWARD = frozenset(
    {BranchStatus.RUNNING, BranchStatus.TRYING, BranchStatus.WAITING}
)


_NOT_SIMPLY_DONE = frozenset({BranchStatus.TRIED, BranchStatus.RESOLVED})
"""A saga with one of these is not simply completed: it is confirmed first, or ends as
what was settled by hand."""


def is_satisfied(tx: GlobalTransaction, step: Step, unit_id: str) -> bool:
    """Whether the steps that need this one, or this item of it, need not wait for it
    any more.
    """
    if len(step.calls) > 1:
        branch = last_choice(tx, step, unit_id)
    else:
        branch = tx.branches.get(unit_id)
    if branch is None:
        return False
    if branch.status in SATISFIED:
        return True
    return step.optional and branch.status not in _UNDER_WAY_FORWARD


def _are_satisfied(tx: GlobalTransaction, prefix: str, steps: Iterable[Step]) -> bool:
    """Whether no other step need wait for these of one scope any more."""
    for step in steps:  # noqa: SIM110 - a generator would cost more than it asks
        if not is_satisfied(tx, step, prefix + step.step_id):
            return False
    return True


def is_bound(tx: GlobalTransaction, place: Place) -> bool:
    """Whether nothing may fail here: the saga is decided, and neither this step nor
    a child saga around it is optional.
    """
    return tx.decision is Decision.COMMIT and optional_around(tx, place) is None


def optional_around(tx: GlobalTransaction, place: Place) -> Place | None:
    """What may fail without the saga failing: this unit, or a child saga around it."""
    at: Place | None = place
    while at is not None:
        if at.step.optional:
            return at
        at = group_of(tx, at)
        while at is not None and at.is_list:
            at = group_of(tx, at)
    return None


def complete_if_done(draft: Draft, now: Instant) -> None:
    """End the saga, or say what is left, when every step is satisfied."""
    tx = draft.tx
    if tx.status is _RUNNING:
        definition = tx.definition or definition_of(tx)
        if not _are_satisfied(tx, "", definition.ends):
            return
        is_end_said = not tx.open and _NOT_SIMPLY_DONE.isdisjoint(_statuses(tx))
        if tx.decision is _UNDECIDED and not is_end_said:
            commit(draft, now)
        if draft.tx.open:
            draft.add(AllStepsDone(now))
            return
    elif tx.status is not Status.CONFIRMING or tx.open:
        return
    output = _saga_output(draft, now)
    is_by_hand = _RESOLVED in _statuses(draft.tx)
    end = Status.RESOLVED if is_by_hand else _COMPLETED
    draft.add(Finished(end, output, now))


def commit(draft: Draft, now: Instant) -> None:
    """Decide for the saga; what it has reserved is confirmed from here on."""
    draft.add(Decided(Decision.COMMIT, "", "", now))
    confirm_what_is_reserved(draft, now)


def confirm_what_is_reserved(draft: Draft, now: Instant) -> None:
    """After the commit, confirm every reservation that can no longer be given up:
    not those of an optional child saga that goes on and may still fail, or that has
    failed and is being undone.
    """
    tx = draft.tx
    if tx.decision is not Decision.COMMIT:
        return
    for branch_id, branch in tx.branches.items():
        if branch.status is BranchStatus.TRIED and not _may_be_given_up(tx, branch_id):
            draft.add(ConfirmStarted(branch_id, now))


def _may_be_given_up(tx: GlobalTransaction, branch_id: str) -> bool:
    group = group_of(tx, place_of(tx, branch_id))
    while group is not None:
        status = tx.branches[group.branch_id].status
        if status is BranchStatus.COMPENSATING:
            return True
        goes_on = status is BranchStatus.WAITING
        if goes_on and group.step.optional and not group.is_list:
            return True
        group = group_of(tx, group)
    return False


def is_complete(tx: GlobalTransaction) -> bool:
    """Whether a saga may say that it has completed (T8)."""
    root = tx.definition
    return (
        root is not None
        and not tx.open
        and _NOT_SIMPLY_DONE.isdisjoint(_statuses(tx))
        and _are_satisfied(tx, "", root.steps)
    )


def _statuses(tx: GlobalTransaction) -> Iterable[BranchStatus]:
    return map(status_of, tx.branches.values())


def _saga_output(draft: Draft, now: Instant) -> Payload:
    definition = definition_of(draft.tx)
    if definition.output is None:
        return NO_PAYLOAD
    root = Place("", definition, definition.steps[0])
    try:
        return scope.evaluated(definition.output, scope.scope_of(draft.tx, root))
    except ExpressionFailed as failure:
        # Every step has done its work: undoing all of it because a result could
        # not be written down would be the greater harm. The reason stays.
        draft.add(AttentionRaised(f"output of the saga: {failure}", now))
        return NO_PAYLOAD


class Forward:
    """One move forward of one saga; used within one decision, then thrown away."""

    def __init__(
        self, draft: Draft, now: Instant, satisfied: Iterable[Place] = ()
    ) -> None:
        self._draft = draft
        self._now = now
        self._satisfied = list(satisfied)

    def begin(self) -> None:
        """Start what needs nothing."""
        definition = definition_of(self._draft.tx)
        for step in definition.starts:
            self._open(Place("", definition, step))
        if self._satisfied or not self._draft.tx.open:
            self.go_on()  # what has only been sent makes nothing possible yet

    def failed(self, place: Place, code: str, text: str, *, known: bool) -> None:
        """Go on after this came to nothing.

        Args:
            known: nothing has happened there; otherwise its outcome is unknown, and it
                has to be undone.
        """
        self._fail(place, code, text, known=known)
        self.go_on()

    def go_on(self) -> None:
        """Start what has become possible by what is satisfied, and end what is done."""
        draft, satisfied = self._draft, self._satisfied
        is_last = not satisfied
        for place in satisfied:  # which grows meanwhile
            if draft.tx.status is not _RUNNING:
                return
            if place.index is not None:
                self._go_on_with_list(Place(place.prefix, place.definition, place.step))
                continue
            definition, prefix = place.definition, place.prefix
            following = definition.successors[place.step.step_id]
            for step_id in following:
                step = definition.by_id[step_id]
                self._open_if_ready(Place(prefix, definition, step))
            if following:
                continue
            if prefix:
                self._close_child(place)
            else:
                is_last = True
        if is_last:  # after any other step there are more to come
            complete_if_done(draft, self._now)

    # ---- Starting -----------------------------------------------------------------

    def _open_if_ready(self, place: Place) -> None:
        tx = self._draft.tx
        if place.unit_id in tx.branches:
            return
        needs = map(place.definition.by_id.__getitem__, place.step.needs)
        if _are_satisfied(tx, place.prefix, needs):
            self._open(place)

    def _open(self, place: Place) -> None:
        """Start a step whose needs are satisfied, unless its condition is false."""
        if not self._goes_on(place.prefix[:-1]):
            return
        condition = place.step.condition
        if condition is not None:
            try:
                wanted = self._is_wanted(place, condition)
            except ExpressionFailed as failure:
                self._refuse(place, expressions.CODE, f"condition of {failure}")
                return
            if not wanted:
                self._draft.add(StepSkipped(_spec(place), self._now))
                self._satisfied.append(place)
                return
        if place.is_list:
            self._open_list(place)
        else:
            self._open_unit(place)

    def _goes_on(self, group_id: str) -> bool:
        """Whether the saga, and this group of it, still go forward."""
        tx = self._draft.tx
        if tx.status is not _RUNNING:
            return False
        return not group_id or tx.branches[group_id].status is BranchStatus.WAITING

    def _is_wanted(self, place: Place, condition: Template) -> bool:
        step_id = place.branch_id
        try:
            value = expressions.evaluate(
                condition, scope.scope_of(self._draft.tx, place)
            )
        except ExpressionFailed as failure:
            raise ExpressionFailed(f"step {step_id}: {failure}") from None
        if not isinstance(value, bool):
            found = expressions.type_name(value)
            raise ExpressionFailed(f"step {step_id} is {found}, not a boolean")
        return value

    def _open_list(self, place: Place) -> None:
        payload = self._evaluate(place, place.for_each.items, "list")
        if payload is None:
            return
        items = expressions.from_payload(payload, place.branch_id)
        if not isinstance(items, list):
            found = expressions.type_name(items)
            text = f"list of step {place.branch_id}: {found}, not a list"
            self._refuse(place, expressions.CODE, text)
        elif len(items) > ITEMS_MAX:
            text = f"{place.branch_id}: {len(items)} items, more than {ITEMS_MAX}"
            self._refuse(place, "TOO_MANY_ITEMS", text)
        elif len(self._draft.tx.branches) >= SAGA_BRANCH_MAX:
            self._refuse_for_room(place)
        else:
            spec = _spec(place, payload, kind=BranchKind.FOR_EACH)
            self._draft.add(StepStarted(spec, self._now))
            self._go_on_with_list(place)

    def _open_unit(self, place: Place) -> None:
        if len(self._draft.tx.branches) >= SAGA_BRANCH_MAX:
            self._refuse_for_room(place)
            return
        self._OPENED[place.step.kind](self, place)

    def _refuse_for_room(self, place: Place) -> None:
        tx = self._draft.tx
        code = "TOO_MANY_BRANCHES"
        text = f"{place.branch_id}: a saga has at most {SAGA_BRANCH_MAX} branches"
        if tx.decision is Decision.NONE and not is_pivot_out(tx):
            # Also where the step is optional: each refusal would be one more branch.
            undo.turn_back(self._draft, code, text, self._now)
        elif len(tx.branches) < 2 * SAGA_BRANCH_MAX:
            self._refuse(place, code, text)
        elif not tx.attention_reason.startswith(code):
            self._draft.add(AttentionRaised(f"{code}: {text}", self._now))

    def _open_call(self, place: Place) -> None:
        call = place.step.calls[place.choice]
        payload = self._evaluate(place, call.input, "input")
        if payload is not None:
            self._draft.add(StepStarted(_call_spec(place, call, payload), self._now))

    def _open_child(self, place: Place) -> None:
        child = place.child
        template = place.step.input
        if template is None:
            template = Constant({})
        payload = self._evaluate(place, template, "input")
        if payload is None:
            return
        wake_at = self._now + place.step.timeout_ms if place.step.timeout_ms else None
        self._draft.add(StepStarted(_spec(place, payload), self._now, wake_at))
        for step in child.starts:
            self._open(Place(f"{place.branch_id}:", child, step))

    def _open_wait(self, place: Place) -> None:
        if place.step.wait is None:
            raise InvariantViolated(f"{place.branch_id} is no timer")
        payload = self._evaluate(place, place.step.wait, "duration")
        if payload is None:
            return
        value = expressions.from_payload(payload, place.branch_id)
        duration_ms = parse_duration(value) if isinstance(value, str) else value
        if (
            not isinstance(duration_ms, int)
            or isinstance(duration_ms, bool)
            or not 0 <= duration_ms <= DURATION_MAX_MS
        ):
            text = f"duration of step {place.branch_id}: not a duration such as 30s"
            self._refuse(place, expressions.CODE, text)
            return
        wake_at = self._now + duration_ms
        self._draft.add(StepStarted(_spec(place, payload), self._now, wake_at))

    def _open_await(self, place: Place) -> None:
        wake_at = self._now + place.step.timeout_ms if place.step.timeout_ms else None
        name = expressions.to_payload(place.step.signal)
        self._draft.add(StepStarted(_spec(place, name), self._now, wake_at))
        signal = self._draft.tx.branches.get(SIGNAL_PREFIX + place.step.signal)
        if signal is not None:
            self._draft.add(
                BranchSucceeded(place.branch_id, Phase.ACTION, signal.output, self._now)
            )
            self._satisfied.append(place)

    _OPENED: ClassVar[Mapping[BranchKind, Callable[["Forward", Place], None]]] = {
        BranchKind.CALL: _open_call,
        BranchKind.TCC: _open_call,
        BranchKind.SAGA: _open_child,
        BranchKind.WAIT: _open_wait,
        BranchKind.AWAIT: _open_await,
    }

    def _evaluate(self, place: Place, template: Template, what: str) -> Payload | None:
        """What is stored of a template; ``None`` when the step was refused for it."""
        try:
            return scope.evaluated_at(self._draft.tx, place, template)
        except ExpressionFailed as failure:
            text = f"{what} of step {place.branch_id}: {failure}"
            self._refuse(place, expressions.CODE, text)
            return None

    def _refuse(self, place: Place, code: str, text: str) -> None:
        """A step could not even be sent."""
        stuck = is_bound(self._draft.tx, place)
        spec = _spec(place)
        self._draft.add(StepRefused(spec, code, text, self._now, stuck))
        if stuck:
            reason = f"{text}; the saga only goes forward: resolve the branch by hand"
            self._draft.add(AttentionRaised(reason, self._now))
        else:
            self._end_in_vain(place, code, text, known=True)

    # ---- Groups -------------------------------------------------------------------

    def _go_on_with_list(self, place: Place) -> None:
        """Start the next items of a list, or end it."""
        tx = self._draft.tx
        if not self._goes_on(place.list_id):
            return
        count = len(scope.items_of(tx, place))
        begun = item_count(tx, place)
        under_way = sum(
            tx.branches[branch_id].spec.parent_branch_id == place.list_id
            and tx.branches[branch_id].status in _UNDER_WAY_FORWARD
            for branch_id in tx.open
        )
        while begun < count and under_way < place.for_each.parallel_max:
            item = place.item(begun)
            self._open_unit(item)
            if not self._goes_on(place.list_id):
                return
            begun += 1
            under_way += not is_satisfied(self._draft.tx, item.step, item.unit_id)
        if begun == count and not under_way:
            self._close_list(place, count)

    def _close_list(self, place: Place, count: int) -> None:
        tx = self._draft.tx
        outputs = [_item_output(tx, place.item(index)) for index in range(count)]
        try:
            payload = scope.bounded(expressions.to_payload(outputs))
        except ExpressionFailed as failure:
            self._without_output(place, f"outputs of {place.list_id}: {failure}")
            return
        self._end_group(place, payload)

    def _close_child(self, place: Place) -> None:
        """End a child saga when all its steps are satisfied."""
        tx = self._draft.tx
        ends = place.definition.ends
        group = place_of(tx, place.prefix[:-1])
        done = _are_satisfied(tx, place.prefix, ends)
        if not done or not self._goes_on(group.branch_id):
            return
        payload = NO_PAYLOAD
        if place.definition.output is not None:
            try:
                payload = scope.evaluated(
                    place.definition.output, scope.scope_of(tx, place)
                )
            except ExpressionFailed as failure:
                text = f"output of child saga {group.branch_id}: {failure}"
                self._without_output(group, text)
                return
        self._end_group(group, payload)

    def _without_output(self, group: Place, text: str) -> None:
        """A group has done its work, but its output cannot be written down."""
        if is_bound(self._draft.tx, group):
            self._draft.add(AttentionRaised(text, self._now))
            self._end_group(group, NO_PAYLOAD)
        elif group.is_list and group.step.optional:
            self._end_group(group, NO_PAYLOAD)
        else:
            self._fail(group, expressions.CODE, text, known=False)

    def _end_group(self, group: Place, output: Payload) -> None:
        done = BranchSucceeded(group.branch_id, Phase.ACTION, output, self._now)
        self._draft.add(done)
        confirm_what_is_reserved(self._draft, self._now)
        self._satisfied.append(group)

    # ---- Failing ------------------------------------------------------------------

    def _fail(self, place: Place, code: str, text: str, *, known: bool) -> None:
        step = place.step
        has_fallback = not place.is_list and place.choice + 1 < len(step.calls)
        if has_fallback and (known or undo.is_undoable(place)):
            if not known:
                undo.give_up(self._draft, place, code, text, self._now)
            self._open_unit(_next_choice(place))
        else:
            self._end_in_vain(place, code, text, known=known)

    def _end_in_vain(self, place: Place, code: str, text: str, *, known: bool) -> None:
        """No other choice is left: whoever can do without goes on, or nobody."""
        draft = self._draft
        given_up = optional_around(draft.tx, place)
        if given_up is None:
            undo.turn_back(draft, code, text, self._now)
            return
        is_itself = given_up.unit_id == place.unit_id
        if not is_itself or not known:
            at = place if is_itself else given_up
            undo.give_up(draft, at, code, text, self._now)
        self._satisfied.append(given_up)


def _next_choice(place: Place) -> Place:
    return Place(
        place.prefix, place.definition, place.step, place.index, place.choice + 1
    )


def _item_output(tx: GlobalTransaction, place: Place) -> JsonValue:
    """What an item answered; null when that is nothing, or nothing that is JSON."""
    branch = last_choice(tx, place.step, place.unit_id)
    if branch is None or branch.status not in SATISFIED:
        return None
    try:
        return expressions.from_payload(branch.output, place.unit_id)
    except ExpressionFailed:
        return None


def _spec(
    place: Place, payload: Payload = NO_PAYLOAD, *, kind: BranchKind | None = None
) -> BranchSpec:
    """What is asked of the branch at this place."""
    step = place.step
    if step.calls and not place.is_list:
        return _call_spec(place, step.calls[place.choice], payload)
    return BranchSpec(
        branch_id=place.branch_id,
        operation="",
        input=payload,
        timeout_ms=step.timeout_ms,
        attempt_max=0,
        parent_branch_id=place.parent_id,
        kind=kind or (BranchKind.FOR_EACH if place.is_list else step.kind),
    )


def _call_spec(place: Place, call: Call, payload: Payload) -> BranchSpec:
    return BranchSpec(
        branch_id=place.branch_id,
        operation=call.operation,
        input=payload,
        timeout_ms=call.timeout_ms,
        attempt_max=call.retry.attempt_max,
        pending_timeout_ms=call.pending_timeout_ms,
        parent_branch_id=place.parent_id,
        kind=call.kind,
        expires_ms=call.expires_ms,
    )
