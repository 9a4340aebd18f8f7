"""From the text of a saga to its definition, or to everything that is wrong with it."""

from collections.abc import Mapping

from coordinator.core.definition import JsonValue, SagaDefinition
from coordinator.core.model import Operation
from coordinator.saga_yaml.children import Sagas
from coordinator.saga_yaml.compiler import compile_saga
from coordinator.saga_yaml.findings import (
    Code,
    Finding,
    Findings,
    Halt,
    SagaRefused,
)
from coordinator.saga_yaml.reader import TEXT_BYTES_MAX, read
from coordinator.saga_yaml.tree import to_json


def parse(
    text: str,
    source: str = "<saga>",
    *,
    operations: Mapping[str, Operation] | None = None,
    sagas: Sagas | None = None,
) -> SagaDefinition:
    """The definition that a saga text describes.

    Args:
        text: YAML 1.2 or JSON, at most 256 KiB.
        source: what findings call the text, usually a file's name.
        operations: the catalogue by name; ``None`` when it is not known, and then
            operations are not checked against it.
        sagas: finds a published saga by name and version; without it, a saga that
            runs child sagas is refused, because nothing is known about them.

    Raises ``SagaRefused`` with all findings, and nothing else for any text.
    """
    definition, findings = check(text, source, operations, sagas)
    if definition is None:
        raise SagaRefused(findings)
    return definition


def check(
    text: str,
    source: str = "<saga>",
    operations: Mapping[str, Operation] | None = None,
    sagas: Sagas | None = None,
) -> tuple[SagaDefinition | None, tuple[Finding, ...]]:
    """Like :func:`parse`, but the findings are returned; at most 100 of them."""
    text = normalized(text)
    if len(text) > TEXT_BYTES_MAX or (
        len(text.encode(errors="surrogatepass")) > TEXT_BYTES_MAX
    ):
        findings = Findings("")
        message = f"more than {TEXT_BYTES_MAX // 1024} KiB of text; split the saga"
        findings.add(0, Code.OVER_LIMIT, message)
        return None, findings.placed(source)
    findings = Findings(text)
    try:
        root = read(text, findings)
        if root is None:
            findings.halt(0, Code.MISSING_KEY, "the text is empty; a saga was expected")
        definition = compile_saga(root, text, operations, sagas, findings)
    except Halt:
        definition = None
    return definition, findings.placed(source)


def read_data(text: str, source: str) -> JsonValue:
    """What a YAML or JSON text says, of whatever kind of thing.

    Raises ``SagaRefused`` with all that is wrong with it as a text.
    """
    text = normalized(text)
    findings = Findings(text)
    try:
        root = read(text, findings)
    except Halt:
        root = None
    if findings:
        raise SagaRefused(findings.placed(source))
    return to_json(root) if root is not None else None


def normalized(text: str) -> str:
    """The text with line breaks of one kind, the last one included."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"
