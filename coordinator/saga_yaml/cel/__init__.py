"""CEL, the Common Expression Language, over JSON: what stands inside ``${ }``.

Pure: no file, no host, no clock, and the same result everywhere. Bounded: in length,
depth and parts when it is compiled, and by a budget of steps when it is evaluated, so
that no expression on no input takes more than some tens of milliseconds.
"""

from collections.abc import Collection
from dataclasses import dataclass

from coordinator.saga_yaml.cel.facts import ROOTS, Facts, PathRead, StepRead, facts_of
from coordinator.saga_yaml.cel.nodes import (
    LENGTH_MAX,
    DynamicStep,
    Mistake,
    NotReadable,
    OverLimit,
    TypeMismatch,
    UnknownName,
    WrongCall,
    path_of,
)
from coordinator.saga_yaml.cel.nodes import Node as Tree
from coordinator.saga_yaml.cel.parser import parse
from coordinator.saga_yaml.cel.programs import Program, program_of

__all__ = [
    "LENGTH_MAX",
    "ROOTS",
    "Compiled",
    "DynamicStep",
    "Facts",
    "Mistake",
    "NotReadable",
    "OverLimit",
    "PathRead",
    "Program",
    "StepRead",
    "Tree",
    "TypeMismatch",
    "UnknownName",
    "WrongCall",
    "compile_expression",
    "compile_tree",
    "facts_of",
    "parse",
    "path_of",
]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled expression.

    Attributes:
        program: pure; the same values give the same result.
        facts: what it reads.
        kind: of its result, such as ``a boolean``; empty when the values decide.
    """

    program: Program
    facts: Facts
    kind: str


def compile_expression(source: str, roots: Collection[str] = ROOTS) -> Compiled:
    """Compile an expression. Raises ``Mistake``, and nothing else for any text."""
    node, _ = parse(source)
    return compile_tree(node, roots)


def compile_tree(node: Tree, roots: Collection[str] = ROOTS) -> Compiled:
    """Compile a parsed expression. Raises ``Mistake``."""
    facts = facts_of(node, roots)
    program, kind = program_of(node)
    return Compiled(program, facts, kind)
