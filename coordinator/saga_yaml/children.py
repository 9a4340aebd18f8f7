"""Child sagas: found among the published ones, and fit to be run as a step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from coordinator.core.definition import BranchKind, SagaDefinition, Step
from coordinator.saga_yaml.findings import Code, Findings
from coordinator.saga_yaml.language import ITEMS_MAX, STEPS_MAX
from coordinator.saga_yaml.shape import Fields
from coordinator.saga_yaml.steps import Written
from coordinator.saga_yaml.times import Times

Sagas: TypeAlias = Callable[[str, str], SagaDefinition | None]
"""The published saga with this name and version, or ``None``; may raise
:class:`ChildRefused`."""

NESTING_MAX: Final = 8
BRANCH_ID_LENGTH_MAX: Final = 128

_ITEM_LENGTH = len(f":{ITEMS_MAX - 1}")
_FALLBACK_LENGTH = len(":fallback-1")


class ChildRefused(Exception):
    """A saga that is there cannot be run; the message goes on from its name.

    Attributes:
        code: of the finding.
    """

    def __init__(self, code: Code, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a saga that runs this one as a step must know of it.

    Attributes:
        names: of it and of all sagas below it.
        depth: how many levels of sagas it has, itself included.
        steps: with those of all sagas below it.
        id_length: of the longest id that a branch of it may have.
        undone: a step that is cancelled or compensated, as a branch id; or empty.
        reserves: the first such step of kind ``tcc``; or empty.
        times: how long it takes.
    """

    names: frozenset[str]
    depth: int
    steps: int
    id_length: int
    undone: str
    times: Times


class Children:
    """The child sagas of one text."""

    def __init__(self, sagas: Sagas | None, name: str, findings: Findings) -> None:
        self._sagas = sagas
        self._name = name
        self._findings = findings
        self._facts: dict[int, Facts] = {}
        self._found: dict[str, SagaDefinition | ChildRefused] = {}

    def find(self, fields: Fields) -> SagaDefinition | None:
        """The saga that a step runs; what keeps it from being run is noted."""
        written = fields.get("saga", str, "")
        if not written:
            return None
        name, _, version = written.partition("@")
        at = fields.place("saga")
        if name == self._name:
            message = f"the saga {name} would run itself; name another saga"
            self._findings.add(at, Code.REACHES_ITSELF, message)
            return None
        if written not in self._found:
            self._found[written] = self._look_up(name, version)
        child = self._found[written]
        if isinstance(child, ChildRefused):
            self._findings.add(at, child.code, f"the saga {name} {version} {child}")
            return None
        if self._name in self.facts(child).names:
            message = f"the saga {self._name} would run itself: {written} reaches it"
            self._findings.add(at, Code.REACHES_ITSELF, message)
            return None
        return child

    def _look_up(self, name: str, version: str) -> "SagaDefinition | ChildRefused":
        try:
            found = self._sagas(name, version) if self._sagas else None
        except ChildRefused as refused:
            return refused
        return found or ChildRefused(
            Code.UNKNOWN_SAGA,
            "is not known here; publish it first, or check its file together with "
            "this one",
        )

    def facts(self, child: SagaDefinition) -> Facts:
        """What is known of a child saga; looked at once."""
        known = self._facts.get(id(child))
        if known is None:
            known = self._facts[id(child)] = self._facts_of(child)
        return known

    def times(self, child: SagaDefinition) -> Times:
        """How long a child saga takes."""
        return self.facts(child).times

    def _facts_of(self, saga: SagaDefinition) -> Facts:
        below = [self.facts(step.child) for step in saga.steps if step.child]
        order = tuple(reversed(saga.last_first))
        return Facts(
            names=frozenset({saga.name}).union(*(child.names for child in below)),
            depth=1 + max((child.depth for child in below), default=0),
            steps=len(saga.steps) + sum(child.steps for child in below),
            id_length=max(self._id_length(step) for step in saga.steps),
            undone=next(filter(None, map(self._undone, saga.steps)), ""),
            times=Times(order, saga.by_id, self.times),
        )

    def _id_length(self, step: Step) -> int:
        length = len(step.step_id) + (_ITEM_LENGTH if step.for_each else 0)
        if step.child is not None:
            return length + 1 + self.facts(step.child).id_length
        return length + (_FALLBACK_LENGTH if len(step.calls) > 1 else 0)

    def _undone(self, step: Step) -> str:
        if step.child is not None:
            inner = self.facts(step.child).undone
            return f"{step.step_id}:{inner}" if inner else ""
        undone = any(c.kind is BranchKind.TCC or c.compensation for c in step.calls)
        return step.step_id if undone else ""

    def check_sizes(self, steps: list[Written]) -> None:
        """Note what becomes too large when child sagas are counted in."""
        total = len(steps)
        for step in steps:
            if step.child is None:
                continue
            facts = self.facts(step.child)
            at = step.fields.place("saga")
            what = ""
            length = len(step.step_id) + 1 + facts.id_length
            length += _ITEM_LENGTH if step.is_list else 0
            if facts.depth >= NESTING_MAX:
                what = f"sagas nested more than {NESTING_MAX} deep"
            elif length > BRANCH_ID_LENGTH_MAX:
                what = (
                    f"the id of a branch of this step may have {length} characters, "
                    f"more than {BRANCH_ID_LENGTH_MAX}; shorten the ids of its steps"
                )
            elif total <= STEPS_MAX < total + facts.steps:
                what = f"more than {STEPS_MAX} steps, those of child sagas included"
            total += facts.steps
            if what:
                self._findings.add(at, Code.OVER_LIMIT, what)
