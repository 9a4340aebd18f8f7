"""``tercet nodes``: who is there, as one of them sees it."""

from typing import TYPE_CHECKING

import typer

from coordinator.cli import option, output

if TYPE_CHECKING:
    from protos.v1 import admin_pb2


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(nodes)


def nodes(
    *,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """List the nodes over one database, as the one that answers sees them."""
    config = option.client(server, output_as, timeout)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    with connected(config) as client:
        reply = client.ask(client.admin.ListNodes, admin_pb2.ListNodesRequest())
    if config.output == "json":
        output.document({"nodes": [view.node(node) for node in reply.nodes]})
    elif not reply.nodes:
        output.line("no heartbeat yet; ask again in a second")
    else:
        rows = [
            (n.address, n.node_id, _state(n), n.heartbeat, n.version or None)
            for n in reply.nodes
        ]
        output.table(("address", "node", "state", "heartbeat", "version"), rows)
        for node in reply.nodes:
            for warning in node.warnings:
                output.line(f"WARNING: {node.address} serves with {warning}")


def _state(node: "admin_pb2.Node") -> str:
    if node.answers:
        return "alive, answers"
    if node.alive:
        return "alive"
    return f"silent for {node.silent_ms // 1_000} s"
