"""What an expression reads, found without evaluating it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from coordinator.saga_yaml.cel.nodes import (
    HEIGHT_MAX,
    Call,
    Chain,
    Conditional,
    DynamicStep,
    Has,
    Index,
    ListLiteral,
    Literal,
    Logic,
    Macro,
    MapLiteral,
    Name,
    Node,
    OverLimit,
    Select,
    Unary,
    UnknownName,
    path_of,
)

ROOTS: Final = ("input", "steps", "saga", "item", "index")
SAGA_NAMES: Final = ("gid", "startedAt")

_OUTPUT_DEPTH: Final = 3
_Known = frozenset[str]
_NOTHING: Final[_Known] = frozenset()


@dataclass(frozen=True, slots=True)
class StepRead:
    """One place that reads the output of a step.

    Attributes:
        at: offset in the source.
        is_guarded: the output is there whenever this place is evaluated, or it is
            only asked whether it is there.
    """

    step_id: str
    at: int
    is_guarded: bool


@dataclass(frozen=True, slots=True)
class PathRead:
    """One place that reads along a plain path, as far as its parts are written out.

    Attributes:
        parts: the root first.
        places: the offset of each part.
    """

    parts: tuple[str | int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an expression reads.

    Attributes:
        roots: every root with the offset of its first use.
        steps: every place that reads a step's output, in the order of the source.
        proves: the steps that have an output whenever the expression is true.
        paths: every path that is read.
    """

    roots: tuple[tuple[str, int], ...]
    steps: tuple[StepRead, ...]
    proves: frozenset[str]
    paths: tuple[PathRead, ...] = ()


def facts_of(node: Node, roots: Collection[str] = ROOTS) -> Facts:
    """The facts about a tree. Raises ``Mistake`` for a name that there is not."""
    reader = _Reader(roots)
    reader.read(node, _NOTHING, _NOTHING, 0)
    used = tuple(sorted(reader.roots.items(), key=lambda root: root[1]))
    steps = tuple(sorted(reader.steps, key=lambda step: step.at))
    return Facts(used, steps, _when(node, True), tuple(reader.paths))


class _Reader:
    def __init__(self, roots: Collection[str]) -> None:
        self._known = roots
        self.roots: dict[str, int] = {}
        self.steps: list[StepRead] = []
        self.paths: list[PathRead] = []

    def read(self, node: Node, there: _Known, variables: _Known, depth: int) -> None:
        """Note what a node reads.

        Args:
            there: the steps whose outputs are there when it is evaluated.
            variables: the names that macros around it have given.
            depth: how many nodes are around it.
        """
        if depth > HEIGHT_MAX:
            message = f"built higher than {HEIGHT_MAX} levels; make it flatter"
            raise OverLimit(node.at, message)
        depth += 1
        match node:
            case Select() | Index() | Name():
                self._path(node, there, variables, depth)
            case Has(field=field):
                step_id = _step_of(field) if "steps" not in variables else None
                self.read(
                    field, there | {step_id} if step_id else there, variables, depth
                )
            case Macro():
                self.read(node.target, there, variables, depth)
                within = variables | {node.variable}
                self.read(node.body, there, within, depth)
                if node.condition is not None:
                    self.read(node.condition, there, within, depth)
            case Logic(operator=operator, operands=operands):
                # The result stands without an operand when another one decides it.
                proved = [_when(child, operator == "&&") for child in operands]
                if "steps" in variables:
                    proved = [_NOTHING] * len(operands)
                for place, child in enumerate(operands):
                    others = (p for at, p in enumerate(proved) if at != place)
                    self.read(child, there.union(*others), variables, depth)
            case Conditional(condition=condition):
                is_hidden = "steps" in variables
                self.read(condition, there, variables, depth)
                for child, outcome in ((node.then, True), (node.otherwise, False)):
                    proof = _NOTHING if is_hidden else _when(condition, outcome)
                    self.read(child, there | proof, variables, depth)
            case _:
                for child in _children(node):
                    self.read(child, there, variables, depth)

    def _path(
        self, node: Select | Index | Name, there: _Known, hidden: _Known, depth: int
    ) -> None:
        """Go down to the name that a path begins with; read what stands in brackets."""
        parts: list[Select | Index] = []
        start: Node = node
        while isinstance(start, Select | Index):
            parts.append(start)
            start = start.operand
        parts.reverse()
        for part in parts:
            if isinstance(part, Index) and not isinstance(part.index, Literal):
                is_step = part is parts[0] and isinstance(start, Name)
                if is_step and start.name == "steps" and "steps" not in hidden:  # type: ignore[union-attr]
                    message = "the id of a step must be written out, not computed"
                    raise DynamicStep(part.at, f"{message}, so that it can be checked")
                self.read(part.index, there, hidden, depth)
        if not isinstance(start, Name):
            self.read(start, there, hidden, depth)
        elif start.name not in hidden:
            self._root(start, parts, there)

    def _root(self, root: Name, parts: list[Select | Index], there: _Known) -> None:
        name = root.name
        if name not in self._known:
            message = f"there is no {name[:60]!r}; an expression reads input, steps"
            raise UnknownName(root.at, f"{message} or saga", _near(name, self._known))
        self.roots.setdefault(name, root.at)
        self.paths.append(_path_read(root, parts))
        if name == "saga":
            _check_saga(root, parts)
        elif name == "steps":
            path = path_of(parts[1]) if len(parts) > 1 else None
            if path is None or path[2] != "output" or not isinstance(path[1], str):
                message = "of a step only its output can be read: steps.<id>.output"
                raise UnknownName(root.at, message)
            step_id = path[1]
            self.steps.append(StepRead(step_id, root.at, step_id in there))


