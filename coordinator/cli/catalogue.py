"""``tercet operations`` and ``tercet version``."""

import typer

from coordinator.cli import option, output


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(operations)
    app.command()(version)


def operations(
    *,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """List the catalogue of operations that participants offer."""
    config = option.client(server, output_as, timeout)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    request = admin_pb2.ListOperationsRequest()
    with connected(config) as client:
        reply = client.ask(client.catalogue.ListOperations, request)
    shown = [view.operation(operation) for operation in reply.operations]
    if config.output == "json":
        output.document({"operations": shown})
    elif not shown:
        output.line("no operations: no participant has registered any yet")
    else:
        columns = ("name", "kind", "participant", "compensable", "attached")
        output.table(columns, [[entry[key] for key in columns] for entry in shown])


def version(*, output_as: option.Output = None) -> None:
    """Say which version this is."""
    from importlib.metadata import version as version_of

    config = option.client(output=output_as)
    if config.output == "json":
        output.document({"version": version_of("tercet")})
    else:
        output.line(f"tercet {version_of('tercet')}")
