"""``tercet db``: the tables of a database."""

import os
from typing import Annotated

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import ExitCode
from coordinator.config import load_database_url

app = typer.Typer(
    help="The database: upgrade, status.",
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


_MEANINGS = {
    "EMPTY": "there are no tables yet; run `tercet db upgrade`",
    "CURRENT": "the tables are those of this version",
    "BEHIND": "the tables are of an older version; run `tercet db upgrade`",
    "AHEAD": "the tables are of a newer version; install that version of Tercet",
}


def _database_url(db: str | None, config_file: str | None) -> str:
    return load_database_url({"database_url": db, "config": config_file}, os.environ)
