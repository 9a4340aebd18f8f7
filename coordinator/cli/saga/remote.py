"""What a coordinator knows of sagas: their texts, their children, the catalogue."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from coordinator.cli import view
from coordinator.cli.failure import CommandFailed, ExitCode
from coordinator.core.model import Operation
from coordinator.core.words import OperationKind
from coordinator.saga_yaml import check_files, find_children
from protos.v1 import admin_pb2

if TYPE_CHECKING:
    from coordinator.cli.client import Client
    from coordinator.core.definition import SagaDefinition


PAGE_SIZE = 1_000
"""The most that one reply has."""


def operations(client: "Client") -> dict[str, Operation]:
    """The catalogue by name; what this version does not know is left out."""
    known = {kind.value: kind for kind in OperationKind}
    found: dict[str, Operation] = {}
    request = admin_pb2.ListOperationsRequest(limit=PAGE_SIZE)
    while True:
        reply = client.ask(client.catalogue.ListOperations, request)
        for shown in reply.operations:
            if (kind := str(view.operation(shown)["kind"])) in known:
                found[shown.name] = Operation(
                    name=shown.name,
                    kind=known[kind],
                    participant=shown.participant,
                    compensable=shown.compensable,
                    input_schema=shown.input_schema,
                    output_schema=shown.output_schema,
                )
        if not reply.next_page_token:
            return found
        request.page_token = reply.next_page_token


def versions(client: "Client", name: str) -> list[admin_pb2.SagaDefinition]:
    """All published versions, without their texts: by name, the newest first."""
    found: list[admin_pb2.SagaDefinition] = []
    request = admin_pb2.ListSagasRequest(name=name, limit=PAGE_SIZE)
    while True:
        reply = client.ask(client.definitions.ListSagas, request)
        found += reply.definitions
        if not reply.next_page_token:
            return found
        request.page_token = reply.next_page_token


def published(client: "Client", name: str, version: str) -> admin_pb2.SagaDefinition:
    """A published saga with its text; raises ``CommandFailed``."""
    request = admin_pb2.GetSagaRequest(name=name, version=version)
    found: admin_pb2.SagaDefinition = client.ask(client.definitions.GetSaga, request)
    return found


def children(client: "Client", texts: Iterable[str]) -> list[tuple[str, str]]:
    """The texts of all published sagas that these texts run, directly or not."""
    found: dict[tuple[str, str], str] = {}
    todo = [child for text in texts for child in find_children(text)]
    while todo:
        name, version = todo.pop()
        if (name, version) in found:
            continue
        try:
            text = published(client, name, version).text
        except CommandFailed as failure:
            if failure.exit_code not in (ExitCode.NOT_FOUND, ExitCode.INVALID):
                raise
            continue  # the check says that it is not known, and where it is named
        found[name, version] = text
        todo += find_children(text)
    return [(f"{name}@{version}", text) for (name, version), text in found.items()]


def definition(client: "Client", name: str, version: str) -> "SagaDefinition":
    """A published saga, read again with its children; raises ``CommandFailed``."""
    text = published(client, name, version).text
    files = [(f"{name}@{version}", text), *children(client, [text])]
    found, findings = check_files(files)[0]
    if found is None:
        first = findings[0] if findings else ""
        raise CommandFailed(
            ExitCode.REFUSED,
            f"this version of the command cannot read {name} {version}: {first}",
        )
    return found
