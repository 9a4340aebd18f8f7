"""``tercet saga lint`` and ``schema``: what can be checked without running anything."""

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import ExitCode
from coordinator.cli.saga import files as saga_files
from coordinator.cli.saga.files import Files, FromServer


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(lint)
    app.command()(schema)


def lint(
    files: Files,
    *,
    server: FromServer = None,
    output_as: option.Output = None,
    timeout: option.Timeout = None,
) -> None:
    """Check saga definitions; without --server no coordinator is needed.

    Give the files of child sagas together with those that run them, in any order.
    """
    config = option.client(server, output_as, timeout)
    texts = saga_files.read(files)
    checked, _ = saga_files.check(texts, config if server is not None else None)
    results = [
        {
            "source": name,
            "ok": definition is not None and not findings,
            "name": definition.name if definition else None,
            "version": definition.version if definition else None,
            "digest": definition.digest if definition else None,
            "findings": [
                {
                    "line": finding.line,
                    "column": finding.column,
                    "code": finding.code,
                    "message": finding.message,
                    "suggestion": finding.suggestion,
                }
                for finding in findings
            ],
        }
        for (name, _), (definition, findings) in zip(texts, checked, strict=True)
    ]
    if config.output == "json":
        output.document({"files": results})
    else:
        for result, (_, findings) in zip(results, checked, strict=True):
            for finding in findings:
                for line in saga_files.lines_of(finding):
                    output.line(line)
            if result["ok"]:
                name, version = result["name"], result["version"]
                output.line(f"{result['source']}: ok, {name} {version}")
    if not all(result["ok"] for result in results):
        raise typer.Exit(ExitCode.ENDED_OTHERWISE)


def schema() -> None:
    """Print the JSON Schema of saga files, for editors.

    An editor that speaks the YAML language server's protocol reads it from a comment:
    # yaml-language-server: $schema=./saga.schema.json
    """
    from coordinator.saga_yaml.schema import saga_schema

    output.document(saga_schema())
