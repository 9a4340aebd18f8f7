"""``tercet tx retry|pause|resume|cancel|resolve``: an operator's hand, audited.

The first four are about one transaction or, with a filter, about many. Many need a
yes: typed on a terminal after the number was shown, or given as ``--yes``.
"""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import CommandFailed, ExitCode, invalid
from coordinator.config import ClientConfig

if TYPE_CHECKING:
    from coordinator.cli.client import Client
    from protos.v1 import admin_pb2, types_pb2

STAYS_PAUSED = "it stays paused; `tercet tx resume` lets its calls go on"


class _Command(NamedTuple):
    """One of the commands that are alike.

    Attributes:
        done: what is said of one transaction when it was done.
    """

    name: str
    help: str
    done: str

    @property
    def rpc(self) -> str:
        """What asks for it about one transaction."""
        return f"{self.name.title()}Transaction"

    @property
    def action(self) -> str:
        """What asks for it about many."""
        return self.name.upper()


_ALIKE = (
    _Command(
        "retry",
        "Ask the open branches of one or many again at once.",
        "its open branches are asked again",
    ),
    _Command(
        "pause",
        "Stop the calls of one or many; deadlines still hold.",
        "its calls are stopped; `tercet tx resume` lets them go on",
    ),
    _Command(
        "resume",
        "Let the calls of one or many go on after a pause.",
        "its calls go on",
    ),
    _Command(
        "cancel",
        "Decide against one or many that are undecided.",
        "it is decided against; what was done is being undone",
    ),
)


class _Filter(NamedTuple):
    """Which transactions are meant, where no gid is given."""

    statuses: tuple[str, ...]
    name: str
    attention: bool
    limit: int | None
    page_token: str

    @property
    def narrows(self) -> bool:
        """Whether it means less than everything."""
        return bool(self.statuses or self.name or self.attention)

    @property
    def is_given(self) -> bool:
        """Whether any of its options was given."""
        return self.narrows or self.limit is not None or bool(self.page_token)


class _How(NamedTuple):
    """What a command about many may do without asking back."""

    dry_run: bool
    is_sure: bool


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in _ALIKE:
        _add(app, command)
    app.command()(resolve)


def _add(app: typer.Typer, command: _Command) -> None:
    @app.command(command.name, help=command.help)
    def _(
        gid: Annotated[
            str | None,
            typer.Argument(metavar="GID", help="Of one; or give a filter for many."),
        ] = None,
        *,
        reason: option.Reason,
        actor: option.Actor = None,
        status: option.Statuses = None,
        name: option.Name = "",
        attention: option.Attention = False,
        limit: option.Limit = None,
        page_token: option.PageToken = "",
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Only show which ones it would be.")
        ] = False,
        yes: Annotated[
            bool, typer.Option("--yes", help="Do it to many without asking back.")
        ] = False,
        server: option.Server = None,
        output_as: option.Output = None,
        timeout: option.Timeout = None,
    ) -> None:
        config = option.client(server, output_as, timeout)
        statuses = tuple(one.value for one in status or ())
        meant = _Filter(statuses, name, attention, limit, page_token)
        who = option.who(reason, actor)
        if gid is not None:
            if meant.is_given or dry_run:
                raise invalid("GID", "expected a gid or a filter, not both")
            _one(config, command, {"gid": option.identifier("GID", gid), **who})
            return
        if not meant.narrows:
            raise invalid(
                "GID",
                "expected one, or at least one of --status, --name, --attention",
            )
        option.listing(name, page_token)
        _many(config, command, meant, who, _How(dry_run=dry_run, is_sure=yes))


