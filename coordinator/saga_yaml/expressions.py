"""Expressions: what stands inside ``${ }``, found, checked and compiled.

A value that is exactly one expression keeps its type; inside text it becomes text. A
plain path becomes a reference, which the core looks up; all else is compiled from CEL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

from coordinator.core.definition import (
    Computed,
    Constant,
    Interpolation,
    Reference,
    Template,
    TemplateList,
    TemplateMap,
)
from coordinator.saga_yaml.cel import (
    DynamicStep,
    Facts,
    Mistake,
    OverLimit,
    Tree,
    TypeMismatch,
    UnknownName,
    WrongCall,
    compile_tree,
    facts_of,
    parse,
    path_of,
)
from coordinator.saga_yaml.findings import Code, Findings, shown
from coordinator.saga_yaml.flow import UNQUOTED_COLON
from coordinator.saga_yaml.known_types import NOTHING_KNOWN, Known, Missing, find
from coordinator.saga_yaml.paths import plain_path
from coordinator.saga_yaml.places import Places
from coordinator.saga_yaml.tree import Broken, ListNode, MapNode, Node, Scalar, to_json

EXPRESSIONS_MAX: Final = 5_000

_ITEM_ROOTS: Final = ("item", "index")
_CODES: Final[Mapping[type[Mistake], Code]] = {
    UnknownName: Code.UNKNOWN_NAME,
    WrongCall: Code.UNKNOWN_NAME,
    DynamicStep: Code.COMPUTED_STEP,
    TypeMismatch: Code.TYPE_MISMATCH,
    OverLimit: Code.OVER_LIMIT,
}
_HYPHENATED = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*+(?>-[A-Za-z0-9_]++)++)")


@dataclass(frozen=True, slots=True)
class Visible:
    """What may be read here.

    Attributes:
        reader: who reads, for messages.
        positions: every step of the saga, with its bit.
        allowed: the bits of the steps that may be read; -1 = all.
        may_be_absent: the steps that can end without an output.
        silent: the steps that never have one, each with the reason.
        has_item: ``item`` and ``index`` are there.
        known: what schemas tell about the values.
    """

    reader: str
    positions: Mapping[str, int]
    allowed: int
    may_be_absent: frozenset[str] = frozenset()
    silent: Mapping[str, str] = field(default_factory=dict)
    has_item: bool = False
    known: Known = NOTHING_KNOWN


class Expressions:
    """Turns trees into templates and notes what is wrong with the expressions."""

    def __init__(self, text: str, findings: Findings) -> None:
        self._places = Places(text)
        self._findings = findings
        self._count = 0

    def template(self, node: Node, visible: Visible, wanted: str = "") -> Template:
        """The template; constant where nothing has to be evaluated.

        Args:
            wanted: what an expression that is the whole value must yield, such as
                ``a boolean``; it is a finding when it is known to yield another type.
        """
        match node:
            case Scalar():
                if isinstance(node.value, str) and "${" in node.value:
                    return self._from_text(node, node.value, visible, wanted)
                return Constant(node.value)
            case ListNode():
                items = tuple(self.template(item, visible) for item in node.items)
                if all(isinstance(item, Constant) for item in items):
                    return Constant(to_json(node))
                return TemplateList(items)
            case MapNode():
                for key in node.entries:
                    if "${" in key:
                        self._note_key(node.key_at[key], key)
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

    def _from_text(
        self, node: Scalar, text: str, visible: Visible, wanted: str
    ) -> Template:
        parts: list[str | Reference | Computed] = []
        done = 0
        while (start := text.find("${", done)) >= 0:
            if start > done:
                parts.append(text[done:start])
            self._count += 1
            if self._count > EXPRESSIONS_MAX:
                message = f"more than {EXPRESSIONS_MAX:,} expressions; split the saga"
                self._findings.halt(node.at, Code.OVER_LIMIT, message)
            if plain := plain_path(text, start):
                self._check(node, plain.facts, visible)
                expression: Reference | Computed = Reference(plain.path, plain.source)
                is_whole = not parts and plain.end == len(text)
                done = plain.end
            else:
                try:
                    tree, done = parse(text, start + 2, "}")
                except Mistake as mistake:
                    self._note_mistake(node, mistake)
                    return Constant(None)
                source = text[start + 2 : done - 1].strip(" \t\n")
                is_whole = not parts and done == len(text)
                expression = self._expression(
                    node, source, tree, visible, wanted if is_whole else ""
                )
            if is_whole:
                return expression
            parts.append(expression)
        if done < len(text):
            parts.append(text[done:])
        return Interpolation(tuple(parts))

    def _expression(
        self, node: Scalar, source: str, tree: Tree, visible: Visible, wanted: str
    ) -> Reference | Computed:
        nothing = Reference((), source)
        path = path_of(tree)
        try:
            if path is not None:
                self._check(node, facts_of(tree), visible)
                return Reference(path, source)
            compiled = compile_tree(tree)
        except Mistake as mistake:
            fixed = _HYPHENATED.sub(r"['\1']", source)
            is_path = fixed != source and _is_path(fixed)
            self._note_mistake(node, mistake, f"${{{fixed}}}" if is_path else "")
            return nothing
        self._check(node, compiled.facts, visible)
        if wanted and compiled.kind not in ("", wanted):
            message = f"{wanted} is needed here, and this yields {compiled.kind}"
            self._note(node, tree.at, Code.TYPE_MISMATCH, message)
        reads = tuple(dict.fromkeys(read.step_id for read in compiled.facts.steps))
        return Computed(source, reads, compiled.program)

    def _note_key(self, at: int, key: str) -> None:
        if "}" in key[key.index("${") :]:
            message = "an expression is not possible in a key"
            self._findings.add(at, Code.NOT_AN_EXPRESSION, message)
        else:
            self._findings.add(at, Code.UNQUOTED_EXPRESSION, UNQUOTED_COLON)

    def _check(self, node: Scalar, facts: Facts, visible: Visible) -> None:
        """Note what is read that is not there, or not for certain."""
        for root, at in facts.roots:
            if root in _ITEM_ROOTS and not visible.has_item:
                message = f"{root!r} is there only in the input of a step with forEach"
                self._note(node, at, Code.UNKNOWN_NAME, message)
        for read in facts.steps:
            step_id = read.step_id
            position = visible.positions.get(step_id)
            if position is None:
                nearest = self._findings.nearest(step_id, visible.positions)
                message = f"there is no step {shown(step_id)}"
                self._note(node, read.at, Code.UNKNOWN_NAME, message, nearest)
            elif not visible.allowed >> position & 1:
                message = (
                    f"{visible.reader} reads the output of step {step_id!r}, which it "
                    "does not need, directly or through others; add it to 'needs'"
                )
                self._note(node, read.at, Code.NO_ANCESTOR, message)
            elif step_id in visible.silent:
                message = f"step {step_id!r} has no output: {visible.silent[step_id]}"
                self._note(node, read.at, Code.UNKNOWN_NAME, message)
            elif step_id in visible.may_be_absent and not read.is_guarded:
                output = f"{_step(step_id)}.output"
                message = (
                    f"step {step_id!r} may be skipped or fail, and then it has no "
                    f"output; say what holds then: has({output}) ? {output} : null"
                )
                self._note(node, read.at, Code.MAY_BE_ABSENT, message)
        for path in facts.paths:
            found = find(visible.known, path.parts)
            if isinstance(found, Missing):
                part = str(path.parts[found.depth])
                nearest = self._findings.nearest(part, found.fields)
                at = path.places[found.depth]
                self._note(node, at, Code.NO_SUCH_FIELD, found.message, nearest)

    def proves(self, node: Node) -> frozenset[str]:
        """The steps that have an output whenever this condition is true."""
        text = node.value if isinstance(node, Scalar) else None
        if not isinstance(text, str) or "has" not in text:
            return frozenset()
        try:
            tree, end = parse(text, 2, "}")
            return facts_of(tree).proves if end == len(text) else frozenset()
        except Mistake:
            return frozenset()

    def _note_mistake(
        self, node: Scalar, mistake: Mistake, suggestion: str = ""
    ) -> None:
        code = _CODES.get(type(mistake), Code.NOT_AN_EXPRESSION)
        suggestion = suggestion or mistake.suggestion
        self._note(node, mistake.at, code, mistake.message, suggestion)

    def _note(
        self, node: Scalar, at: int, code: Code, message: str, suggestion: str = ""
    ) -> None:
        """Note a finding where its cause stands in the text, not in the value."""
        self._findings.add(self._places.of(node, at), code, message, suggestion)


def _step(step_id: str) -> str:
    return f"steps['{step_id}']" if "-" in step_id else f"steps.{step_id}"


def _is_path(source: str) -> bool:
    try:
        return path_of(parse(source)[0]) is not None
    except Mistake:
        return False
