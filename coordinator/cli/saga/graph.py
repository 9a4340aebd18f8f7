"""``tercet saga graph``: a picture of a saga, or of where one is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import CommandFailed, ExitCode, invalid
from coordinator.cli.saga import files as saga_files

if TYPE_CHECKING:
    from coordinator.config import ClientConfig
    from coordinator.saga_kit.graph import Picture

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE",
        help="A saga in YAML, and the files of the child sagas that it runs.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(graph)


def graph(
    files: Files = None,
    *,
    gid: Annotated[
        str | None, typer.Option("--gid", help="Draw a saga that runs, or ran.")
    ] = None,
    svg: Annotated[
        str | None,
        typer.Option("--svg", metavar="FILE", help="Write an SVG image; - = stdout."),
    ] = None,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Draw a saga: as Mermaid text on stdout, or as an SVG image.

    With --gid the coordinator is asked, and each step has the colour of its state.
    """
    config = option.client(server, output_as, timeout)
    if bool(files) == (gid is not None):
        raise invalid("FILE", "expected either a file or --gid")
    if gid is not None:
        picture = _of_transaction(config, option.identifier("--gid", gid))
    else:
        picture = _of_files(files or [], config if server is not None else None)
    from coordinator.saga_kit.graph import mermaid
    from coordinator.saga_kit.graph import svg as draw

    if svg == "-":
        output.text(draw(picture))
    elif svg is not None:
        _write(svg, draw(picture))
    elif config.output == "json":
        steps = [
            {
                "step": node.node_id,
                "kind": node.word,
                "needs": list(node.needs),
                "status": node.state.status if node.state else None,
                "note": node.state.note if node.state else None,
            }
            for node in picture.everything()
        ]
        output.document(
            {"title": picture.title, "steps": steps, "mermaid": mermaid(picture)}
        )
    else:
        output.text(mermaid(picture))


def _of_files(files: list[str], config: "ClientConfig | None") -> "Picture":
    from coordinator.saga_kit.graph import picture_of

    definition, _ = saga_files.load(files, config)
    return picture_of(definition)


def _of_transaction(config: "ClientConfig", gid: str) -> "Picture":
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from coordinator.cli.saga import remote
    from coordinator.saga_kit.graph import Seen, picture_of, states_of
    from protos.v1 import coordinator_pb2, types_pb2

    request = coordinator_pb2.GetRequest(gid=gid, with_branches=True)
    with connected(config) as client:
        tx = client.ask(client.coordinator.Get, request).transaction
        if tx.mode != types_pb2.SAGA:
            raise CommandFailed(
                ExitCode.REFUSED,
                f"--gid: {gid} is a TCC transaction and has no graph; "
                f"look at it with `tercet tx show {gid}`",
            )
        definition = remote.definition(client, tx.name, tx.definition_version)
    seen = [
        Seen(branch.branch_id, str(view.branch(branch)["status"]), branch.attempts)
        for branch in tx.branches
    ]
    reason = f" ({tx.reason_code})" if tx.reason_code else ""
    title = f"{tx.name} {tx.definition_version}, {gid}: {view.status(tx)}{reason}"
    return picture_of(definition, states_of(definition, seen), title=title)


def _write(name: str, text: str) -> None:
    try:
        Path(name).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "this cannot be a file's name"
        raise invalid("--svg", f"{name!r} cannot be written: {why}") from None
    output.note(f"written: {name}")
