"""Where a branch stands in a saga: a tree of steps, written as branch ids.

::

    book                step ``book``
    book:fallback-1     its first fallback
    items               step ``items``, which is run for each item of a list
    items:0             its first item
    disburse            step ``disburse``, which is a child saga
    disburse:reserve    step ``reserve`` of that child saga
    loans:3:reserve     the same, where a child saga is run for the fourth item

Step ids have no colon, so an id has one meaning. A *scope* is a saga as it is run
once: the whole, or a child. All branches of a scope begin with its prefix. A *unit*
is one run of a step: the step itself, or one item of its list. The list and a child
saga are *groups*: their branch ends when its members have.
"""

from msgspec import Struct

from coordinator.core.definition import ForEach, SagaDefinition, Step
from coordinator.core.errors import InvariantViolated
from coordinator.core.model import Branch, GlobalTransaction
from coordinator.core.words import BranchStatus

SEPARATOR = ":"
FALLBACK = "fallback-"

SATISFIED = frozenset(
    {
        BranchStatus.SUCCEEDED,
        BranchStatus.TRIED,
        BranchStatus.CONFIRMING,
        BranchStatus.CONFIRMED,
        BranchStatus.SKIPPED,
        BranchStatus.RESOLVED,
    }
)
"""A unit whose latest choice has one of these has done its work, or had none to do."""


class Place(Struct, frozen=True):
    """Where a branch stands.

    Attributes:
        prefix: of its scope; empty for the whole saga.
        definition: of its scope.
        index: which item of the step's list; ``None`` = the step itself.
        choice: which of the step's calls; 0 = the first, others are fallbacks.
    """

    prefix: str
    definition: SagaDefinition
    step: Step
    index: int | None = None
    choice: int = 0

    @property
    def unit_id(self) -> str:
        """The branch of this run of the step, at its first choice."""
        if self.index is None:
            return self.prefix + self.step.step_id
        return f"{self.prefix}{self.step.step_id}{SEPARATOR}{self.index}"

    @property
    def branch_id(self) -> str:
        """The branch that stands here."""
        unit_id = self.unit_id
        return branch_of(unit_id, self.choice) if self.choice else unit_id

    @property
    def list_id(self) -> str:
        """The branch of the list whose item this is."""
        return self.prefix + self.step.step_id

    @property
    def parent_id(self) -> str:
        """The group that this branch is a member of; empty = of none."""
        return self.prefix[:-1] if self.index is None else self.list_id

    @property
    def for_each(self) -> ForEach:
        """The list that the step is run for. Raises ``InvariantViolated``."""
        if self.step.for_each is None:
            raise InvariantViolated(f"{self.branch_id} is no list")
        return self.step.for_each

    @property
    def child(self) -> SagaDefinition:
        """The saga that is run as this step. Raises ``InvariantViolated``."""
        if self.step.child is None:
            raise InvariantViolated(f"{self.branch_id} is no child saga")
        return self.step.child

    @property
    def is_list(self) -> bool:
        """Stands for the list as a whole."""
        return self.step.for_each is not None and self.index is None

    def item(self, index: int) -> "Place":
        """One item of this list."""
        return Place(self.prefix, self.definition, self.step, index)


def branch_of(unit_id: str, choice: int) -> str:
    """The branch of one of a unit's choices."""
    return f"{unit_id}{SEPARATOR}{FALLBACK}{choice}" if choice else unit_id


def locate(definition: SagaDefinition, branch_id: str) -> Place | None:
    """Where a branch stands; ``None`` when no step of this saga stands there."""
    step = definition.by_id.get(branch_id)
    if step is not None:
        return Place("", definition, step)
    parts = branch_id.split(SEPARATOR)
    at, prefix = 0, ""
    while (step := definition.by_id.get(parts[at])) is not None:
        at += 1
        index: int | None = None
        if step.for_each is not None and at < len(parts) and parts[at].isdecimal():
            index = int(parts[at])
            at += 1
        if at == len(parts):
            return Place(prefix, definition, step, index)
        if step.for_each is not None and index is None:
            return None
        if step.child is None:
            return _fallback(Place(prefix, definition, step, index), parts[at:])
        prefix = SEPARATOR.join(parts[:at]) + SEPARATOR
        definition = step.child
    return None


def _fallback(place: Place, rest: list[str]) -> Place | None:
    """The k-th fallback, when that is what the rest of an id names."""
    for choice in range(1, len(place.step.calls)):
        if rest == [f"{FALLBACK}{choice}"]:
            return Place(
                place.prefix, place.definition, place.step, place.index, choice
            )
    return None


def place_of(tx: GlobalTransaction, branch_id: str) -> Place:
    """Where a branch of this saga stands. Raises ``InvariantViolated``."""
    place = locate(tx.definition or definition_of(tx), branch_id)
    if place is None:
        raise InvariantViolated(f"branch {branch_id} is at no step of its saga")
    return place


def find_place(tx: GlobalTransaction, branch_id: str) -> Place | None:
    """Where a branch of this saga stands; ``None`` for a signal that came."""
    return locate(definition_of(tx), branch_id)


def definition_of(tx: GlobalTransaction) -> SagaDefinition:
    """The saga that a transaction runs. Raises ``InvariantViolated``."""
    if tx.definition is None:
        raise InvariantViolated(f"saga {tx.key.gid} came without its definition")
    return tx.definition


def group_of(tx: GlobalTransaction, place: Place) -> Place | None:
    """The place of the group that this one is a member of."""
    return place_of(tx, place.parent_id) if place.parent_id else None


def last_choice(tx: GlobalTransaction, step: Step, unit_id: str) -> Branch | None:
    """The branch of the latest choice that a unit of this step has come to."""
    if len(step.calls) > 1:
        for choice in range(len(step.calls) - 1, 0, -1):
            branch = tx.branches.get(branch_of(unit_id, choice))
            if branch is not None:
                return branch
    return tx.branches.get(unit_id)


def item_count(tx: GlobalTransaction, place: Place) -> int:
    """How many items of a list have begun; they begin in the order of the list."""
    low, high = 0, len(tx.branches)
    while low < high:
        middle = (low + high) // 2
        if f"{place.list_id}{SEPARATOR}{middle}" in tx.branches:
            low = middle + 1
        else:
            high = middle
    return low


def is_pivot_out(tx: GlobalTransaction) -> bool:
    """Whether a pivot has been sent and its answer is not known."""
    if tx.definition is None or not tx.definition.has_pivot:
        return False
    for branch_id in tx.open:
        if (
            tx.branches[branch_id].status is BranchStatus.RUNNING
            and place_of(tx, branch_id).step.pivot
        ):
            return True
    return False
