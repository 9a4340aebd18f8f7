"""Small wrong changes to a module, one at a time: would its tests notice?

Each mutant changes one node of the syntax tree in a way that a person might by
mistake: a comparison, a condition turned round, a number off by one, a statement left
out, an answer forgotten. Annotations, decorators, messages and what the type checker
proves to be unreachable are left alone.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_TURNED_ROUND = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
"""Comparisons whose swap is their negation, so that they are not mutated twice."""

_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_LEFT_ALONE = ("annotation", "returns", "decorator_list", "bases")


@dataclass(frozen=True)
class Place:
    """Where a node hangs in its tree."""

    parent: ast.AST
    field: str
    index: int | None

    def put(self, node: ast.AST | None) -> None:
        """Hang another node there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True)
class Mutant:
    """One wrong change; ``apply`` makes it, for good, in the tree it came from."""

    function: str
    line: int
    before: str
    after: str
    place: Place
    node: ast.AST | None

    def apply(self, tree: ast.Module) -> None:
        """Make the change."""
        self.place.put(self.node)
        ast.fix_missing_locations(tree)

    def __str__(self) -> str:
        where = f"{self.function}: " if self.function else ""
        return f"{where}{self.before}  ->  {self.after}"


def mutants(tree: ast.Module) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its text."""
    for function, place, node in _places(tree, ""):
        for new in _changes(place, node):
            line = int(getattr(node, "lineno", 0))
            yield Mutant(function, line, _text(node), _text(new), place, new)


def _places(node: ast.AST, inside: str) -> Iterator[tuple[str, Place, ast.AST]]:
    """Every node that may be changed; ``inside``: of which function."""
    for field, value in ast.iter_fields(node):
        if field in _LEFT_ALONE or (_is_for_types(node) and field != "orelse"):
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            place = Place(node, field, index if isinstance(value, list) else None)
            if inside or not isinstance(child, ast.stmt):
                yield inside, place, child
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _places(child, child.name if is_function else inside)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Expr(ast.Constant(str())) | ast.JoinedStr():
            return True
        case ast.Expr(ast.Call(ast.Name("assert_never"))):
            return True
        case ast.Assign([ast.Name("__all__")]):
            return True
        case _:
            return False


def _is_for_types(node: ast.AST) -> bool:
    match node:
        case ast.If(ast.Name("TYPE_CHECKING")):
            return True
        case _:
            return False


def _changes(place: Place, node: ast.AST) -> Iterator[ast.AST | None]:
    yield from _of_values(node)
    if isinstance(node, ast.expr) and place.field in ("test", "guard", "ifs"):
        yield from _of_conditions(place, node)
    if isinstance(node, ast.stmt):
        yield from _of_statements(node)


def _of_values(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            for number, op in enumerate(node.ops):
                ops = list(node.ops)
                ops[number] = _COMPARISONS[type(op)]()
                yield ast.copy_location(
                    ast.Compare(node.left, ops, node.comparators), node
                )
        case ast.BoolOp(op, values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield ast.copy_location(ast.BoolOp(other, values), node)
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
            yield ast.copy_location(
                ast.BinOp(left, _ARITHMETIC[type(op)](), right), node
            )
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Constant(bool() as value):
            yield ast.copy_location(ast.Constant(not value), node)
        case ast.Constant(int() | float() as value):
            yield ast.copy_location(ast.Constant(value + 1), node)
            yield ast.copy_location(ast.Constant(value - 1), node)
        case ast.Name(name, ast.Load()) if name in _NAMES:
            yield ast.copy_location(ast.Name(_NAMES[name], ast.Load()), node)


def _of_conditions(place: Place, node: ast.expr) -> Iterator[ast.AST | None]:
    match node:
        case ast.UnaryOp(ast.Not()):
            pass
        case ast.Compare(ops=[op]) if isinstance(op, _TURNED_ROUND):
            pass
        case _:
            yield ast.copy_location(ast.UnaryOp(ast.Not(), node), node)
    if place.field == "guard":
        yield None


def _is_as_good_as_nothing(value: ast.expr) -> bool:
    """Whoever asks takes no answer for ``False``, and the type checker notices it."""
    is_constant = isinstance(value, ast.Constant)
    return is_constant and (value.value is None or value.value is False)


def _of_statements(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Return(ast.expr() as value):
            if not _is_as_good_as_nothing(value):
                yield ast.copy_location(ast.Return(None), node)
        case (
            ast.Expr()
            | ast.Assign()
            | ast.AugAssign()
            | ast.AnnAssign(value=ast.expr())
            | ast.Raise()
            | ast.Return()
            | ast.Continue()
        ):
            yield ast.copy_location(ast.Pass(), node)


def _text(node: ast.AST | None) -> str:
    return "nothing" if node is None else " ".join(ast.unparse(node).split())[:100]
