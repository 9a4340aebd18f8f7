"""``tercet saga run``: run a published saga, and watch it."""

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import CommandFailed, ExitCode
from coordinator.cli.saga import json_value

if TYPE_CHECKING:
    from coordinator.config import ClientConfig
    from protos.v1 import types_pb2


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(run)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a published saga.")],
    *,
    version: Annotated[str, typer.Option(help="Default: the one published last.")] = "",
    input_: Annotated[
        str,
        typer.Option("--input", metavar="JSON|@FILE", help="The saga's input."),
    ] = "{}",
    gid: Annotated[
        str | None,
        typer.Option(
            help="The same gid again is the same saga, never a second one. "
            "Default: a new one."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Watch it until it has ended.")
    ] = True,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Run a saga.

    Exit code 0 says that it is COMPLETED, 1 that it ended otherwise.
    """
    config = option.client(server, output_as, timeout)
    option.identifier("NAME", name)
    if version:
        option.one_line("--version", version, chars_max=128)
    data = json_value.given("--input", input_)
    gid = uuid.uuid4().hex if gid is None else option.identifier("--gid", gid)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import coordinator_pb2, types_pb2

    request = coordinator_pb2.SubmitSagaRequest(
        gid=gid,
        name=name,
        version=version,
        input=types_pb2.Payload(data=data, content_type=view.JSON_CONTENT_TYPE),
    )
    with connected(config) as client:
        try:
            tx = client.ask(client.coordinator.SubmitSaga, request).transaction
        except CommandFailed as failure:
            _say_how_to_ask_again(failure, gid)
        if wait:
            watched = client.watch(
                coordinator_pb2.GetRequest(gid=tx.gid, with_branches=True)
            )
            tx = _follow(watched, tx)
    _show_run(config, tx)
    if wait and view.status(tx) != "COMPLETED":
        raise typer.Exit(ExitCode.ENDED_OTHERWISE)


def _say_how_to_ask_again(failure: CommandFailed, gid: str) -> NoReturn:
    if failure.exit_code is not ExitCode.UNAVAILABLE:
        raise failure
    raise CommandFailed(
        failure.exit_code,
        f"{failure.message}; if in doubt whether it was accepted, run it again with "
        f"--gid {gid}",
    ) from None


def _follow(
    watched: "Iterator[types_pb2.Transaction]", tx: "types_pb2.Transaction"
) -> "types_pb2.Transaction":
    from coordinator.cli.progress import progress

    latest = tx
    try:
        with progress() as show:
            show(latest)
            for latest in watched:
                show(latest)
    except CommandFailed as failure:
        text = f"{failure.message}; {_goes_on(tx.gid)}"
        raise CommandFailed(failure.exit_code, text) from None
    except KeyboardInterrupt:
        output.note(_goes_on(tx.gid))
        raise
    return latest


def _goes_on(gid: str) -> str:
    return f"{gid} goes on without this command: tercet tx show {gid}"


def _show_run(config: "ClientConfig", tx: "types_pb2.Transaction") -> None:
    from coordinator.cli import view
    from coordinator.cli.transaction import in_one_line

    shown = view.transaction(tx)
    branches = [view.branch(branch) for branch in tx.branches]
    if config.output == "json":
        output.document({**shown, "branches": branches})
        return
    keys = ("gid", "name", "status", "reason_code", "reason_text")
    record = {key: shown[key] for key in keys}
    output.record({**record, "output": in_one_line(shown["output"])})
