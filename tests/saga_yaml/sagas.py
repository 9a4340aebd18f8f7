"""Sagas for tests of the language: a header, steps, and what is published already."""

from coordinator.core.definition import SagaDefinition
from coordinator.core.model import Operation
from coordinator.core.words import OperationKind
from coordinator.saga_yaml import Finding, check, parse

OPERATIONS = {
    name: Operation(name, kind, name.partition(".")[0], compensable)
    for name, kind, compensable in (
        ("bank.debit", OperationKind.ACTION, True),
        ("bank.refund", OperationKind.ACTION, False),
        ("bank.hold", OperationKind.TCC, False),
        ("mail.send", OperationKind.ACTION, False),
        ("post.send", OperationKind.ACTION, False),
    )
}


def header(name: str = "loan", version: str = "1.0.0") -> str:
    return (
        "apiVersion: tercet/v1\nkind: Saga\n"
        f"metadata: {{name: {name}, version: {version}}}\n"
    )


def saga(*steps: str, name: str = "loan", rest: str = "") -> str:
    """A saga with these steps, each the inside of braces."""
    lines = "".join(f"- {{{step}}}\n" for step in steps)
    return f"{header(name)}{rest}steps:\n{lines}"


class Published:
    """Sagas by name and version; publishes what can use those before it."""

    def __init__(self, *texts: str) -> None:
        self._sagas: dict[tuple[str, str], SagaDefinition] = {}
        for text in texts:
            self.publish(text)

    def publish(self, text: str) -> SagaDefinition:
        published = parse(text, sagas=self)
        self._sagas[published.name, published.version] = published
        return published

    def __call__(self, name: str, version: str) -> SagaDefinition | None:
        return self._sagas.get((name, version))


def compiled(text: str, *children: str) -> SagaDefinition:
    return parse(text, operations=OPERATIONS, sagas=Published(*children))


def found(text: str, *children: str) -> tuple[Finding, ...]:
    return check(text, operations=OPERATIONS, sagas=Published(*children))[1]


def codes(text: str, *children: str) -> list[str]:
    return [finding.code for finding in found(text, *children)]
