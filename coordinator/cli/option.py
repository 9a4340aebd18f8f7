"""Options that several commands share, and the checks of their values."""

import getpass
import os
import re
from typing import Annotated, TypeAlias

import typer

from coordinator.cli.failure import invalid
from coordinator.config import ClientConfig, load_client
from coordinator.core.words import Status

LIMIT_MAX = 1_000
NODES_MAX = 64
"""As many as a participant opens sessions to."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Server: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="Any node of the coordinator (TERCET_SERVER; default localhost:7700).",
    ),
]
Output: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="table|json",
        help="How the result is written to stdout (TERCET_OUTPUT; default table).",
    ),
]
Timeout: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="How long an answer may take (TERCET_TIMEOUT_SECONDS; default 10).",
    ),
]
Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="The database (TERCET_DATABASE_URL; default sqlite:///tercet.db).",
    ),
]
Listen: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="HOST:PORT",
        help="Where to listen; port 0 = any free (TERCET_LISTEN; "
        "default localhost:7700).",
    ),
]
KeepFinished: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--keep-finished",
        metavar="off|DURATION",
        help="Remove transactions that finished longer ago, such as 90d "
        "(TERCET_KEEP_FINISHED; default off: keep them for ever).",
    ),
]
Archive: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="DIR",
        help="Write what is removed there first, as JSON lines (TERCET_ARCHIVE).",
    ),
]
Advertise: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--advertise",
        metavar="HOST:PORT",
        help="Where participants and clients reach this node, if not where it "
        "listens (TERCET_ADVERTISE).",
    ),
]
Push: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--push",
        metavar="NAME=HOST:PORT",
        help="A participant whose own server this node calls; may be given several "
        "times (TERCET_PUSH, with commas between). Off loopback it needs TLS and a "
        "secret: a table [push.NAME] of the settings file.",
    ),
]
ConfigFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Settings in TOML (TERCET_CONFIG)."),
]
LogLevel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="debug|info|warning|error",
        help="What is logged to stderr (TERCET_LOG_LEVEL; default info).",
    ),
]
LogFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        metavar="auto|json|console",
        help="auto: console on a terminal, else JSON (TERCET_LOG_FORMAT).",
    ),
]
Gid: TypeAlias = Annotated[
    str, typer.Argument(metavar="GID", help="Of the global transaction.")
]

Statuses: TypeAlias = Annotated[
    list[Status] | None,
    typer.Option(
        "--status", help="Only these; may be given several times.", case_sensitive=False
    ),
]
Name: TypeAlias = Annotated[
    str, typer.Option("--name", help="Only with this exact name.")
]
Attention: TypeAlias = Annotated[
    bool, typer.Option("--attention", help="Only those that need a person.")
]
Limit: TypeAlias = Annotated[
    int | None,
    typer.Option("--limit", min=1, max=LIMIT_MAX, help="At most this many; else 50."),
]
PageToken: TypeAlias = Annotated[
    str, typer.Option("--page-token", help="Go on where the page before ended.")
]
Reason: TypeAlias = Annotated[
    str, typer.Option("--reason", help="Why, for the audit.", show_default=False)
]
Actor: TypeAlias = Annotated[
    str | None,
    typer.Option("--actor", help="Who, for the audit; default: the OS user."),
]


def client(
    server: str | None = None,
    output: str | None = None,
    timeout: str | None = None,
) -> ClientConfig:
    """The settings of a command, from its flags, the environment and the file."""
    flags = {"server": server, "output": output, "timeout_seconds": timeout}
    return load_client(flags, os.environ)


def identifier(field: str, text: str) -> str:
    """The text, if it can be an identifier; else the command fails."""
    if not _IDENTIFIER.fullmatch(text):
        raise invalid(field, "expected 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return text


def listing(name: str, page_token: str) -> None:
    """Check what narrows and continues a listing, where it is given."""
    if name:
        one_line("--name", name, chars_max=128)
    if page_token:
        one_line("--page-token", page_token, chars_max=1_024)


def one_line(field: str, text: str, *, chars_max: int) -> str:
    """The text, if it can be shown on one line; else the command fails."""
    if not text.strip() or not text.isprintable() or len(text) > chars_max:
        raise invalid(
            field, f"expected 1 to {chars_max} printable characters on one line"
        )
    return text


def who(reason: str, actor: str | None) -> dict[str, str]:
    """Who and why, for the audit."""
    one_line("--reason", reason, chars_max=1_000)
    name = _os_user() if actor is None else actor
    one_line("--actor", name, chars_max=128)
    return {"actor": name, "reason": reason}


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise invalid("--actor", "the OS user has no name; say who you are") from None


def show_help(context: typer.Context) -> None:
    """The help of a group that was called without a command; wrong usage."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)
