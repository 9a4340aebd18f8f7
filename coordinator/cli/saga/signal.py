"""``tercet saga signal``: tell a saga that what it waits for has happened."""

from typing import Annotated

import typer

from coordinator.cli import option, output
from coordinator.cli.saga import json_value


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(signal)


def signal(
    gid: option.Gid,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the signal, as the saga has it.")
    ],
    *,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="JSON|@FILE",
            help="The output of the step that waits for it. Default: none.",
        ),
    ] = "",
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Send a signal to a saga.

    It may come before the step that waits for it. The same signal again changes
    nothing; with other data it is refused.
    """
    config = option.client(server, output_as, timeout)
    option.identifier("GID", gid)
    option.one_line("NAME", name, chars_max=128)
    payload = json_value.given("--data", data) if data else b""
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import coordinator_pb2, types_pb2

    request = coordinator_pb2.SignalSagaRequest(gid=gid, name=name)
    if payload:
        kind = view.JSON_CONTENT_TYPE
        request.payload.CopyFrom(types_pb2.Payload(data=payload, content_type=kind))
    with connected(config) as client:
        tx = client.ask(client.coordinator.SignalSaga, request).transaction
    shown = view.transaction(tx)
    if config.output == "json":
        output.document(shown)
    else:
        output.record({key: shown[key] for key in ("gid", "name", "status")})
