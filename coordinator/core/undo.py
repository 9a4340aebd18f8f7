"""How a saga goes back, as a whole or in a part that was given up.

What was *sent* is undone in the reverse order of the graph (S2): a step is undone
when every step that needs it was never sent, was refused, is undone, or had nothing
to undo and all that needs it is clear in turn. The members of a group are undone
before the group counts as undone; the items of a list last first, no more at a time
than forward, but what is in flight at once. Sent with unknown outcome counts as
sent: its compensation or cancel goes out without waiting for the answer, because
the participant's barrier makes it empty if the action has not run and refuses the
action if it comes later (B2, B3). A step that was never sent has no branch, so it is
never compensated (S3).

After this, nothing that was given up is asked forward again (S4): whatever was in
flight has no successor that was sent, so it is clear at once.
"""

from collections.abc import Iterator

from coordinator.core import scope
from coordinator.core.definition import BranchKind, SagaDefinition
from coordinator.core.draft import Draft
from coordinator.core.errors import InvariantViolated
from coordinator.core.events import (
    BranchAbandoned,
    BranchSucceeded,
    CompensationStarted,
    Decided,
    Finished,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    OPEN,
    Branch,
    GlobalTransaction,
    Instant,
)
from coordinator.core.place import (
    Place,
    branch_of,
    definition_of,
    find_place,
    group_of,
    is_pivot_out,
    item_count,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
    Status,
)

_NOTHING_LEFT = frozenset(
    {
        BranchStatus.REFUSED,
        BranchStatus.SKIPPED,
        BranchStatus.ABANDONED,
        BranchStatus.COMPENSATED,
        BranchStatus.CANCELLED,
        BranchStatus.RESOLVED,
    }
)
_ON_ITS_WAY = frozenset({BranchStatus.COMPENSATING, BranchStatus.CANCELLING})


def turn_back(draft: Draft, code: str, text: str, now: Instant) -> None:
    """Decide against the saga, and begin to undo it."""
    if is_pivot_out(draft.tx):
        raise InvariantViolated(f"S5: turned back ({code}) while its pivot is out")
    draft.add(Decided(Decision.ABORT, code, text, now))
    go_on(draft, None, now)


def give_up(draft: Draft, place: Place, code: str, text: str, now: Instant) -> None:
    """Undo one branch, and what belongs to it, while its saga goes on."""
    branch = draft.tx.branches[place.branch_id]
    if place.step.kind is not BranchKind.SAGA and not is_undoable(place):
        draft.add(BranchAbandoned(place.branch_id, now, code, text))
        return
    payload = NO_PAYLOAD
    if place.step.kind is BranchKind.CALL:
        payload = scope.compensation_input(draft.tx, place, branch)
    draft.add(CompensationStarted(place.branch_id, payload, now, code, text))
    _undo_branch(draft, place, now)


def go_on(draft: Draft, place: Place | None, now: Instant) -> None:
    """Undo what has become clear, and end the saga when all of it is undone.

    Args:
        place: where a branch was undone; ``None`` = nowhere yet.
    """
    tx = draft.tx
    if tx.status is Status.COMPENSATING:
        if _undo_scope(draft, "", definition_of(tx), now):
            by_hand = any(
                branch.status is BranchStatus.RESOLVED
                for branch in draft.tx.branches.values()
            )
            end = Status.RESOLVED if by_hand else Status.COMPENSATED
            draft.add(Finished(end, NO_PAYLOAD, now))
    elif place is not None and (group := given_up_around(tx, place)) is not None:
        _undo_unit(draft, group, now)


def given_up_around(tx: GlobalTransaction, place: Place) -> Place | None:
    """The outermost group around a place that is being undone; ``None`` = none is."""
    found = None
    group = group_of(tx, place)
    while group is not None:
        if tx.branches[group.branch_id].status is BranchStatus.COMPENSATING:
            found = group
        group = group_of(tx, group)
    return found


def is_undoable(place: Place) -> bool:
    """Whether the call that stands here can be undone."""
    if not place.step.calls:
        return False
    call = place.step.calls[place.choice]
    return call.kind is BranchKind.TCC or call.compensation is not None


def is_undone(tx: GlobalTransaction) -> bool:
    """Whether nothing is left of a saga that went back."""
    undone = _NOTHING_LEFT - {BranchStatus.RESOLVED}
    return all(
        branch.status in undone
        or (
            branch.status is BranchStatus.SUCCEEDED
            and (
                (place := find_place(tx, branch_id)) is None
                or not _has_to_be_undone(place)
            )
        )
        for branch_id, branch in tx.branches.items()
    )


