"""What the expressions of a step may read, at the place where it stands.

A child saga sees its own input and its own steps; the item of a list is visible to
whatever is run for it, but not inside a child saga: that gets it through its input.
"""

from msgspec import Struct

from coordinator.core import expressions
from coordinator.core.changed import changed
from coordinator.core.definition import Constant, JsonValue, Template
from coordinator.core.expressions import ExpressionFailed, Item, Scope
from coordinator.core.model import (
    NO_PAYLOAD,
    Branch,
    GlobalTransaction,
    Payload,
)
from coordinator.core.place import SATISFIED, Place, last_choice

OUTPUT_BYTES_MAX = 256 * 1024
"""Of one evaluated input or output; the limit of every payload."""


class _StepOutputs(Struct, frozen=True):
    """The outputs of one scope's steps, looked up when they are read."""

    _tx: GlobalTransaction
    _place: Place
    _own: Payload | None

    def get(self, step_id: str) -> Payload | None:
        """The output of the choice that did the step's work.

        A choice that was given up may have an output too, of an action that is or will
        be undone: nobody reads that but its own compensation, which reads no other.
        """
        if self._own is not None and step_id == self._place.step.step_id:
            return None if self._own == NO_PAYLOAD else self._own
        step = self._place.definition.by_id.get(step_id)
        branch = step and last_choice(self._tx, step, self._place.prefix + step_id)
        if not branch or branch.status not in SATISFIED:
            return None
        return None if branch.output == NO_PAYLOAD else branch.output


def scope_of(tx: GlobalTransaction, place: Place, own: Payload | None = None) -> Scope:
    """What can be read at a place: only what is stored.

    Args:
        own: for its compensation, what this very branch has answered.
    """
    request = tx.request
    group = tx.branches[place.prefix[:-1]] if place.prefix else None
    return Scope(
        input=request.input if group is None else group.spec.input,
        outputs=_StepOutputs(tx, place, own),
        saga={"gid": request.key.gid, "startedAt": request.created_at},
        item=None if place.index is None else _item(tx, place, place.index),
    )


def _item(tx: GlobalTransaction, place: Place, index: int) -> Item:
    items = items_of(tx, place)
    return Item(items[index], index)


def items_of(tx: GlobalTransaction, place: Place) -> list[JsonValue]:
    """The list that a step is run for, as it was evaluated once (S7)."""
    stored = tx.branches[place.list_id].spec.input
    items = expressions.from_payload(stored, place.list_id)
    return items if isinstance(items, list) else []


def evaluated(template: Template, scope: Scope) -> Payload:
    """A template's value as it is stored. Raises ``ExpressionFailed``."""
    return expressions.render(template, scope, OUTPUT_BYTES_MAX)


def evaluated_at(tx: GlobalTransaction, place: Place, template: Template) -> Payload:
    """The same, at a place. Nothing is looked up for a template that reads nothing."""
    if isinstance(template, Constant):
        return expressions.fitting(template.as_json, OUTPUT_BYTES_MAX)
    return evaluated(template, scope_of(tx, place))


def bounded(payload: Payload) -> Payload:
    """The payload, when it may be stored. Raises ``ExpressionFailed``."""
    if len(payload.data) > OUTPUT_BYTES_MAX:
        raise ExpressionFailed(
            f"{len(payload.data)} bytes, more than {OUTPUT_BYTES_MAX}"
        )
    return payload


def compensation_input(
    tx: GlobalTransaction, place: Place, branch: Branch, *, is_lenient: bool = False
) -> Payload:
    """What a step is undone with; empty when its output is needed and not known.

    Args:
        is_lenient: its output will never be known; let it be null.
    """
    compensation = place.step.calls[place.choice].compensation
    if compensation is None or compensation.input is None:
        return branch.spec.input
    scope = changed(scope_of(tx, place, branch.output), is_lenient=is_lenient)
    try:
        return evaluated(compensation.input, scope)
    except ExpressionFailed:
        return NO_PAYLOAD  # the participant will answer OUTPUT_NEEDED if it ran
