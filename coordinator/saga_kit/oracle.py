"""Whether a run kept the rules of a saga: judged from its trace alone.

Independent of the rules' own code: it reads the definition and the branch ids by
itself, follows which facts were durable when a call left the coordinator, and counts
what the participants' databases say in the end. Ids are those of docs/rules.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from coordinator.core.definition import BranchKind, SagaDefinition, Step
from coordinator.core.events import (
    AttentionRaised,
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
from coordinator.core.words import Decision, Phase
from coordinator.saga_kit.rehearsal import End, Rehearsal, Sent, Stored

_FORWARD = frozenset({Phase.TRY, Phase.ACTION})
_BACKWARD = frozenset({Phase.CANCEL, Phase.COMPENSATION})
_NOTHING_DONE = frozenset({"refused", "skipped", "abandoned", "undone"})


@dataclass(frozen=True, slots=True)
class _Level:
    """One step on the way from the whole saga down to a branch.

    Attributes:
        prefix: of all branches of the same scope.
        unit_id: the branch of this run of the step, at its first choice.
        choice: which of the step's calls.
    """

    prefix: str
    definition: SagaDefinition
    step: Step
    unit_id: str
    choice: int = 0


def broken_rules(definition: SagaDefinition, run: Rehearsal) -> tuple[str, ...]:
    """The rules that a run broke, each with the branch; empty when it kept all."""
    return tuple(dict.fromkeys((*run.broken, *_Judge(definition).judge(run))))


class _Judge:
    def __init__(self, definition: SagaDefinition) -> None:
        self._definition = definition
        self._state: dict[str, str] = {}
        self._given_up: set[str] = set()
        self._undoing: set[str] = set()
        self._sent: dict[tuple[str, Phase], bytes] = {}
        self._decision = Decision.NONE
        self._has_attention = False
        self._ways: dict[str, tuple[_Level, ...]] = {}

    def judge(self, run: Rehearsal) -> Iterator[str]:
        for entry in run.trace:
            if isinstance(entry, Sent):
                yield from self._sent_one(entry)
            elif isinstance(entry, Stored):
                yield from self._stored_one(entry.fact)
        yield from self._at_the_end(run)

    # ---- Facts --------------------------------------------------------------------

    def _stored_one(self, fact: Event) -> Iterator[str]:
        match fact:
            case StepStarted(spec):
                self._state[spec.branch_id] = "started"
                if not self._may_start(spec.branch_id):
                    yield f"S1: {spec.branch_id} began before what it needs"
            case BranchSucceeded(branch_id, phase):
                if phase not in _BACKWARD and branch_id in self._undoing:
                    yield f"S4: {branch_id} succeeded after it was given up"
                done = "undone" if phase in _BACKWARD else "succeeded"
                self._state[branch_id] = done
            case BranchAbandoned() | CompensationStarted():
                self._turned(fact)
            case Decided(decision):
                yield from self._decided(decision)
            case AttentionRaised():
                self._has_attention = True
            case _:
                self._came_to_nothing(fact)

    def _came_to_nothing(self, fact: Event) -> None:
        match fact:
            case StepSkipped(spec):
                self._state[spec.branch_id] = "skipped"
            case StepRefused(spec):
                self._state[spec.branch_id] = "refused"
            case BranchRefused(branch_id):
                self._state[branch_id] = "refused"

    def _turned(self, fact: BranchAbandoned | CompensationStarted) -> None:
        is_undoing = isinstance(fact, CompensationStarted)
        self._state[fact.branch_id] = "undoing" if is_undoing else "abandoned"
        if is_undoing:
            self._undoing.add(fact.branch_id)
        if fact.code:
            self._given_up.add(fact.branch_id)

    def _decided(self, decision: Decision) -> Iterator[str]:
        if self._decision is not Decision.NONE:
            yield "T1: it was decided twice"
        self._decision = decision
        if decision is not Decision.ABORT:
            return
        for branch_id, state in self._state.items():
            way = self._way(branch_id)
            if way and way[-1].step.pivot and state in ("started", "succeeded"):
                yield f"S5: turned back, and the pivot {branch_id} has {state}"

    def _may_start(self, branch_id: str) -> bool:
        return all(
            self._is_satisfied(level, need)
            for level in self._way(branch_id)
            for need in level.step.needs
        )

    def _is_satisfied(self, level: _Level, need: str) -> bool:
        step = _by_id(level.definition)[need]
        unit_id = level.prefix + need
        choices = max(1, len(step.calls))
        states = [
            self._state.get(f"{unit_id}:fallback-{c}" if c else unit_id, "")
            for c in range(choices)
        ]
        if "succeeded" in states or "skipped" in states:
            return True
        return step.optional and any(states) and "started" not in states

    # ---- Calls --------------------------------------------------------------------

    def _sent_one(self, entry: Sent) -> Iterator[str]:
        call = entry.call
        branch_id, phase = call.branch_id, call.phase
        known = self._sent.get((branch_id, phase))
        if known and known != call.input.data:
            yield f"S7: {branch_id}: another input when its {phase} was repeated"
        if branch_id not in self._state:
            yield f"T4: {branch_id} was called before its start was stored"
        if phase in _FORWARD:
            yield from self._sent_forward(branch_id)
        elif phase in _BACKWARD:
            yield from self._sent_backward(branch_id, is_first=known is None)
        elif self._decision is not Decision.COMMIT:
            yield f"T5: {branch_id} was confirmed before the saga was decided"
        elif self._is_going_back(branch_id):
            yield f"T5: {branch_id} was confirmed while it was given up"
        self._sent[branch_id, phase] = call.input.data

    def _sent_forward(self, branch_id: str) -> Iterator[str]:
        if not self._may_start(branch_id):
            yield f"S1: {branch_id} was called before what it needs was stored"
        if self._decision is Decision.ABORT:
            yield f"S4: {branch_id} was called forward after the saga turned back"
        if self._is_going_back(branch_id):
            yield f"S4: {branch_id} was called forward after it was given up"

    def _is_going_back(self, branch_id: str) -> bool:
        """Whether it, or a group that it is in, is being undone."""
        around = {level.unit_id for level in self._way(branch_id)[:-1]}
        return not self._undoing.isdisjoint({branch_id, *around})

    def _sent_backward(self, branch_id: str, *, is_first: bool) -> Iterator[str]:
        if not {(branch_id, phase) for phase in _FORWARD} & self._sent.keys() and (
            self._state.get(branch_id) not in ("undoing", "undone")
        ):
            yield f"S3: {branch_id} was never begun, and is undone"
        way = self._way(branch_id)
        given_up = {branch_id, *(level.unit_id for level in way[:-1])} & self._given_up
        if self._decision is Decision.COMMIT and not given_up:
            yield f"S5: {branch_id} was undone after the saga was decided for"
        if is_first:
            yield from self._out_of_order(branch_id)

    def _out_of_order(self, branch_id: str) -> Iterator[str]:
        """S2: whatever came after it and is not undone."""
        at = branch_id
        for level in reversed(self._way(branch_id)):
            if at in self._given_up:
                return
            for later in _by_id(level.definition).values():
                if level.step.step_id not in later.needs:
                    continue
                top = level.prefix + later.step_id
                for other in self._below(top):
                    if not self._is_clear(other):
                        yield f"S2: {branch_id} was undone before {other}"
            at = level.prefix[:-1]

    def _below(self, top: str) -> list[str]:
        return [b for b in self._state if b == top or b.startswith(f"{top}:")]

    def _is_clear(self, branch_id: str) -> bool:
        state = self._state[branch_id]
        return state in _NOTHING_DONE or (
            state in ("succeeded", "undoing") and not self._is_undoable(branch_id)
        )

    def _is_undoable(self, branch_id: str) -> bool:
        way = self._way(branch_id)
        if not way or not way[-1].step.calls:
            return False  # a group: its members are looked at one by one
        level = way[-1]
        if level.step.for_each is not None and branch_id == (
            level.prefix + level.step.step_id
        ):
            return False
        call = level.step.calls[level.choice]
        return call.kind is BranchKind.TCC or call.compensation is not None

    # ---- The end ------------------------------------------------------------------

    def _at_the_end(self, run: Rehearsal) -> Iterator[str]:
        match run.end:
            case End.STUCK:
                yield "S6: it does not go on, and no person was called"
            case End.ATTENTION:
                if not self._has_attention:
                    yield "S6: it waits, and no person was called"
            case End.COMPENSATED:
                yield from self._nothing_is_left(run)
            case End.COMPLETED:
                yield from self._all_is_done(run)

    def _nothing_is_left(self, run: Rehearsal) -> Iterator[str]:
        if self._decision is not Decision.ABORT:
            yield "S6: COMPENSATED without a decision against it"
        for branch_id, record in run.participants.records.items():
            if record.net_effect and self._is_undoable(branch_id):
                yield f"S3: {branch_id} is in effect in a saga that is COMPENSATED"
            if record.is_confirmed:
                yield f"S3: {branch_id} is confirmed in a saga that is COMPENSATED"

    def _all_is_done(self, run: Rehearsal) -> Iterator[str]:
        if self._decision is Decision.ABORT:
            yield "T1: COMPLETED after a decision against it"
        for branch_id, state in self._state.items():
            if state in ("started", "undoing") and self._is_call(branch_id):
                yield f"T8: COMPLETED, and {branch_id} is still {state}"
            record = run.participants.records.get(branch_id)
            if record is None or not self._is_call(branch_id):
                continue
            if state == "succeeded" and not record.net_effect:
                yield f"S3: {branch_id} is not in effect in a saga that is COMPLETED"
            if state == "undone" and record.net_effect:
                yield f"S3: {branch_id} was given up and is in effect"
            is_reserved = self._kind(branch_id) is BranchKind.TCC and record.net_effect
            if is_reserved and not record.is_confirmed:
                yield f"T5: {branch_id} is reserved and not confirmed at the end"

    # ---- Branch ids ---------------------------------------------------------------

    def _is_call(self, branch_id: str) -> bool:
        return (branch_id, Phase.ACTION) in self._sent or (
            (branch_id, Phase.TRY) in self._sent
        )

    def _kind(self, branch_id: str) -> BranchKind:
        level = self._way(branch_id)[-1]
        return level.step.calls[level.choice].kind

    def _way(self, branch_id: str) -> tuple[_Level, ...]:
        if branch_id not in self._ways:
            self._ways[branch_id] = tuple(_levels(self._definition, branch_id))
        return self._ways[branch_id]


def _by_id(definition: SagaDefinition) -> dict[str, Step]:
    return {step.step_id: step for step in definition.steps}


def _levels(definition: SagaDefinition, branch_id: str) -> Iterator[_Level]:
    """From the whole saga down to the step that a branch id names."""
    prefix, parts = "", branch_id.split(":")
    while parts and (step := _by_id(definition).get(parts[0])) is not None:
        unit_id, parts = prefix + parts[0], parts[1:]
        if step.for_each is not None and parts and parts[0].isdecimal():
            unit_id, parts = f"{unit_id}:{parts[0]}", parts[1:]
        choice = 0
        if step.child is None and parts and parts[0].startswith("fallback-"):
            choice, parts = int(parts[0].removeprefix("fallback-")), parts[1:]
        yield _Level(prefix, definition, step, unit_id, choice)
        if step.child is None:
            return
        prefix, definition = f"{unit_id}:", step.child
