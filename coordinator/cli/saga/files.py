"""Sagas in files, with the child sagas that they run: from files and from a server."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from coordinator.cli import output
from coordinator.cli.failure import ExitCode
from coordinator.cli.source import read_text

if TYPE_CHECKING:
    from coordinator.config import ClientConfig
    from coordinator.core.definition import SagaDefinition
    from coordinator.core.model import Operation
    from coordinator.saga_yaml import Finding

Files: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="FILE", help="Sagas in YAML.")
]
FileWithChildren: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help="A saga in YAML, and the files of the child sagas that it runs.",
    ),
]
FromServer: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="Check against the catalogue of this coordinator, and take child sagas "
        "that are in no file from it. Default: ask nobody.",
    ),
]

Checked: TypeAlias = "list[tuple[SagaDefinition | None, tuple[Finding, ...]]]"
Operations: TypeAlias = "dict[str, Operation]"


def read(files: list[str]) -> list[tuple[str, str]]:
    """Each file's name and text."""
    return [(name, read_text("FILE", name)) for name in files]


def check(
    texts: list[tuple[str, str]], config: "ClientConfig | None" = None
) -> tuple[Checked, "Operations | None"]:
    """What each text means, or what is wrong with it.

    Args:
        config: of the coordinator that is asked; ``None`` = none is.

    Returns:
        the catalogue too, when somebody was asked for it.
    """
    from coordinator import saga_yaml

    if config is None:
        return saga_yaml.check_files(texts), None
    from coordinator.cli.client import connected
    from coordinator.cli.saga import remote

    with connected(config) as client:
        operations = remote.operations(client)
        children = remote.children(client, [text for _, text in texts])
    checked = saga_yaml.check_files([*texts, *children], operations)
    return checked[: len(texts)], operations


def load(
    files: list[str], config: "ClientConfig | None" = None
) -> tuple["SagaDefinition", "Operations | None"]:
    """The saga of the first file; the others are its children. Findings end it."""
    checked, operations = check(read(files), config)
    definition, _ = checked[0]
    if definition is None:
        for _, findings in checked:
            tell(findings)
        raise typer.Exit(ExitCode.ENDED_OTHERWISE)
    return definition, operations


def tell(findings: "Iterable[Finding]") -> None:
    """Findings as notes about a result that there is not."""
    for finding in findings:
        for line in lines_of(finding):
            output.note(line)


def lines_of(finding: "Finding") -> list[str]:
    """A finding as compilers write it: where and what, and the line with a caret."""
    if not finding.excerpt:
        return [str(finding)]
    text, caret = finding.excerpt.split("\n")
    number = f"{finding.line:>5}"
    return [str(finding), f"{number} | {text}", f"{' ' * len(number)} | {caret}"]
