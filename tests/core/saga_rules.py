"""The rules of sagas as they look from outside: told by facts and calls alone.

Written a second time on purpose. Nothing here asks the core where a branch stands, what
is satisfied or what is to be undone; it is read from the definition and from the facts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from coordinator.core.actions import CallBranch
from coordinator.core.definition import BranchKind, Call, SagaDefinition, Step
from coordinator.core.events import (
    BranchAbandoned,
    BranchRefused,
    BranchResolved,
    BranchSucceeded,
    CompensationStarted,
    ConfirmStarted,
    Decided,
    Event,
    Finished,
    StepRefused,
    StepSkipped,
    StepStarted,
)
from coordinator.core.words import (
    Decision,
    Phase,
    Status,
)

ITEMS_MAX = 3


@dataclass(frozen=True, eq=False)
class Spot:
    """Where a branch may stand.

    Attributes:
        group: the list or child saga that it belongs to; ``None`` = the saga itself.
        call: what a participant is asked; ``None`` when none is.
        unit: the id that all choices of this run of the step share.
        scope: begins the ids of all branches of its saga or child saga.
    """

    branch_id: str
    step: Step
    saga: SagaDefinition
    scope: str
    unit: str
    group: "Spot | None"
    call: Call | None = None
    index: int | None = None

    @property
    def is_list(self) -> bool:
        """Stands for all items."""
        return self.step.for_each is not None and self.index is None

    @property
    def leaves_something(self) -> bool:
        """Once it was sent, somebody has to undo it."""
        if self.call is None:
            return self.is_list or self.step.kind is BranchKind.SAGA
        return self.call.kind is BranchKind.TCC or self.call.compensation is not None

    @property
    def around(self) -> "Iterator[Spot]":
        """The groups it is in, the innermost first."""
        group = self.group
        while group is not None:
            yield group
            group = group.group

    @property
    def may_fail(self) -> bool:
        """It, or a child saga around it, is optional."""
        return self.step.optional or any(
            group.step.optional for group in self.around if not group.is_list
        )


def spots_of(
    saga: SagaDefinition, scope: str = "", group: Spot | None = None
) -> Iterator[Spot]:
    """Every branch that this saga can have."""
    for step in saga.steps:
        name = scope + step.step_id
        if step.for_each is None:
            yield from _unit(Spot(name, step, saga, scope, name, group))
            continue
        whole = Spot(name, step, saga, scope, name, group)
        yield whole
        for index in range(ITEMS_MAX):
            item = f"{name}:{index}"
            yield from _unit(Spot(item, step, saga, scope, item, whole, index=index))


def _unit(spot: Spot) -> Iterator[Spot]:
    step, unit = spot.step, spot.unit
    for number, call in enumerate(step.calls):
        name = f"{unit}:fallback-{number}" if number else unit
        yield Spot(
            name, step, spot.saga, spot.scope, unit, spot.group, call, spot.index
        )
    if not step.calls:
        yield spot
    if step.child is not None:
        yield from spots_of(step.child, f"{unit}:", spot)


GONE = {"refused", "skipped", "abandoned", "undone", "resolved"}
"""Nothing is left there that would have to be undone."""

SATISFIED = {"done", "skipped", "confirming", "confirmed", "resolved"}
PAST = {"refused", "undoing", "undone", "abandoned"}


@dataclass
class Rules:
    """One saga, as its facts tell it; each fact and call is held against the rules."""

    saga: SagaDefinition
    decision: Decision = Decision.NONE
    now: dict[str, str] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    """Groups and branches that were undone while the saga went on."""
    by_hand: bool = False
    seen: set[tuple[str, Phase]] = field(default_factory=set)
    spots: dict[str, Spot] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spots = {spot.branch_id: spot for spot in spots_of(self.saga)}

    # ---- Facts ------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """One more fact, and whether it may be."""
        match event:
            case StepStarted(spec):
                self._check_start(self.spots[spec.branch_id])
                self.now[spec.branch_id] = "open"
            case StepSkipped(spec):
                self._check_start(self.spots[spec.branch_id])
                self.now[spec.branch_id] = "skipped"
            case StepRefused(spec, stuck=stuck):
                spot = self.spots[spec.branch_id]
                self._check_start(spot)
                assert stuck is self._is_bound(spot), "S5"
                self.now[spec.branch_id] = "open" if stuck else "refused"
            case BranchRefused(branch_id) | BranchAbandoned(branch_id):
                spot = self.spots[branch_id]
                assert not self._is_bound(spot), "S5"
                assert self.now[branch_id] == "open"
                is_refused = isinstance(event, BranchRefused)
                assert is_refused or not spot.leaves_something, "S3"
                self.now[branch_id] = "refused" if is_refused else "abandoned"
            case BranchSucceeded():
                self._succeeded(event)
            case CompensationStarted(branch_id):
                self._turned(self.spots[branch_id])
            case ConfirmStarted(branch_id):
                self._check_confirm(self.spots[branch_id])
                self.now[branch_id] = "confirming"
            case BranchResolved(branch_id):
                is_forward = self.now[branch_id] == "open"
                assert not is_forward or self.decision is Decision.COMMIT, "T8"
                self.now[branch_id] = "resolved"
                self.by_hand = True
            case Decided(decision):
                self._check_decision(decision)
                self.decision = decision
            case Finished(status):
                self._check_end(status)
            case _:
                pass

    def _check_start(self, spot: Spot) -> None:
        assert self.decision is not Decision.ABORT, "S4"
        assert spot.branch_id not in self.now
        assert all(self.now[group.branch_id] == "open" for group in spot.around), "S4"
        by_id = {step.step_id: step for step in spot.saga.steps}
        needs = [spot.scope + need for need in spot.step.needs]
        for need in needs:
            step = by_id[need.removeprefix(spot.scope)]
            assert self._is_satisfied(need, step), "S1"
        before = self._choices_before(spot)
        assert all(self.now[choice] in PAST for choice in before), "S1"
        if spot.index is not None and not before:
            self._check_item(spot)

    def _choices_before(self, spot: Spot) -> list[str]:
        """The branches that this one is a fallback of."""
        own = [s.branch_id for s in self.spots.values() if s.unit == spot.unit]
        return own[: own.index(spot.branch_id)]

    def _check_item(self, spot: Spot) -> None:
        assert spot.group is not None
        assert spot.step.for_each is not None
        units = {
            s.unit: s.index
            for s in self.spots.values()
            if s.group is spot.group and s.branch_id in self.now
        }
        assert spot.index == len(units), "items begin in the order of the list"
        busy = sum(not self._is_satisfied(unit, spot.step) for unit in units)
        assert busy < spot.step.for_each.parallel_max, "S9"

    def _is_satisfied(self, unit: str, step: Step) -> bool:
        choices = [unit]
        choices += [f"{unit}:fallback-{n}" for n in range(1, len(step.calls))]
        status = [self.now[c] for c in choices if c in self.now]
        if not status:
            return False
        return status[-1] in SATISFIED or (step.optional and status[-1] in PAST)

    def _is_bound(self, spot: Spot) -> bool:
        return self.decision is Decision.COMMIT and not spot.may_fail

    def _succeeded(self, event: BranchSucceeded) -> None:
        before, after = {
            Phase.TRY: ("open", "done"),
            Phase.ACTION: ("open", "done"),
            Phase.CONFIRM: ("confirming", "confirmed"),
            Phase.CANCEL: ("undoing", "undone"),
            Phase.COMPENSATION: ("undoing", "undone"),
        }[event.phase]
        assert self.now[event.branch_id] == before, "T5, S4"
        assert (event.branch_id, event.phase) not in self.seen, "T6"
        self.seen.add((event.branch_id, event.phase))
        spot = self.spots[event.branch_id]
        members = [s for s in self.spots.values() if spot in s.around]
        if after == "done":
            busy = [s for s in members if self.now.get(s.branch_id) == "open"]
            assert not busy, "a group ends after its members"
        if after == "undone":
            assert all(self._is_clear(s) for s in members), "S2"
        self.now[event.branch_id] = after

    # ---- Back -------------------------------------------------------------------

    def _turned(self, spot: Spot) -> None:
        status = self.now[spot.branch_id]
        if status == "undoing":
            return  # asked again, with what it needs
        assert status in ("open", "done"), "S3, T5"
        assert spot.leaves_something, "S3"
        assert not self._is_bound(spot), "S5"
        inside = any(self.now[g.branch_id] == "undoing" for g in spot.around)
        if self.decision is not Decision.ABORT and not inside:
            has_other = bool(spot.call) and spot.call is not spot.step.calls[-1]
            is_alone = spot.step.optional and not spot.is_list
            assert is_alone or has_other, "nobody gave it up"
            self.given_up.add(spot.branch_id)
        self._check_order(spot)
        if status == "done":
            self._check_last_first(spot)
        self.now[spot.branch_id] = "undoing"

    def _check_order(self, spot: Spot) -> None:
        """S2: whatever needs it was never sent, or nothing is left of it; so in each
        saga around it, up to the one that was given up.
        """
        at: Spot | None = spot
        while at is not None and at.branch_id not in self.given_up:
            later = self._all_after(at)
            for other in self.spots.values():
                if other.scope == at.scope and other.step.step_id in later:
                    assert self._is_clear(other), "S2"
            at = at.group

    def _all_after(self, spot: Spot) -> set[str]:
        later: set[str] = set()
        todo = [spot.step.step_id]
        while todo:
            needed = todo.pop()
            more = {s.step_id for s in spot.saga.steps if needed in s.needs} - later
            later |= more
            todo += more
        return later

    def _is_clear(self, spot: Spot) -> bool:
        """Never sent, or nothing is left of it."""
        status = self.now.get(spot.branch_id)
        if status is None or status in GONE:
            return True
        return status == "done" and not spot.leaves_something

    def _check_last_first(self, spot: Spot) -> None:
        """Items that were done go back from the end of their list."""
        if spot.index is None:
            return
        for other in self.spots.values():
            if other.group is spot.group and (other.index or 0) > spot.index:
                is_begun = self.now.get(other.branch_id) == "undoing"
                assert is_begun or self._is_clear(other), "S2"

    # ---- Decisions and ends -----------------------------------------------------

    def _check_confirm(self, spot: Spot) -> None:
        assert self.decision is Decision.COMMIT, "T5"
        assert self.now[spot.branch_id] == "done", "T5"
        assert spot.call is not None
        assert spot.call.kind is BranchKind.TCC
        for group in spot.around:
            status = self.now[group.branch_id]
            assert status not in ("undoing", "undone"), "T5"
            is_open_option = group.step.optional and not group.is_list
            assert status != "open" or not is_open_option, "it may still fail"

    def _check_decision(self, decision: Decision) -> None:
        assert self.decision is Decision.NONE, "T1"
        pivots = [s for s in self.spots.values() if s.step.pivot]
        status = [self.now.get(s.branch_id) for s in pivots]
        if decision is Decision.ABORT:
            assert not {"open", "done"} & set(status), "S5"
        else:
            assert "done" in status or (not pivots and self._are_steps_done()), "S5"

    def _are_steps_done(self) -> bool:
        return all(self._is_satisfied(s.step_id, s) for s in self.saga.steps)

    def _check_end(self, end: Status) -> None:
        assert self.by_hand is (end is Status.RESOLVED), "T8"
        assert not {"open", "undoing", "confirming"} & set(self.now.values()), "T8"
        if self.decision is Decision.ABORT:
            assert end is not Status.COMPLETED, "T8"
            assert all(self._is_clear(spot) for spot in self.spots.values()), "S3"
            return
        assert end is not Status.COMPENSATED, "T8"
        assert self._are_steps_done(), "T8"
        for name, status in self.now.items():
            spot = self.spots[name]
            chain = [spot, *spot.around]
            if any(self.now[s.branch_id] == "undone" for s in chain):
                assert self._is_clear(spot), "S3"
            elif spot.call is not None and spot.call.kind is BranchKind.TCC:
                assert status != "done", "T8: reserved for ever"

    # ---- Calls ------------------------------------------------------------------

    def check_call(self, call: CallBranch) -> None:
        """T4, T5, S4: only what was decided, and only where it is due."""
        spot, status = self.spots[call.branch_id], self.now[call.branch_id]
        assert spot.call is not None
        match call.phase:
            case Phase.TRY | Phase.ACTION:
                assert status == "open"
                assert self.decision is not Decision.ABORT, "S4"
                groups = (self.now[group.branch_id] for group in spot.around)
                assert set(groups) <= {"open"}, "S4"
                endless = spot.step.pivot or self._is_bound(spot)
                assert endless or call.attempt <= spot.call.retry.attempt_max, "S9"
            case Phase.CONFIRM:
                assert status == "confirming", "T4"
                assert self.decision is Decision.COMMIT, "T5"
            case _:
                assert status == "undoing", "S3"
        if call.reconsider:
            assert call.phase is Phase.ACTION, "S5"
            assert self._is_bound(spot), "S5"
