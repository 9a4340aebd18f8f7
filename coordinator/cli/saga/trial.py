"""``tercet saga test``: a saga rehearsed in memory, with everything going wrong."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import ExitCode, invalid
from coordinator.cli.saga import files as saga_files
from coordinator.cli.saga import json_value
from coordinator.cli.saga.files import FileWithChildren, FromServer
from coordinator.cli.saga.plan import check_input

if TYPE_CHECKING:
    from coordinator.core.definition import JsonValue, SagaDefinition
    from coordinator.saga_kit import Exploration, Trial
    from coordinator.saga_kit.participants import Answer

SCENARIOS = 2_000
SECONDS = 60

Outputs = Annotated[
    str | None,
    typer.Option(
        "--outputs",
        metavar="JSON|@FILE",
        help="What is answered, by branch, step, operation or signal: "
        '{"ledger.post": {"entryId": "e-1"}}. Default: made from the operations\' '
        "output schemas (--server) and from what the saga reads.",
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="JSON|@FILE",
        help="The saga's input. Default: made from its schema.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("test")(try_out)


def try_out(
    files: FileWithChildren,
    *,
    input_: Input = None,
    outputs: Outputs = None,
    scenarios: Annotated[
        int, typer.Option("--scenarios", min=1, help="Stop after this many.")
    ] = SCENARIOS,
    seconds: Annotated[
        int, typer.Option("--seconds", min=1, help="Stop after this long.")
    ] = SECONDS,
    server: FromServer = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Run a saga in memory with everything going wrong that can, at every step.

    The rules are those of production, the clock is virtual, participants are stubs.
    Every call is refused, lost, answered late, interrupted by a crash of the
    coordinator; signals never come; the initiator cancels. Exit code 1 says that a rule
    was broken, or that an end was never reached that the saga should have.
    """
    config = option.client(server, output_as, timeout)
    definition, operations = saga_files.load(
        files, config if server is not None else None
    )
    from coordinator.core.model import JSON_CONTENT_TYPE, Payload
    from coordinator.saga_kit import explore, stub

    if input_ is None:
        schema = json.loads(definition.input_schema or "{}")
        data = json.dumps(stub.stub(schema)).encode()
    else:
        data = json_value.given("--input", input_)
    check_input(definition, data)
    answer = _answers(definition, operations, _outputs(outputs))
    started_at = time.monotonic()
    with _bar() as show:
        payload = Payload(data, JSON_CONTENT_TYPE)
        for found in explore(definition, payload, answer, scenarios_max=scenarios):
            show(found)
            if time.monotonic() - started_at > seconds and found.waiting:
                found.left_out, found.waiting = found.waiting, 0
                break
    if config.output == "json":
        output.document(_as_json(found))
    else:
        _show(found)
    if found.broken or found.missing:
        raise typer.Exit(ExitCode.ENDED_OTHERWISE)


# ---- Answers ----------------------------------------------------------------------


def _outputs(text: str | None) -> "dict[str, JsonValue]":
    if text is None:
        return {}
    value = json.loads(json_value.given("--outputs", text))
    if not isinstance(value, dict):
        raise invalid("--outputs", "expected a map from names to outputs")
    return value


def _answers(
    definition: "SagaDefinition",
    operations: "saga_files.Operations | None",
    given: "dict[str, JsonValue]",
) -> "Answer":
    """What stubs answer: what is given, else what fits the schema and the reader."""
    from coordinator.core.actions import CallBranch
    from coordinator.core.expressions import to_payload
    from coordinator.core.model import Payload
    from coordinator.saga_kit import stub

    read = stub.read_outputs(definition)

    def answer(call: CallBranch) -> Payload:
        step = stub.step_name(call.branch_id)
        for name in (call.branch_id, step, call.operation):
            if name in given:
                return to_payload(given[name])
        wanted = read.get(step, {})
        known = operations.get(call.operation) if operations is not None else None
        if known is None or not known.output_schema:
            return to_payload(wanted)
        output = stub.stub(json.loads(known.output_schema))
        if isinstance(output, dict) and isinstance(wanted, dict):
            output = {**wanted, **output}  # a schema may allow more than it names
        return to_payload(output)

    return answer


# ---- Results ----------------------------------------------------------------------


class _Shows(Protocol):
    def __call__(self, found: "Exploration", /) -> None: ...


@contextmanager
def _bar() -> Iterator[_Shows]:
    """A progress bar on a terminal; silence elsewhere."""
    import sys

    if not output.is_pretty(sys.stderr):
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("scenarios"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=output.console(sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=1)

        def show(found: "Exploration") -> None:
            done = len(found.trials)
            bar.update(task, completed=done, total=done + found.waiting)

        yield show


def _show(found: "Exploration") -> None:
    rows = [
        (
            str(trial.rehearsal.scenario),
            trial.rehearsal.end.value,
            trial.rehearsal.reason_code,
            trial.rehearsal.calls,
            "; ".join(trial.broken) or "kept",
        )
        for trial in found.trials
    ]
    output.table(("what goes wrong", "end", "reason", "calls", "rules"), rows)
    output.line("")
    ends = ", ".join(f"{count} {end}" for end, count in sorted(found.ends.items()))
    output.line(f"{len(found.trials)} scenarios: {ends}")
    if found.left_out:
        output.line(
            f"{found.left_out} more were not run; allow them with --scenarios or "
            "--seconds"
        )
    if found.never_run:
        output.line(
            f"never run: {', '.join(found.never_run)}; give an --input with which it is"
        )
    broken = len(found.broken)
    output.line(f"rules broken in {broken} scenarios" if broken else "all rules kept")
    for end in found.missing:
        output.line(f"{end} was never reached{_why_not(found)}")


def _why_not(found: "Exploration") -> str:
    first = found.trials[0].rehearsal
    if first.end == "COMPLETED":
        return ""
    reason = first.reason_text or first.reason_code or "it waits"
    return (
        f"; with nothing going wrong it ended as {first.end}: {reason}; if the stubs "
        "are why, give --input or --outputs"
    )


def _as_json(found: "Exploration") -> dict[str, Any]:
    return {
        "name": found.definition.name,
        "version": found.definition.version,
        "ok": not found.broken and not found.missing,
        "ends": {end.value: count for end, count in found.ends.items()},
        "missing_ends": [end.value for end in found.missing],
        "left_out": found.left_out,
        "never_run": list(found.never_run),
        "scenarios": [_trial_as_json(trial) for trial in found.trials],
    }


def _trial_as_json(trial: "Trial") -> dict[str, Any]:
    run = trial.rehearsal
    return {
        "faults": [
            {
                "branch": fault.point.branch_id,
                "moment": fault.point.moment.value,
                "kind": fault.kind.name,
            }
            for fault in run.scenario.faults
        ],
        "end": run.end.value,
        "reason_code": run.reason_code,
        "reason_text": run.reason_text,
        "calls": run.calls,
        "duration_ms": run.duration_ms,
        "broken": list(trial.broken),
    }
