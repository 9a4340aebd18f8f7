"""``tercet saga``: check, publish and run saga definitions."""

import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import CommandFailed, ExitCode, invalid
from coordinator.cli.source import read_text

if TYPE_CHECKING:
    from coordinator.config import ClientConfig
    from coordinator.saga_yaml import Finding
    from protos.v1 import types_pb2

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Sagas in YAML.")]

app = typer.Typer(
    help="Sagas: lint, publish, run, list.",
    invoke_without_command=True,
    callback=option.show_help,
)


@app.command()
def lint(files: Files, *, output_as: option.Output = None) -> None:
    """Check saga definitions without a coordinator.

    Give the files of child sagas together with those that run them, in any order.
    """
    config = option.client(output=output_as)
    results = _check(_texts(files))
    if config.output == "json":
        output.document({"files": [result for result, _ in results]})
    else:
        for result, findings in results:
            for finding in findings:
                for line in _lines(finding):
                    output.line(line)
            if result["ok"]:
                name, version = result["name"], result["version"]
                output.line(f"{result['source']}: ok, {name} {version}")
    if not all(result["ok"] for result, _ in results):
        raise typer.Exit(ExitCode.ENDED_OTHERWISE)


@app.command()
def publish(
    files: Files,
    *,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Check saga definitions and store them.

    The same text again changes nothing. Nothing is published when one file has
    findings. Child sagas among the files are published before those that run them.
    """
    config = option.client(server, output_as, timeout)
    texts = _texts(files)
    from coordinator import saga_yaml

    # Which child sagas are published, the coordinator knows.
    findings = [
        finding
        for _, found in _check(texts)
        for finding in found
        if finding.code != saga_yaml.Code.UNKNOWN_SAGA
    ]
    if findings:
        for finding in findings:
            for line in _lines(finding):
                output.note(line)
        raise typer.Exit(ExitCode.ENDED_OTHERWISE)
    texts = [texts[at] for at in saga_yaml.children_first(text for _, text in texts)]
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    published: list[dict[str, object]] = []
    with connected(config) as client:
        try:
            for name, text in texts:
                request = admin_pb2.PublishSagaRequest(
                    text=text, source=output.visible(name)
                )
                reply = client.ask(client.definitions.PublishSaga, request)
                published.append({"source": name, **view.definition(reply)})
        finally:
            # Also before a failure: what was published stays published.
            _show_published(config, published)


@app.command("list")
def list_sagas(
    *,
    name: option.Name = "",
    limit: option.Limit = None,
    page_token: option.PageToken = "",
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """List the published sagas, by name, the newest version first."""
    config = option.client(server, output_as, timeout)
    option.listing(name, page_token)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    request = admin_pb2.ListSagasRequest(
        name=name, limit=limit or 0, page_token=page_token
    )
    with connected(config) as client:
        reply = client.ask(client.definitions.ListSagas, request)
    shown = [view.definition(definition) for definition in reply.definitions]
    if config.output == "json":
        token = reply.next_page_token
        output.document({"sagas": shown, "next_page_token": token})
    elif not shown:
        output.line("no sagas: publish one with `tercet saga publish FILE`")
    else:
        columns = ("name", "version", "published", "digest")
        keys = ("name", "version", "published_at", "digest")
        output.table(columns, [[entry[key] for key in keys] for entry in shown])
        if reply.next_page_token:
            output.note(f"there are more: --page-token {reply.next_page_token}")


@app.command()
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
    data = _input(input_)
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


def _texts(files: list[str]) -> list[tuple[str, str]]:
    return [(name, read_text("FILE", name)) for name in files]


def _check(
    texts: list[tuple[str, str]],
) -> "list[tuple[dict[str, object], tuple[Finding, ...]]]":
    """Each file's result, and its findings."""
    from coordinator import saga_yaml

    results: list[tuple[dict[str, object], tuple[Finding, ...]]] = []
    checked = saga_yaml.check_files(texts)
    for (name, _), (definition, findings) in zip(texts, checked, strict=True):
        result: dict[str, object] = {
            "source": name,
            "ok": not findings,
            "name": definition.name if definition else None,
            "version": definition.version if definition else None,
            "digest": definition.digest if definition else None,
            "findings": [
                {
                    "line": finding.line,
                    "column": finding.column,
                    "code": finding.code,
                    "message": finding.message,
                    "suggestion": finding.suggestion,
                }
                for finding in findings
            ],
        }
        results.append((result, findings))
    return results


def _lines(finding: "Finding") -> list[str]:
    """A finding as compilers write it: where and what, and the line with a caret."""
    if not finding.excerpt:
        return [str(finding)]
    text, caret = finding.excerpt.split("\n")
    number = f"{finding.line:>5}"
    return [str(finding), f"{number} | {text}", f"{' ' * len(number)} | {caret}"]


def _input(text: str) -> bytes:
    """The bytes as they were written, so that no number is spelled anew."""
    if text.startswith("@"):
        text = read_text("--input", text[1:])
    try:
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise invalid(
            "--input",
            f"not JSON at line {error.lineno} column {error.colno}: {error.msg}; "
            "expected JSON, or @FILE with JSON in it",
        ) from None
    except (ValueError, RecursionError):
        raise invalid(
            "--input", "not JSON: NaN, infinite or nested too deeply"
        ) from None
    try:
        return text.strip().encode()
    except UnicodeEncodeError:
        raise invalid("--input", "expected JSON in UTF-8") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


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


def _show_published(config: "ClientConfig", published: list[dict[str, object]]) -> None:
    if config.output == "json":
        output.document({"sagas": published})
        return
    for one in published:
        output.line(f"published {one['name']} {one['version']} {one['digest']}")


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