def _undo_scope(
    draft: Draft, prefix: str, definition: SagaDefinition, now: Instant
) -> bool:
    """Undo every step whose successors are all clear; whether the scope is clear."""
    clear: dict[str, bool] = {}
    for step_id in definition.last_first:
        after_clear = all(clear[s] for s in definition.successors[step_id])
        place = Place(prefix, definition, definition.by_id[step_id])
        clear[step_id] = after_clear and (
            _undo_list(draft, place, now)
            if place.is_list
            else _undo_unit(draft, place, now)
        )
    return all(clear.values())


def _undo_list(draft: Draft, place: Place, now: Instant) -> bool:
    """Undo the items of a list, last first; whether all are undone."""
    branch = draft.tx.branches.get(place.list_id)
    if branch is None or branch.status in _NOTHING_LEFT:
        return True
    if branch.status is not BranchStatus.COMPENSATING:
        draft.add(CompensationStarted(place.list_id, NO_PAYLOAD, now))
        _undo_what_is_in_flight(draft, place, now)
    busy = 0
    for index in _items_left(draft.tx, place):
        if busy == place.for_each.parallel_max:
            return False
        busy += not _undo_item(draft, place, index, now)
    if busy:
        return False
    draft.add(BranchSucceeded(place.list_id, Phase.COMPENSATION, NO_PAYLOAD, now))
    return True


def _items_left(tx: GlobalTransaction, place: Place) -> Iterator[int]:
    """The items of a list that may not be undone, last first.

    While a list goes back, every answer looks at each of its items, up to a thousand:
    so it is a short look.
    """
    branches, prefix = tx.branches, f"{place.list_id}:"
    is_simple = len(place.step.calls) == 1
    for index in range(item_count(tx, place) - 1, -1, -1):
        if not is_simple or branches[f"{prefix}{index}"].status not in _NOTHING_LEFT:
            yield index


def _undo_item(draft: Draft, place: Place, index: int, now: Instant) -> bool:
    """Begin or go on to undo one item of a list; whether it is undone."""
    status = draft.tx.branches[f"{place.list_id}:{index}"].status
    if status in _ON_ITS_WAY and len(place.step.calls) == 1:
        return False
    return _undo_unit(draft, place.item(index), now)


def _undo_what_is_in_flight(draft: Draft, place: Place, now: Instant) -> None:
    """S4: whatever of a list was sent and not answered is resolved first."""
    for branch_id in tuple(draft.tx.open):
        member = draft.tx.branches[branch_id]
        if (
            member.spec.parent_branch_id == place.list_id
            and member.status in OPEN - _ON_ITS_WAY
            and (item := find_place(draft.tx, branch_id)) is not None
        ):
            _undo_branch(draft, item, now)


def _has_to_be_undone(place: Place) -> bool:
    return place.step.kind is BranchKind.SAGA or is_undoable(place)


def _branches_of(tx: GlobalTransaction, place: Place) -> list[tuple[Place, Branch]]:
    """The branches of a unit: its first choice, and the fallbacks that it came to."""
    found = []
    for choice in range(max(1, len(place.step.calls))):
        branch = tx.branches.get(branch_of(place.unit_id, choice))
        if branch is None:
            break
        at = Place(place.prefix, place.definition, place.step, place.index, choice)
        found.append((at, branch))
    return found


def _undo_unit(draft: Draft, place: Place, now: Instant) -> bool:
    """Undo all choices of a unit; whether all are undone."""
    undone = True
    for at, _ in _branches_of(draft.tx, place):
        undone = _undo_branch(draft, at, now) and undone
    return undone


def _undo_branch(draft: Draft, place: Place, now: Instant) -> bool:
    """Begin or go on to undo one branch; whether it is undone."""
    branch = draft.tx.branches[place.branch_id]
    if branch.status in _NOTHING_LEFT:
        return True
    if place.step.kind is BranchKind.SAGA:
        return _undo_child(draft, place, branch, now)
    if branch.status in _ON_ITS_WAY:
        return False
    if not is_undoable(place):
        if branch.status is not BranchStatus.SUCCEEDED:
            draft.add(BranchAbandoned(place.branch_id, now))
        return True
    payload = NO_PAYLOAD
    if place.step.calls[place.choice].kind is BranchKind.CALL:
        payload = scope.compensation_input(draft.tx, place, branch)
    draft.add(CompensationStarted(place.branch_id, payload, now))
    return False


def _undo_child(draft: Draft, place: Place, branch: Branch, now: Instant) -> bool:
    """Undo a child saga; whether it is undone (S8)."""
    if branch.status is not BranchStatus.COMPENSATING:
        draft.add(CompensationStarted(place.branch_id, NO_PAYLOAD, now))
    if not _undo_scope(draft, f"{place.branch_id}:", place.child, now):
        return False
    draft.add(BranchSucceeded(place.branch_id, Phase.COMPENSATION, NO_PAYLOAD, now))
    return True
