"""``tercet``: all commands put together, and the one place where errors end."""

import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from coordinator.cli import (
    catalogue,
    database,
    node,
    nodes,
    output,
    saga,
    transaction,
    version,
)
from coordinator.cli.failure import (
    MEANINGS,
    CommandFailed,
    ExitCode,
    failure_of,
)
from coordinator.cli.option import show_help

_HELP = "Tercet coordinates business transactions across services: TCC and Saga."


class _Commands(TyperGroup):
    """Commands whose every failure is one clear line and a documented exit code."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command that the arguments name, then leave the process."""
        named = {"prog_name": "tercet", **extra, "standalone_mode": False}
        try:
            code = super().main(*args, **named)
        except typer.TyperException as error:
            output.error(_usage_failure(error).message)
            sys.exit(ExitCode.INVALID)
        except Exception as error:  # noqa: BLE001 - the edge: no stack trace to users
            failure = failure_of(error)
            output.error(failure.message)
            sys.exit(failure.exit_code)
        sys.exit(code or ExitCode.OK)


def build(*, is_pretty: bool) -> typer.Typer:
    """All commands. ``is_pretty``: help with boxes and colours."""
    app = typer.Typer(
        name="tercet",
        cls=_Commands,
        help=_HELP,
        epilog=_exit_codes(is_pretty=is_pretty),
        invoke_without_command=True,
        callback=show_help,
        add_completion=False,
        rich_markup_mode="rich" if is_pretty else None,
        pretty_exceptions_enable=False,
    )
    node.add_to(app)
    nodes.add_to(app)
    app.add_typer(database.app, name="db")
    app.add_typer(transaction.app, name="tx")
    app.add_typer(saga.app, name="saga")
    app.add_typer(catalogue.app, name="operations")
    version.add_to(app)
    return app


def main() -> None:
    """Entry of the console script."""
    build(is_pretty=output.is_pretty(sys.stdout))()


def _exit_codes(*, is_pretty: bool) -> str:
    lines = [f"{code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    if is_pretty:
        return "\n\n".join(["Exit codes:", *lines])
    # The mark keeps the lines as they are.
    return "\n".join(["\b", "Exit codes:", *lines])


def _usage_failure(error: typer.TyperException) -> CommandFailed:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "tercet"
    text = error.format_message().rstrip(".")
    return CommandFailed(ExitCode.INVALID, f"{text}; see `{where} --help`")
