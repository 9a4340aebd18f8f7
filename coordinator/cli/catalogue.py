"""``tercet operations``: the catalogue of atomic services, and who has the say."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import CommandFailed, ExitCode, invalid
from coordinator.cli.source import read_text
from coordinator.config import ClientConfig
from coordinator.core.words import OperationKind

if TYPE_CHECKING:
    from protos.v1 import admin_pb2, types_pb2

NEEDED_BY_SHOWN_MAX = 10
"""Transactions that are named in a text; JSON has them all."""

_SAID = {
    "name": str,
    "kind": str,
    "description": str,
    "owner": str,
    "compensable": bool,
    "compensation": str,
    "input_schema": dict,
    "output_schema": dict,
}
"""What a file says of an operation, in the words of `operations show`."""

_ANSWERED = frozenset(
    {
        "participant",
        "registered",
        "attached",
        "attached_since",
        "node_id",
        "sagas",
        "saga_count",
        "needed_by",
        "more",
    }
)
"""What `operations show` adds; passed over, so that its JSON can be given back."""

app = typer.Typer(
    help="The catalogue of atomic services: list, show, register, remove."
)


@app.callback(invoke_without_command=True)
def operations(
    context: typer.Context,
    *,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """The catalogue of atomic services; alone: list it."""
    if context.invoked_subcommand is None:
        _list(option.client(server, output_as, timeout), 0, "")
    elif (server, output_as, timeout) != (None, None, None):
        raise invalid(
            "operations",
            f"write the options behind `{context.invoked_subcommand}`, not before it",
        )


@app.command("list")
def list_operations(
    *,
    limit: option.Limit = None,
    page_token: option.PageToken = "",
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """List the operations, by name."""
    config = option.client(server, output_as, timeout)
    option.listing("", page_token)
    _list(config, limit or 0, page_token)


def _list(config: ClientConfig, limit: int, page_token: str) -> None:
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    request = admin_pb2.ListOperationsRequest(limit=limit, page_token=page_token)
    with connected(config) as client:
        reply = client.ask(client.catalogue.ListOperations, request)
    shown = [view.operation(operation) for operation in reply.operations]
    if config.output == "json":
        token = reply.next_page_token
        output.document({"operations": shown, "next_page_token": token})
        return
    if not shown:
        output.line(
            "no operations: no participant has announced any yet, and none is "
            "registered"
        )
        return
    columns = ("name", "kind", "undone by", "owner", "attached", "sagas", "description")
    rows = [
        (
            entry["name"],
            entry["kind"],
            _undone_by(entry),
            entry["owner"],
            entry["attached_since"] or "no",
            entry["saga_count"],
            entry["description"],
        )
        for entry in shown
    ]
    output.table(columns, rows)
    if reply.next_page_token:
        output.note(f"there are more: --page-token {reply.next_page_token}")


_Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as accounts.debit.")]


@app.command()
def show(
    name: _Name,
    *,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Show an operation, the sagas that name it and what is unfinished with it."""
    config = option.client(server, output_as, timeout)
    option.identifier("NAME", name)
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    request = admin_pb2.GetOperationRequest(name=name)
    with connected(config) as client:
        report = client.ask(client.catalogue.GetOperation, request)
    _show(config, report)


@app.command()
def register(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="One operation or a list, YAML or JSON."),
    ] = None,
    *,
    reason: option.Reason,
    actor: option.Actor = None,
    name: Annotated[str, typer.Option(help="Such as accounts.debit.")] = "",
    kind: Annotated[
        OperationKind | None, typer.Option(help="What it is.", case_sensitive=False)
    ] = None,
    description: Annotated[str, typer.Option(help="One line for people.")] = "",
    owner: Annotated[str, typer.Option(help="The team that answers for it.")] = "",
    compensable: Annotated[
        bool, typer.Option("--compensable", help="It brings its own compensation.")
    ] = False,
    compensation: Annotated[
        str, typer.Option(metavar="NAME", help="The operation that undoes it.")
    ] = "",
    input_schema: Annotated[
        str, typer.Option(metavar="JSON|@FILE", help="JSON Schema of its input.")
    ] = "",
    output_schema: Annotated[
        str, typer.Option(metavar="JSON|@FILE", help="JSON Schema of its output.")
    ] = "",
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Say what operations are; their participants must then keep to it."""
    config = option.client(server, output_as, timeout)
    who = option.who(reason, actor)
    given: dict[str, object] = {
        "name": name,
        "kind": kind.value if kind else "",
        "description": description,
        "owner": owner,
        "compensable": compensable,
        "compensation": compensation,
        "input_schema": _schema("--input-schema", input_schema),
        "output_schema": _schema("--output-schema", output_schema),
    }
    given = {key: value for key, value in given.items() if value}
    if (file is None) == (not given):
        raise invalid("FILE", "expected a file, or --name and --kind, and not both")
    if file is None and not (name and kind):
        raise invalid("--name", "expected --name and --kind, or a file")
    entries = [("", given)] if file is None else _entries(file)
    operations = [_operation(where, entry) for where, entry in entries]
    _register(config, operations, who)


def _register(
    config: ClientConfig, operations: list["types_pb2.Operation"], who: dict[str, str]
) -> None:
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    registered: list[dict[str, object]] = []
    with connected(config) as client:
        try:
            for operation in operations:
                request = admin_pb2.RegisterOperationRequest(operation=operation, **who)
                reply = client.ask(client.catalogue.RegisterOperation, request)
                registered.append(view.operation(reply))
        finally:
            # Also before a failure: what was registered stays so.
            if config.output == "json":
                output.document({"operations": registered})
            else:
                for one in registered:
                    output.line(f"registered {one['name']}, of kind {one['kind']}")


@app.command()
def remove(
    name: _Name,
    *,
    reason: option.Reason,
    actor: option.Actor = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also if something still needs it.")
    ] = False,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Take an operation out of the catalogue, once its participant is gone."""
    config = option.client(server, output_as, timeout)
    option.identifier("NAME", name)
    who = option.who(reason, actor)
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    with connected(config) as client:
        if not yes:
            asked = admin_pb2.GetOperationRequest(name=name)
            _require_yes(client.ask(client.catalogue.GetOperation, asked))
        request = admin_pb2.RemoveOperationRequest(name=name, **who)
        report = client.ask(client.catalogue.RemoveOperation, request)
    if config.output == "json":
        output.document(_report(report))
        return
    output.line(f"removed {name}")
    _say_who_needs(report)


