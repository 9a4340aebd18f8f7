"""``tercet db``: the tables of a database."""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import ExitCode, invalid
from coordinator.config import (
    KEEP_EXPECTED,
    load_archive,
    load_database_url,
    parse_keep,
)

if TYPE_CHECKING:
    from coordinator.engine.retention import Purged

PROGRESS_SECONDS = 2.0
"""Between two lines about how far a purge has come."""

app = typer.Typer(
    help="The database: upgrade, status, purge.",
    invoke_without_command=True,
    callback=option.show_help,
)


@app.command()
def upgrade(
    *,
    db: option.Database = None,
    config_file: option.ConfigFile = None,
    output_as: option.Output = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="Show the statements, change nothing.")
    ] = False,
) -> None:
    """Bring the tables to this version."""
    config = option.client(output=output_as)
    url = _database_url(db, config_file)
    from coordinator.storage.sql import migrate

    if sql:
        text = migrate.preview(url) or "-- nothing to do: the tables are current"
        for line in text.splitlines():
            output.line(line)
        return
    applied = migrate.upgrade(url)
    if config.output == "json":
        output.document({"applied": applied})
    elif applied:
        for name in applied:
            output.line(f"applied {name}")
    else:
        output.line("nothing to do: the tables are current")


@app.command()
def status(
    *,
    db: option.Database = None,
    config_file: option.ConfigFile = None,
    output_as: option.Output = None,
) -> None:
    """Tell how the tables stand to this version.

    Exit code 0 says that they are current.
    """
    config = option.client(output=output_as)
    url = _database_url(db, config_file)
    from coordinator.storage.sql import migrate

    state = migrate.state(url)
    if config.output == "json":
        output.document({"state": state.value})
    else:
        output.line(f"{state.value}: {_MEANINGS[state.value]}")
    if state is not migrate.SchemaState.CURRENT:
        raise typer.Exit(ExitCode.ENDED_OTHERWISE)


@app.command()
def purge(
    *,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            help="Only what finished longer ago, such as 90d.",
        ),
    ],
    archive: option.Archive = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell how many, remove nothing.")
    ] = False,
    db: option.Database = None,
    config_file: option.ConfigFile = None,
    output_as: option.Output = None,
) -> None:
    """Remove finished transactions, in small portions beside serving nodes.

    What is unfinished stays, and so does what operators did (the audit). Started
    again, it goes on with what is left.
    """
    config = option.client(output=output_as)
    older_than_ms = _keep(older_than)
    url = _database_url(db, config_file)
    folder = load_archive({"archive": archive, "config": config_file}, os.environ)
    from coordinator import bootstrap

    done = asyncio.run(
        bootstrap.purge(
            url,
            older_than_ms=older_than_ms,
            archive_folder=folder,
            is_dry=dry_run,
            on_progress=_Progress(),
        )
    )
    if config.output == "json":
        output.document(
            {
                "dry_run": dry_run,
                "looked_at": done.looked_at,
                "removed": 0 if dry_run else done.removed,
                "archived": done.archived,
                "removable": done.removed,
            }
        )
    elif dry_run:
        output.line(f"{done.removed} finished transactions would be removed")
    else:
        kept = f", {done.archived} archived in {folder}" if folder else ""
        output.line(f"removed {done.removed} finished transactions{kept}")


class _Progress:
    """A line on stderr from time to time, for what takes long."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, done: "Purged") -> None:
        now = time.monotonic()
        if now - self._said_at >= PROGRESS_SECONDS:
            self._said_at = now
            output.note(f"looked at {done.looked_at}, removed {done.removed} so far")


def _keep(older_than: str) -> int:
    try:
        return parse_keep(older_than)
    except ValueError:
        raise invalid("--older-than", f"expected {KEEP_EXPECTED}") from None


_MEANINGS = {
    "EMPTY": "there are no tables yet; run `tercet db upgrade`",
    "CURRENT": "the tables are those of this version",
    "BEHIND": "the tables are of an older version; run `tercet db upgrade`",
    "AHEAD": "the tables are of a newer version; install that version of Tercet",
}


def _database_url(db: str | None, config_file: str | None) -> str:
    return load_database_url({"database_url": db, "config": config_file}, os.environ)
