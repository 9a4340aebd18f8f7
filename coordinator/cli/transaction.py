"""``tercet tx``: look at global transactions, and take a hand in them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli import operator, option, output

if TYPE_CHECKING:
    from coordinator.cli.client import Client

app = typer.Typer(
    help="Global transactions: list, show, and take a hand in them.",
    invoke_without_command=True,
    callback=option.show_help,
)


@app.command("list")
def list_transactions(
    *,
    status: option.Statuses = None,
    name: option.Name = "",
    attention: option.Attention = False,
    limit: option.Limit = None,
    page_token: option.PageToken = "",
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """List global transactions, newest first."""
    config = option.client(server, output_as, timeout)
    option.listing(name, page_token)
    from coordinator.cli import view
    from coordinator.cli.client import connected
    from protos.v1 import coordinator_pb2

    request = coordinator_pb2.ListRequest(
        statuses=[one.value for one in status or ()],
        name=name,
        attention=attention,
        limit=limit or 0,
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
    keys = ("gid", "mode", "name", "where", "reason_code", "attention_reason")
    rows = [{**tx, "where": _where(tx)} for tx in shown]
    output.table(columns, [[tx[k] for k in (*keys, "created_at")] for tx in rows])
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
    if omitted := tx.branches_omitted:
        output.line(f"{omitted:,} more branches had no room in the answer")
    if entries is not None:
        _show_journal(entries)


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


_WITHOUT_OPERATION = {
    "SAGA": "(child saga)",
    "FOR_EACH": "(for each)",
    "WAIT": "(timer)",
    "AWAIT": "(awaits a signal)",
    "SIGNAL": "(signal)",
}
"""What stands in the place of an operation where no participant is asked."""


def _show_branches(branches: list[dict[str, object]]) -> None:
    if not branches:
        return
    output.line("")
    output.table(
        ("branch", "operation", "status", "attempts", "last error", "next retry"),
        [
            (
                f"{'  ' * depth}{branch['branch_id']}",
                branch["operation"] or _WITHOUT_OPERATION.get(str(branch["kind"]), ""),
                f"{branch['status']} (pending since {branch['pending_since']})"
                if branch["pending"]
                else branch["status"],
                branch["attempts"],
                last_error(branch),
                branch["next_retry_at"],
            )
            for depth, branch in _as_tree(branches)
        ],
    )


def _as_tree(
    branches: Sequence[dict[str, object]],
) -> Iterator[tuple[int, dict[str, object]]]:
    """Each branch and how deep it is nested, behind the one it is nested in."""
    known: set[object] = set()
    inside: dict[object, list[dict[str, object]]] = {}
    for branch in branches:  # a parent always stands before what is inside it
        parent = branch["parent_branch_id"]
        inside.setdefault(parent if parent in known else None, []).append(branch)
        known.add(branch["branch_id"])

    def walk(parent: object, depth: int) -> Iterator[tuple[int, dict[str, object]]]:
        for branch in inside.pop(parent, ()):
            yield depth, branch
            yield from walk(branch["branch_id"], depth + 1)

    yield from walk(None, 0)


def _where(tx: dict[str, object]) -> str:
    """The status, and whether the calls are stopped."""
    return f"{tx['status']} (paused)" if tx["paused_at"] else str(tx["status"])


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


operator.add_to(app)