def _require_yes(report: "admin_pb2.OperationReport") -> None:
    """Return when nothing needs the operation, or the user wants it all the same."""
    if not report.operation.saga_count and not report.needed_by:
        return
    _say_who_needs(report)
    if not output.can_ask():
        raise invalid("--yes", "expected, because something still needs the operation")
    if not output.agreed(f"remove {report.operation.name} all the same?"):
        raise CommandFailed(ExitCode.ENDED_OTHERWISE, "nothing was done")


# ---- Showing -----------------------------------------------------------------------


def _show(config: ClientConfig, report: "admin_pb2.OperationReport") -> None:
    shown = _report(report)
    if config.output == "json":
        output.document(shown)
        return
    attached = (
        f"since {shown['attached_since']} to node {shown['node_id']}"
        if shown["attached"]
        else "no"
    )
    output.record(
        {
            "name": shown["name"],
            "kind": shown["kind"],
            "description": shown["description"],
            "owner": shown["owner"],
            "said by": (
                "an administrator" if shown["registered"] else "its participant"
            ),
            "undone by": _undone_by(shown),
            "attached": attached,
            "input": _in_one_line(shown["input_schema"]),
            "output": _in_one_line(shown["output_schema"]),
            "sagas": _named(report.operation),
        }
    )
    for text in _unfinished(report):
        output.line(text)


def _report(report: "admin_pb2.OperationReport") -> dict[str, object]:
    from coordinator.cli import view

    return {
        **view.operation(report.operation),
        "needed_by": [view.transaction(tx) for tx in report.needed_by],
        "more": report.more,
    }


def _say_who_needs(report: "admin_pb2.OperationReport") -> None:
    if report.operation.saga_count:
        output.note(f"published sagas that name it: {_named(report.operation)}")
    for text in _unfinished(report):
        output.note(text)


def _unfinished(report: "admin_pb2.OperationReport") -> list[str]:
    from coordinator.cli import view

    if not report.needed_by:
        return []
    count = f"{len(report.needed_by)}{' or more' if report.more else ''}"
    shown = report.needed_by[:NEEDED_BY_SHOWN_MAX]
    lines = [f"  {tx.gid}  {tx.name}  {view.status(tx)}" for tx in shown]
    if len(report.needed_by) > NEEDED_BY_SHOWN_MAX:
        lines.append("  ... (--output json has more)")
    return [f"unfinished and may still call it: {count}", *lines]


def _named(operation: "types_pb2.Operation") -> str:
    shown = ", ".join(operation.sagas)
    hidden = operation.saga_count - len(operation.sagas)
    return f"{shown} and {hidden} more" if hidden else shown


def _undone_by(shown: dict[str, object]) -> object:
    if shown["kind"] == "TCC":
        return "its cancel"
    return "itself" if shown["compensable"] else shown["compensation"]


def _in_one_line(schema: object) -> str:
    return json.dumps(schema) if schema is not None else ""


# ---- Reading -----------------------------------------------------------------------


def _schema(field: str, text: str) -> object:
    if not text:
        return None
    if text.startswith("@"):
        text = read_text(field, text[1:])
    return _data(field, text)


def _data(field: str, text: str) -> object:
    from coordinator import saga_yaml

    try:
        return saga_yaml.read_data(text, field)
    except saga_yaml.SagaRefused as refused:
        raise CommandFailed(ExitCode.INVALID, str(refused)) from None


def _entries(file: str) -> list[tuple[str, object]]:
    data = _data(file, read_text("FILE", file))
    if isinstance(data, dict) and set(data) - {"next_page_token"} == {"operations"}:
        data = data["operations"]
    if not isinstance(data, list):
        return [(file, data)]
    return [(f"{file}: operations[{i}]", entry) for i, entry in enumerate(data)]


def _operation(where: str, entry: object) -> "types_pb2.Operation":
    from protos.v1 import types_pb2

    if not isinstance(entry, dict):
        raise invalid(where or "FILE", "expected an operation: name, kind and others")
    fields: dict[str, Any] = {}
    for key, value in entry.items():
        field = f"{where}: {key}" if where else f"--{key.replace('_', '-')}"
        if key in _ANSWERED or value is None:
            continue
        kind = _SAID.get(key)
        if kind is None:
            raise invalid(field, f"unknown; expected one of {', '.join(_SAID)}")
        if not isinstance(value, kind):
            raise invalid(field, f"expected {_WORDS[kind]}")
        fields[key] = json.dumps(value) if kind is dict else value
    kinds = {kind.value: f"OPERATION_{kind.value}" for kind in OperationKind}
    word = str(fields.get("kind", "")).upper()
    if word not in kinds:
        raise invalid(f"{where}: kind", f"expected one of {', '.join(kinds)}")
    return types_pb2.Operation(**{**fields, "kind": kinds[word]})


_WORDS = {str: "text", bool: "true or false", dict: "a JSON Schema, which is an object"}