def resolve(
    gid: option.Gid,
    branch: Annotated[
        str, typer.Argument(metavar="BRANCH", help="Its branch_id; see `tx show`.")
    ],
    *,
    reason: option.Reason,
    actor: option.Actor = None,
    server: option.Server = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Say that a branch was settled by hand: it ends as RESOLVED."""
    config = option.client(server, output_as, timeout)
    option.identifier("GID", gid)
    option.identifier("BRANCH", branch)
    who = option.who(reason, actor)
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    request = admin_pb2.ResolveBranchRequest(gid=gid, branch_id=branch, **who)
    with connected(config) as client:
        tx = client.ask(client.admin.ResolveBranch, request).transaction
    _show_one(config, tx, f"branch {branch} is settled by hand")


def _one(config: ClientConfig, command: _Command, fields: dict[str, str]) -> None:
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2

    request = admin_pb2.OperatorRequest(**fields)
    with connected(config) as client:
        tx = client.ask(getattr(client.admin, command.rpc), request).transaction
    stays = tx.paused_at_ms and command.name != "pause"
    _show_one(config, tx, STAYS_PAUSED if stays else command.done)


def _show_one(config: ClientConfig, tx: "types_pb2.Transaction", done: str) -> None:
    from coordinator.cli import view

    if config.output == "json":
        output.document(view.transaction(tx))
    else:
        output.line(f"{tx.gid} {view.status(tx)}: {done}")


# ---- Many --------------------------------------------------------------------------


def _many(
    config: ClientConfig,
    command: _Command,
    meant: _Filter,
    who: dict[str, str],
    how: _How,
) -> None:
    must_ask = not (how.dry_run or how.is_sure)
    if must_ask and not output.can_ask():
        raise invalid(
            "--yes", "expected --yes or --dry-run where nobody can be asked back"
        )
    from coordinator.cli.client import connected
    from protos.v1 import admin_pb2, coordinator_pb2

    request = admin_pb2.OperateManyRequest(
        action=command.action,
        filter=coordinator_pb2.ListRequest(
            statuses=meant.statuses,
            name=meant.name,
            attention=meant.attention,
            limit=meant.limit or 0,
            page_token=meant.page_token,
        ),
        dry_run=how.dry_run,
        **who,
    )
    with connected(config) as client:
        if must_ask:
            reply = _found(client, request)
            if reply.items:
                _require_yes(command, reply)
        if not must_ask or reply.items:
            reply = client.ask(client.admin.OperateMany, request)
    _show_many(config, command, reply, dry_run=how.dry_run)


def _found(
    client: "Client", request: "admin_pb2.OperateManyRequest"
) -> "admin_pb2.OperateManyReply":
    """Which ones it would be."""
    from protos.v1 import admin_pb2

    dry = admin_pb2.OperateManyRequest()
    dry.CopyFrom(request)
    dry.dry_run = True
    reply: admin_pb2.OperateManyReply = client.ask(client.admin.OperateMany, dry)
    return reply


def _require_yes(command: _Command, found: "admin_pb2.OperateManyReply") -> None:
    """Return when the user wants it for so many; else the command fails."""
    more = " (there are more, which stay as they are)" if found.more else ""
    if not output.agreed(f"{command.name} {_counted(len(found.items))}{more}?"):
        raise CommandFailed(ExitCode.ENDED_OTHERWISE, "nothing was done")


def _show_many(
    config: ClientConfig,
    command: _Command,
    reply: "admin_pb2.OperateManyReply",
    *,
    dry_run: bool,
) -> None:
    from coordinator.cli import view

    items = [view.operated(item) for item in reply.items]
    refused = sum(item["error"] is not None for item in items)
    if config.output == "json":
        output.document(
            {
                "action": command.action,
                "dry_run": dry_run,
                "items": items,
                "more": reply.more,
                "next_page_token": reply.next_page_token,
            }
        )
    elif items:
        done = "would be done" if dry_run else "done"
        rows = [(i["gid"], i["status"], _outcome(i["error"], done)) for i in items]
        output.table(("gid", "status", command.name), rows)
    else:
        output.line("no transactions")
    if reply.more:
        output.note(f"there are more: --page-token {reply.next_page_token}")
    if refused:
        raise CommandFailed(
            ExitCode.ENDED_OTHERWISE,
            f"{refused} of {_counted(len(items))} refused; the others are done",
        )


def _outcome(error: Any, done: str) -> str:
    return f"{error['reason']}: {error['message']}" if error else done


def _counted(number: int) -> str:
    return f"{number} transaction{'' if number == 1 else 's'}"
