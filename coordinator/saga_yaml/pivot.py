"""Checks of the pivot: the step after which a saga only goes forward."""

from dataclasses import dataclass

from coordinator.saga_yaml.children import Children
from coordinator.saga_yaml.findings import Code, Findings
from coordinator.saga_yaml.graph import Graph
from coordinator.saga_yaml.shape import Fields
from coordinator.saga_yaml.steps import Written


@dataclass(frozen=True, slots=True)
class Pivot:
    """Where the saga is decided.

    Attributes:
        step_id: the first pivot of the text; empty when there is none.
        after: the ids of the steps that come after it.
    """

    step_id: str = ""
    after: frozenset[str] = frozenset()

    def goes_back(self, step: Written) -> bool:
        """Whether the saga may turn back after this step."""
        return not step.is_pivot and step.step_id not in self.after

    def is_endless(self, step: Written) -> bool:
        """Whether the step is asked until it succeeds."""
        if step.is_pivot:
            return True
        return step.step_id in self.after and not step.is_optional


def find_pivot(steps: list[Written], graph: Graph) -> Pivot:
    """The first pivot of the text, and what comes after it."""
    for step in steps:
        if step.is_pivot and step.step_id in graph.ancestors:
            bit = 1 << graph.positions[step.step_id]
            after = (s for s, needs in graph.ancestors.items() if needs & bit)
            return Pivot(step.step_id, frozenset(after))
    return Pivot()


def check_pivot(
    steps: list[Written],
    pivot: Pivot,
    graph: Graph,
    children: Children,
    findings: Findings,
) -> None:
    """Check that it is always known whether the saga can still turn back (S5)."""
    before = graph.ancestors.get(pivot.step_id, 0)
    for step in steps:
        if step.is_pivot:
            _check_itself(step, findings)
            if pivot.step_id and step.step_id != pivot.step_id:
                message = (
                    f"{step.step_id!r} is a second pivot beside {pivot.step_id!r}; a "
                    "saga is decided once: keep the one after which all can succeed"
                )
                findings.add(_pivot_at(step), Code.SECOND_PIVOT, message)
        elif not pivot.step_id:
            continue
        elif step.step_id in pivot.after:
            _check_after(step, pivot, children, findings)
        elif step.step_id in graph.positions and not (
            step.is_optional or before >> graph.positions[step.step_id] & 1
        ):
            message = (
                f"the step {step.step_id!r} runs beside the pivot {pivot.step_id!r}, "
                "so it might fail when nothing can turn back any more; let one of them "
                "need the other, or make the step optional"
            )
            findings.add(step.fields.place("id"), Code.BESIDE_PIVOT, message)


def _pivot_at(step: Written) -> int:
    return step.fields.place("saga" if step.child else "pivot")


def _check_itself(step: Written, findings: Findings) -> None:
    what = f"the saga {step.child.name}, which has one," if step.child else "a pivot"
    reasons = {
        "optional": f"{what} decides the saga, so it cannot be optional",
        "forEach": f"{what} is run once, never for each item of a list",
        "if": f"{what} cannot be skipped: the steps after it rely on it",
    }
    for key, reason in reasons.items():
        if key == "optional" and not step.is_optional:
            continue
        if key in step.fields.node.entries:
            at = step.fields.node.key_at[key]
            findings.add(at, Code.WRONG_PIVOT, f"{reason}; drop {key!r}")
    for call in step.calls():
        if "compensate" in call.values and not call.get("compensate", str, ""):
            message = "a pivot is never undone; drop 'compensate'"
            findings.add(call.node.key_at["compensate"], Code.WRONG_PIVOT, message)
        if call.kind == "tcc" and call is not step.fields:
            message = (
                "a reservation is confirmed when the saga is decided, so it cannot "
                "stand in for the pivot; use 'call'"
            )
            findings.add(call.node.key_at["tcc"], Code.WRONG_PIVOT, message)
        _check_endless(call, "a pivot", findings)


def _check_after(
    step: Written, pivot: Pivot, children: Children, findings: Findings
) -> None:
    rule = f"after the pivot {pivot.step_id!r} nothing is undone"
    if step.child is not None and (undone := children.facts(step.child).undone):
        message = (
            f"{rule}, but the saga {step.child.name} undoes its step {undone!r}; move "
            "the step before the pivot, or run a version that says compensate: none"
        )
        findings.add(step.fields.place("saga"), Code.UNDONE_AFTER_PIVOT, message)
    for call in step.calls():
        if call.kind == "tcc":
            message = (
                f"{rule}, so nothing is only reserved; move it before, or use call"
            )
            findings.add(call.node.key_at["tcc"], Code.UNDONE_AFTER_PIVOT, message)
        if isinstance(call.values.get("compensate"), Fields):
            message = f"{rule}; drop 'compensate', or move the step before the pivot"
            at = call.node.key_at["compensate"]
            findings.add(at, Code.UNDONE_AFTER_PIVOT, message)
        if not step.is_optional:
            _check_endless(call, f"a step after the pivot {pivot.step_id!r}", findings)
    if "fallback" in step.fields.values and not step.is_optional:
        message = (
            f"a step after the pivot {pivot.step_id!r} is asked until it succeeds, so "
            "its fallback is never called; drop it, or make the step optional"
        )
        at = step.fields.node.key_at["fallback"]
        findings.add(at, Code.BOUNDED_AFTER_PIVOT, message)


def _check_endless(call: Fields, what: str, findings: Findings) -> None:
    retry = call.fields("retry")
    for key in ("maxAttempts", "nonRetryable"):
        if key in retry.values:
            message = f"{what} is asked until it is answered; drop {key!r}"
            at = retry.node.key_at[key]
            findings.add(at, Code.BOUNDED_AFTER_PIVOT, message)
