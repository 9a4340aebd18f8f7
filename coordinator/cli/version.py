"""``tercet version``."""

import typer

from coordinator.cli import option, output


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(version)


def version(*, output_as: option.Output = None) -> None:
    """Say which version this is."""
    from importlib.metadata import version as version_of

    config = option.client(output=output_as)
    if config.output == "json":
        output.document({"version": version_of("tercet")})
    else:
        output.line(f"tercet {version_of('tercet')}")
