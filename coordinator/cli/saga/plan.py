"""``tercet saga plan``: what a saga would do with an input, in order."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import ExitCode, invalid
from coordinator.cli.saga import files as saga_files
from coordinator.cli.saga import json_value
from coordinator.cli.saga.files import FileWithChildren, FromServer

if TYPE_CHECKING:
    from coordinator.core.definition import SagaDefinition
    from coordinator.saga_kit.plan import Plan, PlannedCall, PlannedStep, Value

Input = Annotated[
    str, typer.Option("--input", metavar="JSON|@FILE", help="The saga's input.")
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("plan")(show_plan)


def show_plan(
    files: FileWithChildren,
    *,
    input_: Input = "{}",
    server: FromServer = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Show what a saga would do with an input, without running anything.

    Steps of one wave run side by side. Inputs are evaluated as far as they are known;
    what depends on an output stays as it is written. Exit code 1 says that something
    will fail whatever the participants answer.
    """
    config = option.client(server, output_as, timeout)
    data = json_value.given("--input", input_)
    definition, _ = saga_files.load(files, config if server is not None else None)
    check_input(definition, data)
    from coordinator.saga_kit.plan import plan

    planned = plan(definition, json.loads(data))
    problems = list(planned.problems())
    if config.output == "json":
        output.document({**_as_json(planned), "problems": problems})
    else:
        _show(planned, problems)
    if problems:
        raise typer.Exit(ExitCode.ENDED_OTHERWISE)


def check_input(definition: "SagaDefinition", data: bytes) -> None:
    """End the command when the saga would not take this input."""
    from coordinator.saga_yaml import find_input_problems

    for problem in find_input_problems(definition.input_schema, json.loads(data)):
        raise invalid("--input", problem)


# ---- For people -------------------------------------------------------------------


def _show(planned: "Plan", problems: list[str]) -> None:
    from coordinator.core.durations import format_duration

    saga = planned.definition
    output.line(f"{saga.name} {saga.version}")
    output.line("")
    columns = ("wave", "step", "does", "runs", "input", "undone by")
    output.table(columns, list(_rows(planned, "")))
    output.line("")
    output.line(
        f"longest path: {' -> '.join(planned.longest)}, at most "
        f"{format_duration(planned.longest_ms)} when each call is asked once; "
        f"the saga may take {format_duration(saga.timeout_ms)}"
    )
    for problem in problems:
        output.line(f"will fail: {problem}")


def _rows(planned: "Plan", outer: str) -> Iterator[tuple[str, ...]]:
    for step in planned.steps:
        wave = f"{outer}{step.wave}"
        first = step.calls[0] if step.calls else None
        given = first.input if first else step.input
        yield (
            wave,
            f"{'  ' * outer.count('.')}{step.branch_id}",
            _does(step),
            _runs(step),
            "" if given is None or step.is_skipped else _text(given),
            "" if step.is_skipped else _undone_by(step, first),
        )
        if step.is_skipped:
            continue
        for index, item in enumerate(step.item_inputs):
            name = f"{step.branch_id}:{index}"
            yield (wave, f"  {name}", "", "", _text(item), "")
        for number, call in enumerate(step.calls[1:], 1):
            name = f"{step.branch_id}:fallback-{number}"
            does = f"if that is refused: {call.operation}"
            undone = _undone_by(step, call)
            yield (wave, f"  {name}", does, "", _text(call.input), undone)
        if step.child is not None:
            yield from _rows(step.child, f"{wave}.")


def _does(planned: "PlannedStep") -> str:
    step = planned.step
    word = step.kind.lower()
    if planned.calls:
        word = f"{word} {planned.calls[0].operation}"
    elif step.child is not None:
        word = f"{word} {step.child.name}@{step.child.version}"
    elif step.signal:
        word = f"{word} signal {step.signal}"
    elif planned.wait is not None:
        word = f"{word} {_duration(planned.wait)}"
    marks = [m for m, on in (("pivot", step.pivot), ("optional", step.optional)) if on]
    return f"{word} ({', '.join(marks)})" if marks else word


def _runs(planned: "PlannedStep") -> str:
    condition, items = planned.condition, planned.items
    if planned.is_skipped:
        return "no: skipped"
    runs = "yes"
    if condition is not None and condition.problem:
        runs = "fails"
    elif condition is not None and not condition.is_known:
        runs = f"if {_text(condition)}"
    if items is None:
        return runs
    if isinstance(items.value, list):
        count = f"{len(items.value)} items"
    else:
        count = f"for each of {_text(items)}"
    return count if runs == "yes" else f"{runs}, {count}"


def _text(value: "Value") -> str:
    if value.problem:
        return f"fails: {value.problem}"
    if isinstance(value.value, str) and value.unknown:
        return value.value
    return json.dumps(value.value, ensure_ascii=False)


def _duration(wait: "Value") -> str:
    from coordinator.core.durations import format_duration

    if isinstance(wait.value, int):
        return format_duration(wait.value)
    return _text(wait)


def _undone_by(planned: "PlannedStep", call: "PlannedCall | None") -> str:
    if call is None:
        return ""
    if planned.step.kind == "TCC":
        return "cancel"
    if call.undo is None:
        return ""
    given = f" {_text(call.undo.input)}" if call.undo.input is not None else ""
    return f"{call.undo.operation}{given}"


# ---- For programs -----------------------------------------------------------------


def _as_json(planned: "Plan") -> dict[str, Any]:
    return {
        "name": planned.definition.name,
        "version": planned.definition.version,
        "steps": [_step_as_json(step) for step in planned.steps],
        "longest_path": list(planned.longest),
        "longest_path_ms": planned.longest_ms,
        "timeout_ms": planned.definition.timeout_ms,
    }


def _step_as_json(planned: "PlannedStep") -> dict[str, Any]:
    step = planned.step
    return {
        "step": planned.branch_id,
        "wave": planned.wave,
        "kind": step.kind.value,
        "needs": list(step.needs),
        "pivot": step.pivot,
        "optional": step.optional,
        "skipped": planned.is_skipped,
        "condition": _value_as_json(planned.condition),
        "items": _value_as_json(planned.items),
        "calls": [_call_as_json(call) for call in planned.calls],
        "item_inputs": [_value_as_json(item) for item in planned.item_inputs],
        "input": _value_as_json(planned.input),
        "wait": _value_as_json(planned.wait),
        "signal": step.signal or None,
        "starts_at_most_ms": planned.starts_ms,
        "ends_at_most_ms": planned.ends_ms,
        "child": _as_json(planned.child) if planned.child is not None else None,
    }


def _call_as_json(call: "PlannedCall") -> dict[str, Any]:
    undo = call.undo
    return {
        "operation": call.operation,
        "input": _value_as_json(call.input),
        "compensation": None
        if undo is None
        else {"operation": undo.operation, "input": _value_as_json(undo.input)},
    }


def _value_as_json(value: "Value | None") -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        "value": value.value,
        "unknown": list(value.unknown),
        "problem": value.problem or None,
    }