def _path_read(root: Name, parts: list[Select | Index]) -> PathRead:
    written: list[tuple[str | int, int]] = [(root.name, root.at)]
    for part in parts:
        match part:
            case Select(at=at, field=field):
                written.append((field, at))
            case Index(at=at, index=Literal(value=str() | int() as value)):
                written.append((value, at))
            case _:
                break
    return PathRead(tuple(p for p, _ in written), tuple(at for _, at in written))


def _check_saga(root: Name, parts: list[Select | Index]) -> None:
    path = path_of(parts[0]) if parts else None
    if path is None:
        raise UnknownName(root.at, "of saga there is gid and startedAt")
    name = str(path[1])
    if name not in SAGA_NAMES:
        message = f"saga has no {name[:60]!r}; there is gid and startedAt"
        raise UnknownName(parts[0].at, message, _near(name, SAGA_NAMES))
    if len(parts) > 1:
        raise UnknownName(parts[1].at, f"saga.{name} has nothing below it")


def _near(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name[:60].lower(), known, n=1, cutoff=0.6)
    return close[0] if close else ""


def _when(node: Node, outcome: bool) -> _Known:
    """The steps that have an output whenever the node has this outcome."""
    match node:
        case Has(field=field):
            step_id = _step_of(field)
            return frozenset({step_id}) if outcome and step_id else _NOTHING
        case Unary(operator="!", operand=operand):
            return _when(operand, not outcome)
        case Logic(operator=operator, operands=operands):
            proofs = [_when(operand, outcome) for operand in operands]
            if outcome is (operator == "&&"):
                return frozenset().union(*proofs)
            return proofs[0].intersection(*proofs[1:])
        case _:
            return _NOTHING


def _step_of(node: Node) -> str | None:
    path = path_of(node)
    match path:
        case ("steps", str(step_id), "output", *_):
            return step_id
        case _:
            return None


def _children(node: Node) -> Iterator[Node]:
    match node:
        case Call(target=target, args=args):
            if target is not None:
                yield target
            yield from args
        case ListLiteral(items=items):
            yield from items
        case MapLiteral(entries=entries):
            for key, item in entries:
                yield key
                yield item
        case Unary(operand=operand):
            yield operand
        case Chain(first=first, links=links):
            yield first
            yield from (link.operand for link in links)
