"""``tercet saga publish``, ``list``, ``versions``, ``diff``: what a coordinator has."""

import difflib
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import CommandFailed, ExitCode
from coordinator.cli.saga import files as saga_files
from coordinator.cli.saga.files import Files

if TYPE_CHECKING:
    from coordinator.config import ClientConfig
    from coordinator.core.definition import JsonValue
    from coordinator.saga_kit.difference import Difference

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of a published saga.")]
_SHOWN_MAX = 60
_DURATIONS = frozenset(
    {
        "timeout",
        "pendingTimeout",
        "expiresIn",
        "wait",
        "initialInterval",
        "maxInterval",
    }
)
"""Milliseconds in the normal form."""

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(publish)
    app.command("list")(list_sagas)
    app.command()(versions)
    app.command()(diff)


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
    texts = saga_files.read(files)
    from coordinator import saga_yaml

    # Which child sagas are published, the coordinator knows.
    findings = [
        finding
        for _, found in saga_files.check(texts)[0]
        for finding in found
        if finding.code != saga_yaml.Code.UNKNOWN_SAGA
    ]
    if findings:
        saga_files.tell(findings)
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


def _show_published(config: "ClientConfig", published: list[dict[str, object]]) -> None:
    if config.output == "json":
        output.document({"sagas": published})
        return
    for one in published:
        output.line(f"published {one['name']} {one['version']} {one['digest']}")


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


def versions(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Of a published saga; else all.")
    ] = "",
    *,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """List the versions of a saga, the last one first; without NAME, all sagas.

    The version that was published last is the one that `run` takes by itself.
    """
    config = option.client(server, output_as, timeout)
    if name:
        option.identifier("NAME", name)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from coordinator.cli.saga import remote

    with connected(config) as client:
        shown = [view.definition(one) for one in remote.versions(client, name)]
    if name and not shown:
        text = f"NAME: no saga {name!r} is published; see `tercet saga list`"
        raise CommandFailed(ExitCode.NOT_FOUND, text)
    latest: dict[object, dict[str, object]] = {}
    for one in shown:
        one["latest"] = latest.setdefault(one["name"], one) is one
    if config.output == "json":
        output.document({"versions": shown})
    elif name:
        columns = ("version", "published", "latest", "digest")
        keys = ("version", "published_at", "latest", "digest")
        output.table(columns, [[one[key] for key in keys] for one in shown])
    elif not shown:
        output.line("no sagas: publish one with `tercet saga publish FILE`")
    else:
        counts = Counter(one["name"] for one in shown)
        columns = ("name", "latest", "published", "versions")
        rows = [
            (name, one["version"], one["published_at"], counts[name])
            for name, one in latest.items()
        ]
        output.table(columns, rows)


def diff(
    name: Name,
    before: Annotated[str, typer.Argument(metavar="V1", help="A version.")],
    after: Annotated[str, typer.Argument(metavar="V2", help="Another version.")],
    *,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Show what is different between two versions: step by step, then in the text.

    Spelling, comments and defaults written out are no difference step by step.
    """
    config = option.client(server, output_as, timeout)
    option.identifier("NAME", name)
    for field, version in (("V1", before), ("V2", after)):
        option.one_line(field, version, chars_max=128)
    from coordinator.cli.client import connected
    from coordinator.cli.saga import remote
    from coordinator.saga_kit.difference import differences
    from coordinator.saga_yaml import normal_form

    texts, forms = [], []
    with connected(config) as client:
        for version in (before, after):
            texts.append(remote.published(client, name, version).text)
            definition = remote.definition(client, name, version)
            forms.append(_map(normal_form(definition)))
    found = differences(*forms)
    lines = list(
        difflib.unified_diff(
            texts[0].splitlines(),
            texts[1].splitlines(),
            f"{name} {before}",
            f"{name} {after}",
            lineterm="",
        )
    )
    if config.output == "json":
        changes = [_as_json(one) for one in found]
        output.document({"differences": changes, "text": lines})
        return
    _show_differences(found)
    if lines:
        output.line("")
    for line in lines:
        output.line(line, style=_STYLES.get(line[:1], ""))


def _map(form: "JsonValue") -> "dict[str, JsonValue]":
    return form if isinstance(form, dict) else {}


def _as_json(one: "Difference") -> dict[str, Any]:
    return {
        "where": one.where,
        "what": one.what,
        "before": one.before,
        "after": one.after,
    }


def _show_differences(found: "tuple[Difference, ...]") -> None:
    if not found:
        output.line("no difference in what they mean")
        return
    for one in found:
        if one.before is None:
            text, style = f"+ {one}: {_value(one, one.after)}", "green"
        elif one.after is None:
            text, style = f"- {one}: {_value(one, one.before)}", "red"
        else:
            values = f"{_value(one, one.before)} -> {_value(one, one.after)}"
            text = f"~ {one}: {values}"
            style = "yellow"
        output.line(text, style=style)


def _value(one: "Difference", value: "JsonValue") -> str:
    from coordinator.core.durations import format_duration

    is_duration = one.what.rpartition(".")[2] in _DURATIONS
    if is_duration and isinstance(value, int):
        return format_duration(value)
    text = json.dumps(value, ensure_ascii=False)
    is_whole = not output.is_pretty(sys.stdout) or len(text) <= _SHOWN_MAX
    return text if is_whole else f"{text[:_SHOWN_MAX]}..."
