"""Several texts at once, some of which are child sagas of others."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from coordinator.core.definition import SagaDefinition
from coordinator.core.model import Operation
from coordinator.saga_yaml.children import ChildRefused
from coordinator.saga_yaml.findings import Code, Finding, Findings, Halt
from coordinator.saga_yaml.language import STEPS_MAX
from coordinator.saga_yaml.load import check, normalized
from coordinator.saga_yaml.reader import TEXT_BYTES_MAX, read
from coordinator.saga_yaml.tree import ListNode, MapNode, Node, Scalar

Name: TypeAlias = tuple[str, str]
"""A saga's name and version."""

Checked: TypeAlias = tuple[SagaDefinition | None, tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class _Head:
    """What a text says about itself, right or wrong."""

    name: Name
    runs: tuple[Name, ...]


def find_children(text: str) -> tuple[Name, ...]:
    """Which sagas a text runs as steps, each once, at most 500; nothing is checked."""
    return _head(text).runs


def check_files(
    files: Sequence[tuple[str, str]],
    operations: Mapping[str, Operation] | None = None,
) -> list[Checked]:
    """Check texts that may run each other, given in any order.

    Args:
        files: what findings call each text, and the text.
        operations: the catalogue by name, when it is known.

    Returns:
        for each file what :func:`coordinator.saga_yaml.check` returns.
    """
    heads = [_head(text) for _, text in files]
    names = {head.name for head in heads}
    known: dict[Name, SagaDefinition | None] = {}

    def find(name: str, version: str) -> SagaDefinition | None:
        if (name, version) not in names:
            return None
        if (name, version) not in known:
            raise ChildRefused(Code.REACHES_ITSELF, "runs this one in its turn")
        found = known[name, version]
        if found is None:
            raise ChildRefused(Code.UNKNOWN_SAGA, "has findings of its own; see there")
        return found

    results: dict[int, Checked] = {}
    for index in _children_first(heads):
        source, text = files[index]
        results[index] = check(text, source, operations, find)
        known[heads[index].name] = results[index][0]
    return [results[index] for index in range(len(files))]


def children_first(texts: Iterable[str]) -> list[int]:
    """The places of the texts, each after those that it runs."""
    return _children_first([_head(text) for text in texts])


def _children_first(heads: Sequence[_Head]) -> list[int]:
    places = {head.name: index for index, head in enumerate(heads)}
    order: dict[int, None] = {}
    begun: set[int] = set()
    todo = list(reversed(range(len(heads))))
    while todo:
        index = todo.pop()
        if index in begun:
            order.setdefault(index)
            continue
        begun.add(index)
        todo.append(index)
        children = (places[name] for name in heads[index].runs if name in places)
        todo.extend(child for child in children if child not in begun)
    return list(order)


def _head(text: str) -> _Head:
    text = normalized(text)
    root: Node | None = None
    if len(text) <= TEXT_BYTES_MAX:
        with suppress(Halt):
            root = read(text, Findings(text))
    metadata = _entry(root, "metadata")
    steps = _entry(root, "steps")
    items = steps.items[:STEPS_MAX] if isinstance(steps, ListNode) else []
    written = [_text(_entry(step, "saga")).partition("@") for step in items]
    return _Head(
        (_text(_entry(metadata, "name")), _text(_entry(metadata, "version"))),
        tuple(dict.fromkeys((name, version) for name, at, version in written if at)),
    )


def _entry(node: Node | None, key: str) -> Node | None:
    return node.entries.get(key) if isinstance(node, MapNode) else None


def _text(node: Node | None) -> str:
    value = node.value if isinstance(node, Scalar) else None
    return value if isinstance(value, str) else ""
