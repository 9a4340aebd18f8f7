"""Expressions: ``${ }`` with a plain path inside, found and checked, never computed.

A value that is exactly one expression keeps its type; inside text it becomes text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from coordinator.core.definition import (
    Constant,
    Interpolation,
    Reference,
    Template,
    TemplateList,
    TemplateMap,
)
from coordinator.saga_yaml.findings import Code, Findings, shown
from coordinator.saga_yaml.tree import Broken, ListNode, MapNode, Node, Scalar, to_json

EXPRESSION_LENGTH_MAX: Final = 4096
EXPRESSIONS_MAX: Final = 5_000
PATH_PARTS_MAX: Final = 32

_ROOTS: Final = ("input", "steps", "saga")
_LATER_ROOTS: Final = ("item", "index")
_SAGA_NAMES: Final = ("gid", "startedAt")

_EXPRESSION = re.compile(r"\$\{((?:[^{}'\"]++|'[^']*+'|\"[^\"]*+\")*+)\}")
_ROOT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+")
_PART = re.compile(
    r"\.(?P<name>[A-Za-z_][A-Za-z0-9_]*+)"
    r"|\[ *+(?P<index>[0-9]{1,9}+) *+\]"
    r"|\[ *+'(?P<single>[^'\\]*+)' *+\]"
    r'|\[ *+"(?P<double>[^"\\]*+)" *+\]'
)
_HYPHENATED = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*+(?:-[A-Za-z0-9_]++)++)")

_ONLY_PATHS: Final = (
    "only plain paths in this version, such as input.amount, steps.pay.output.id, "
    "steps['pay-out'].output.items[0] or saga.gid"
)


@dataclass(frozen=True, slots=True)
class Visible:
    """Which steps' outputs may be read here.

    Attributes:
        reader: who reads, for messages.
        positions: every step of the saga, with its bit.
        allowed: the bits of the steps that may be read; -1 = all.
    """

    reader: str
    positions: Mapping[str, int]
    allowed: int


class Expressions:
    """Turns trees into templates and notes what is wrong with the expressions."""

    def __init__(self, text: str, findings: Findings) -> None:
        self._text = text
        self._findings = findings
        self._count = 0

    def template(self, node: Node, visible: Visible) -> Template:
        """The template; constant where nothing has to be evaluated."""
        match node:
            case Scalar():
                if isinstance(node.value, str) and "${" in node.value:
                    return self._from_text(node, node.value, visible)
                return Constant(node.value)
            case ListNode():
                items = tuple(self.template(item, visible) for item in node.items)
                if all(isinstance(item, Constant) for item in items):
                    return Constant(to_json(node))
                return TemplateList(items)
            case MapNode():
                for key in node.entries:
                    if "${" in key:
                        message = "an expression is not possible in a key"
                        self._findings.add(node.key_at[key], Code.NOT_A_PATH, message)
                entries = tuple(
                    (key, self.template(item, visible))
                    for key, item in node.entries.items()
                )
                if all(isinstance(item, Constant) for _, item in entries):
                    return Constant(to_json(node))
                return TemplateMap(entries)
            case Broken():
                return Constant(None)
            case _:
                assert_never(node)

    def _from_text(self, node: Scalar, text: str, visible: Visible) -> Template:
        parts: list[str | Reference] = []
        done = 0
        while (start := text.find("${", done)) >= 0:
            if start > done:
                parts.append(text[done:start])
            self._count += 1
            if self._count > EXPRESSIONS_MAX:
                message = f"more than {EXPRESSIONS_MAX:,} expressions; split the saga"
                self._findings.halt(node.at, Code.OVER_LIMIT, message)
            found = _EXPRESSION.match(text, start)
            if found is None:
                closing = text.find("}", start)
                what = shown(text[start : closing + 1 or None])
                message = f"{_ONLY_PATHS}; not {what}"
                if closing < 0:
                    message = f"no '}}' closes {what}"
                self._note(node, start, Code.NOT_A_PATH, message)
                return Constant(None)
            parts.append(self._reference(node, start, found[1], visible))
            done = found.end()
        if done < len(text):
            parts.append(text[done:])
        if len(parts) == 1 and isinstance(parts[0], Reference):
            return parts[0]
        return Interpolation(tuple(parts))

    def _reference(
        self, node: Scalar, start: int, inner: str, visible: Visible
    ) -> Reference:
        source = inner.strip(" \t\n")
        nothing = Reference((), source)
        if len(inner) > EXPRESSION_LENGTH_MAX:
            message = f"an expression longer than {EXPRESSION_LENGTH_MAX:,} characters"
            self._note(node, start, Code.OVER_LIMIT, message)
            return nothing
        path = parse_path(source)
        if path is None:
            fixed = _HYPHENATED.sub(r"['\1']", source)
            suggestion = f"${{{fixed}}}" if parse_path(fixed) else ""
            message = f"{_ONLY_PATHS}; not {shown(source)}"
            self._note(node, start, Code.NOT_A_PATH, message, suggestion)
            return nothing
        if len(path) > PATH_PARTS_MAX:
            message = f"a path of more than {PATH_PARTS_MAX} parts"
            self._note(node, start, Code.OVER_LIMIT, message)
            return nothing
        self._check_path(node, start, path, visible)
        return Reference(path, source)

    def _check_path(
        self, node: Scalar, start: int, path: tuple[str | int, ...], visible: Visible
    ) -> None:
        match path:
            case ("input", *_):
                pass
            case ("saga", str(name)):
                if name not in _SAGA_NAMES:
                    nearest = self._findings.nearest(name, _SAGA_NAMES)
                    self._unknown(node, start, f"saga has no {shown(name)}", nearest)
            case ("steps", str(step_id), "output", *_):
                self._check_step(node, start, step_id, visible)
            case ("steps", *_):
                message = "of a step only its output can be read: steps.<id>.output"
                self._unknown(node, start, message, "")
            case ("saga", *_):
                self._unknown(node, start, "of saga there is gid and startedAt", "")
            case (root, *_) if root in _LATER_ROOTS:
                message = f"{root!r} is not available in this version"
                self._note(node, start, Code.NOT_AVAILABLE, message)
            case _:
                root = str(path[0])
                message = f"there is no {shown(root)}; paths begin with input, steps"
                nearest = self._findings.nearest(root, _ROOTS)
                self._unknown(node, start, f"{message} or saga", nearest)

    def _check_step(
        self, node: Scalar, start: int, step_id: str, visible: Visible
    ) -> None:
        position = visible.positions.get(step_id)
        if position is None:
            nearest = self._findings.nearest(step_id, visible.positions)
            self._unknown(node, start, f"there is no step {shown(step_id)}", nearest)
        elif not visible.allowed >> position & 1:
            message = (
                f"{visible.reader} reads the output of step {step_id!r}, which it does "
                "not need, directly or through others; add it to 'needs'"
            )
            self._note(node, start, Code.NO_ANCESTOR, message)

    def _unknown(self, node: Scalar, start: int, message: str, nearest: str) -> None:
        self._note(node, start, Code.UNKNOWN_NAME, message, nearest)

    def _note(
        self, node: Scalar, start: int, code: Code, message: str, suggestion: str = ""
    ) -> None:
        """Note a finding where the expression stands in the text, not its value."""
        value = str(node.value)
        fragment = value[start : start + 24].split("\n", maxsplit=1)[0]
        at = node.at
        for _ in range(value.count(fragment, 0, start) + 1):
            found = self._text.find(fragment, at, node.at + 2 * len(value) + 64)
            if found < 0:
                break
            at = found + 1
        self._findings.add(max(at - 1, node.at), code, message, suggestion)


def parse_path(source: str) -> tuple[str | int, ...] | None:
    """The parts of a plain path, or ``None`` when it is something else."""
    root = _ROOT.match(source)
    if root is None:
        return None
    parts: list[str | int] = [root[0]]
    end = root.end()
    while end < len(source):
        part = _PART.match(source, end)
        if part is None:
            return None
        if part["index"] is not None:
            parts.append(int(part["index"]))
        else:
            parts.append(part[part.lastgroup or 0])
        end = part.end()
    return tuple(parts)
