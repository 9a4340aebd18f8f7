"""From the text of a saga to its definition, or to everything that is wrong with it."""

from collections.abc import Mapping

from coordinator.core.definition import JsonValue, SagaDefinition
from coordinator.core.model import Operation
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
) -> SagaDefinition:
    """The definition that a saga text describes.

    Args:
        text: YAML 1.2 or JSON, at most 256 KiB.
        source: what findings call the text, usually a file's name.
        operations: the catalogue by name; ``None`` when it is not known, and then
            operations are not checked against it.

    Raises ``SagaRefused`` with all findings, and nothing else for any text.
    """
    definition, findings = check(text, source, operations)
    if definition is None:
        raise SagaRefused(findings)
    return definition


def check(
    text: str,
    source: str = "<saga>",
    operations: Mapping[str, Operation] | None = None,
) -> tuple[SagaDefinition | None, tuple[Finding, ...]]:
    """Like :func:`parse`, but the findings are returned; at most 100 of them."""
    text = _tidy(text)
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
        definition = compile_saga(root, text, operations, findings)
    except Halt:
        definition = None
    return definition, findings.placed(source)


def read_data(text: str, source: str) -> JsonValue:
    """What a YAML or JSON text says, of whatever kind of thing.

    Raises ``SagaRefused`` with all that is wrong with it as a text.
    """
    text = _tidy(text)
    findings = Findings(text)
    try:
        root = read(text, findings)
    except Halt:
        root = None
    if findings:
        raise SagaRefused(findings.placed(source))
    return to_json(root) if root is not None else None


def _tidy(text: str) -> str:
    """With line feeds alone, the last line ended too."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"
