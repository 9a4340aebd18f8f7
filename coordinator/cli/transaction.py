"""``tercet tx``: look at global transactions, and make one try again."""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import invalid
from coordinator.core.model import Status

if TYPE_CHECKING:
    from coordinator.cli.client import Client

LIMIT_MAX = 1_000

app = typer.Typer(
    help="Global transactions: list, show, retry.",
    invoke_without_command=True,
    callback=option.show_help,
)


@app.command("list")
def list_transactions(
    *,
    status: Annotated[
        list[Status] | None,
        typer.Option(
            help="Only these; may be given several times.", case_sensitive=False
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Only with this exact name.")] = "",
    attention: Annotated[
        bool, typer.Option("--attention", help="Only those that need a person.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=LIMIT_MAX, help="At most this many.")
    ] = 50,
    page_token: Annotated[
        str, typer.Option(help="Go on where the listing before ended.")
    ] = "",
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """List global transactions, newest first."""
    config = option.client(server, output_as, timeout)
    if name:
        option.one_line("--name", name, chars_max=128)
    if page_token:
        option.one_line("--page-token", page_token, chars_max=1_024)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import coordinator_pb2

    request = coordinator_pb2.ListRequest(
        statuses=[one.value for one in status or ()],
        name=name,
        attention=attention,
        limit=limit,
        page_token=page_token,
    )
    with connected(config) as client:
        reply = client.ask(client.coordinator.List, request)
    shown = [view.transaction(tx) for tx in reply.transactions]
    if config.output == "json":
        output.document(
            {"transactions": shown, "next_page_token": reply.next_page_token}
        )
        return
    if not shown:
        output.line("no transactions")
        return
    columns = ("gid", "mode", "name", "status", "reason", "attention", "created")
    keys = (
        "gid",
        "mode",
        "name",
        "status",
        "reason_code",
        "attention_reason",
        "created_at",
    )
    output.table(columns, [[tx[key] for key in keys] for tx in shown])
    if reply.next_page_token:
        output.note(f"there are more: --page-token {reply.next_page_token}")


@app.command()
def show(
    gid: option.Gid,
    *,
    journal: Annotated[
        bool, typer.Option("--journal", help="Also every fact, in order.")
    ] = False,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Show a global transaction and its branches."""
    config = option.client(server, output_as, timeout)
    option.identifier("GID", gid)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import coordinator_pb2

    request = coordinator_pb2.GetRequest(gid=gid, with_branches=True)
    with connected(config) as client:
        tx = client.ask(client.coordinator.Get, request).transaction
        entries = _journal(client, gid) if journal else None
    shown = view.transaction(tx)
    branches = [view.branch(branch) for branch in tx.branches]
    if config.output == "json":
        result = {**shown, "branches": branches}
        if entries is not None:
            result["journal"] = entries
        output.document(result)
        return
    output.record(_readable(shown))
    _show_branches(branches)
    if entries is not None:
        _show_journal(entries)


@app.command()
def retry(
    gid: option.Gid,
    *,
    reason: Annotated[
        str, typer.Option(help="Why, for the audit.", show_default=False)
    ],
    actor: Annotated[
        str | None, typer.Option(help="Who, for the audit; default: the OS user.")
    ] = None,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Ask a transaction's open branches again at once."""
    config = option.client(server, output_as, timeout)
    option.identifier("GID", gid)
    option.one_line("--reason", reason, chars_max=1_000)
    who = _os_user() if actor is None else actor
    option.one_line("--actor", who, chars_max=128)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    request = admin_pb2.OperatorRequest(gid=gid, actor=who, reason=reason)
    with connected(config) as client:
        tx = client.ask(client.admin.RetryTransaction, request).transaction
    if config.output == "json":
        output.document(view.transaction(tx))
    else:
        output.line(f"{tx.gid} {view.status(tx)}: its open branches are asked again")


def _journal(client: "Client", gid: str) -> list[dict[str, object]]:
    from coordinator.cli import view
    from protos.v1 import admin_pb2

    request = admin_pb2.GetJournalRequest(gid=gid)
    reply = client.ask(client.admin.GetJournal, request)
    return [view.journal_entry(entry) for entry in reply.entries]


def _readable(shown: dict[str, object]) -> dict[str, object]:
    """The same with values that fit a line; what is empty says nothing."""
    labels = shown["labels"]
    return {
        **shown,
        "output": in_one_line(shown["output"]),
        "decision": "" if shown["decision"] == "NONE" else shown["decision"],
        "labels": [f"{key}={value}" for key, value in labels.items()]
        if isinstance(labels, dict)
        else None,
    }


def in_one_line(payload: object) -> str:
    """A payload's view for people: its JSON, or how it is encoded."""
    import json

    match payload:
        case {"json": value}:
            return json.dumps(value)
        case {"content_type": kind, "base64": text}:
            return f"{kind or 'no content type'}, Base64: {text}"
    return ""


def _show_branches(branches: list[dict[str, object]]) -> None:
    if not branches:
        return
    output.line("")
    output.table(
        ("branch", "operation", "status", "attempts", "last error", "next retry"),
        [
            (
                branch["branch_id"],
                branch["operation"],
                f"{branch['status']} (pending)"
                if branch["pending"]
                else branch["status"],
                branch["attempts"],
                last_error(branch),
                branch["next_retry_at"],
            )
            for branch in branches
        ],
    )


def last_error(branch: dict[str, object]) -> str:
    """Code and text of a branch's last refusal or failure."""
    return ": ".join(str(branch[k]) for k in ("error_code", "error_text") if branch[k])


def _show_journal(entries: list[dict[str, object]]) -> None:
    import json

    output.line("")
    rows = []
    for entry in entries:
        events = entry["events"]
        for event in events if isinstance(events, list) else ():
            text = event if isinstance(event, str) else json.dumps(event)
            rows.append((entry["seq"], entry["at"], text))
    if rows:
        output.table(("seq", "at", "fact"), rows)
    else:
        output.line("no journal entries")


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise invalid("--actor", "the OS user has no name; say who you are") from None
