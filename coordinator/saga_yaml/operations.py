"""Checks of what is called: against the catalogue, and how it is undone."""

from collections.abc import Mapping

from coordinator.core.model import Operation, participant_of
from coordinator.core.words import OperationKind
from coordinator.saga_yaml.findings import Code, Findings
from coordinator.saga_yaml.shape import Fields

_KIND_OF = {"call": OperationKind.ACTION, "tcc": OperationKind.TCC}


def check_operations(
    step: Fields,
    operations: Mapping[str, Operation] | None,
    findings: Findings,
    *,
    is_undone: bool,
) -> None:
    """Check what a step or a fallback calls: known, of the right kind, and undone by
    its own participant.

    Args:
        is_undone: the saga may turn back after it.
    """
    operation = step.get(step.kind, str, "") if step.kind in _KIND_OF else ""
    if not operation:
        return
    known = _check_operation(step, step.kind, operation, operations, findings)
    if step.kind == "tcc":
        return
    written = "compensate" in step.node.entries
    if written and not isinstance(step.values.get("compensate"), Fields):
        return
    compensate = step.fields("compensate")
    if written and "call" in compensate.node.entries:
        undo = compensate.get("call", str, "")
        if undo and undo != operation:
            _check_undo(compensate, undo, operation, operations, findings)
            return
        if not undo:
            return
    is_action = known is not None and known.kind is OperationKind.ACTION
    if is_undone and is_action and known is not None and not known.compensable:
        message = (
            f"{operation} brings no compensation of its own; say how the step is "
            f"undone (compensate: {{call: {known.compensation or '...'}}}), or that "
            "nothing is (compensate: none)"
        )
        findings.add(step.place("call"), Code.NO_COMPENSATION, message)


def _check_undo(
    compensate: Fields,
    undo: str,
    operation: str,
    operations: Mapping[str, Operation] | None,
    findings: Findings,
) -> None:
    mine, theirs = participant_of(operation), participant_of(undo)
    if mine != theirs:
        message = (
            f"{undo} belongs to {theirs!r}, but only {mine!r} can tell whether "
            f"{operation} has run; name an operation of {mine!r}"
        )
        findings.add(compensate.place("call"), Code.FOREIGN_COMPENSATION, message)
    else:
        _check_operation(compensate, "call", undo, operations, findings)


def _check_operation(
    fields: Fields,
    key: str,
    name: str,
    operations: Mapping[str, Operation] | None,
    findings: Findings,
) -> Operation | None:
    """The catalogue's entry, when the catalogue is known and has it."""
    if operations is None:
        return None
    known = operations.get(name)
    at = fields.place(key)
    wanted = _KIND_OF[key]
    if known is None:
        message = f"the catalogue has no operation {name}; register it first"
        nearest = findings.nearest(name, operations)
        findings.add(at, Code.UNKNOWN_OPERATION, message, nearest)
    elif known.kind is not wanted:
        message = f"{name} is of kind {known.kind}; {key!r} needs one of kind {wanted}"
        findings.add(at, Code.WRONG_KIND, message)
    return known
