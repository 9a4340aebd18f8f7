"""From tree to program: functions inside functions, and what is known of the result.

The cost of an expression without macros is bounded by its length; a macro pays for
its body before each item, and operations on texts and lists pay for their length.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol, assert_never

from coordinator.core.definition import JsonValue
from coordinator.core.expressions import ExpressionFailed
from coordinator.saga_yaml.cel import kinds
from coordinator.saga_yaml.cel.functions import FUNCTIONS, Function
from coordinator.saga_yaml.cel.kinds import BOOL, INT, LIST, MAP, TEXT
from coordinator.saga_yaml.cel.macros import LOOPS, Loop, Runner
from coordinator.saga_yaml.cel.nodes import (
    HEIGHT_MAX,
    Call,
    Chain,
    Conditional,
    Has,
    Index,
    ListLiteral,
    Literal,
    Logic,
    Macro,
    MapLiteral,
    Name,
    Node,
    NotReadable,
    OverLimit,
    Select,
    TypeMismatch,
    Unary,
    WrongCall,
    path_of,
)
from coordinator.saga_yaml.cel.times import Moment, Span
from coordinator.saga_yaml.cel.values import (
    BUDGET,
    Run,
    TooCostly,
    Value,
    add,
    check_size,
    divide,
    is_in,
    is_less,
    is_same,
    kept,
    kind_of,
    multiply,
    negate,
    remainder,
    subtract,
)


class Part(NamedTuple):
    """A compiled node: what runs, the kind of what it gives, and the steps it takes."""

    run: Runner
    kind: str
    cost: int


class Program(Protocol):
    """A compiled expression: pure, total and bounded."""

    def __call__(self, values: Mapping[str, JsonValue]) -> JsonValue:
        """The value of the expression. Raises ``ExpressionFailed``."""


def program_of(node: Node) -> tuple[Program, str]:
    """The program of a tree, and the kind of its result. Raises ``Mistake``."""
    programmer = _Programmer()
    part = programmer.part(node, {}, 0)
    if part.kind in (kinds.MOMENT, kinds.SPAN):
        message = f"the result is {part.kind}, which JSON has not; use string()"
        raise TypeMismatch(node.at, message)
    slots, is_made = programmer.slots, programmer.makes

    def program(values: Mapping[str, JsonValue]) -> JsonValue:
        try:
            result = _as_json(part.run(Run(values, slots)), "the result")
        except TooCostly:
            message = f"takes more than {BUDGET:,} steps; let a participant compute it"
            raise ExpressionFailed(message) from None
        if is_made:
            check_size(result)
        return result

    return program, part.kind


def _as_json(value: Value, what: str) -> JsonValue:
    if isinstance(value, Moment | Span):
        message = f"{what} is {kind_of(value)}, which JSON has not; use string()"
        raise ExpressionFailed(message)
    return value


class _Programmer:
    """Compiles the nodes of one tree.

    Attributes:
        slots: how many variables of macros are there at a time.
        makes: the result may be larger than what is read.
    """

    def __init__(self) -> None:
        self.slots = 0
        self.makes = False

    def part(  # noqa: C901, PLR0912 - one case for each kind of node
        self, node: Node, scope: Mapping[str, int], depth: int
    ) -> Part:
        """A node as a part; ``scope`` has the slots of the macros' variables."""
        if depth > HEIGHT_MAX:
            message = f"built higher than {HEIGHT_MAX} levels; make it flatter"
            raise OverLimit(node.at, message)

        self.makes |= isinstance(node, ListLiteral | MapLiteral | Macro | Chain)

        def inner(child: Node) -> Part:
            return self.part(child, scope, depth + 1)

        match node:
            case Literal():
                return _literal(node)
            case Name():
                return _name(node, scope)
            case Select():
                return _select(node, inner(node.operand), scope)
            case Index():
                return _index(node, inner(node.operand), inner(node.index))
            case Has():
                return _has(inner(node.field))
            case Call():
                target = () if node.target is None else (inner(node.target),)
                return _call(node, (*target, *map(inner, node.args)))
            case Macro():
                return self._macro(node, scope, depth)
            case ListLiteral():
                return _list(tuple(map(inner, node.items)))
            case MapLiteral():
                pairs = tuple((inner(key), inner(item)) for key, item in node.entries)
                return _map(node, pairs)
            case Unary():
                return _unary(node, inner(node.operand))
            case Chain():
                return _chain(node, inner)
            case Logic():
                return _logic(node, tuple(map(inner, node.operands)))
            case Conditional():
                parts = inner(node.condition), inner(node.then), inner(node.otherwise)
                return _conditional(node, *parts)
            case _:
                assert_never(node)

    def _macro(self, node: Macro, scope: Mapping[str, int], depth: int) -> Part:
        target = self.part(node.target, scope, depth + 1)
        kinds.demand(node.at, target.kind, (LIST, MAP), node.kind)
        slot = max(scope.values(), default=-1) + 1
        self.slots = max(self.slots, slot + 1)
        within = {**scope, node.variable: slot}
        body = self.part(node.body, within, depth + 1)
        condition = None
        if node.condition is not None:
            condition = self.part(node.condition, within, depth + 1)
            kinds.demand(node.condition.at, condition.kind, (BOOL,), node.kind)
        elif node.kind != "map":
            kinds.demand(node.body.at, body.kind, (BOOL,), node.kind)
        cost = 2 + body.cost + (condition.cost if condition else 0)
        loop = Loop(
            node.kind,
            target.run,
            slot,
            cost,
            body.run,
            condition.run if condition else None,
        )
        kind = LIST if node.kind in ("map", "filter") else BOOL
        return Part(LOOPS[node.kind](loop), kind, target.cost + cost + 4)


# -- reading -------------------------------------------------------------------------

_ROOT_KINDS: Final = {"steps": MAP, "saga": MAP, "index": INT}
_SAGA_KINDS: Final = {"gid": TEXT, "startedAt": INT}


def _literal(node: Literal) -> Part:
    value = node.value
    return Part(lambda _run: value, kind_of(value), 1)


def _name(node: Name, scope: Mapping[str, int]) -> Part:
    name = node.name
    if (slot := scope.get(name)) is not None:
        return Part(lambda run: run.slots[slot], "", 1)

    def root(run: Run) -> Value:
        if name not in run.roots:
            raise ExpressionFailed(f"there is no {name!r} here")
        return kept(run.roots[name])

    return Part(root, _ROOT_KINDS.get(name, ""), 1)


def _select(node: Select, operand: Part, scope: Mapping[str, int]) -> Part:
    field, read, where = node.field, operand.run, _described(node.operand)
    kinds.demand(node.at, operand.kind, (MAP,), f".{field}")

    def select(run: Run) -> Value:
        value = read(run)
        if type(value) is dict and field in value:
            return kept(value[field])
        raise ExpressionFailed(f"{where} is {kind_of(value)} without {field!r}")

    is_saga = path_of(node.operand) == ("saga",) and "saga" not in scope
    return Part(select, _SAGA_KINDS.get(field, "") if is_saga else "", operand.cost + 3)


def _index(node: Index, operand: Part, index: Part) -> Part:
    kinds.demand(node.at, operand.kind, (LIST, MAP), "[ ]")
    kinds.demand(node.at, index.kind, (INT, kinds.DOUBLE, TEXT), "[ ]")
    read, read_index, where = operand.run, index.run, _described(node.operand)
    literal = node.index.value if isinstance(node.index, Literal) else None
    what = repr(literal) if literal is not None else "what its index names"

    def item(run: Run) -> Value:
        value, part = read(run), read_index(run)
        if isinstance(part, float) and part.is_integer():
            part = int(part)
        if type(value) is dict and isinstance(part, str):
            if part in value:
                return kept(value[part])
        elif type(value) is list and type(part) is int:
            if 0 <= part < len(value):
                return kept(value[part])
        else:
            kind = kind_of(value)
            raise ExpressionFailed(
                f"{where} is {kind}, and {kind_of(part)} is no index"
            )
        raise ExpressionFailed(f"{where} is {kind_of(value)} without {what}")

    return Part(item, "", operand.cost + index.cost + 3)


def _described(node: Node) -> str:
    path = path_of(node)
    return ".".join(map(str, path)) if path else "the value here"


def _has(field: Part) -> Part:
    read = field.run

    def has(run: Run) -> Value:
        try:
            read(run)
        except ExpressionFailed:
            return False
        return True

    return Part(has, BOOL, field.cost + 4)


# -- calling and making --------------------------------------------------------------


def _call(node: Call, args: tuple[Part, ...]) -> Part:
    name = node.function
    function = FUNCTIONS[name]
    if not (function.is_global if node.target is None else function.is_method):
        raise _wrong_call(node, function)
    if len(args) not in function.counts:
        counts = " or ".join(str(n - function.is_method) for n in function.counts)
        given = len(node.args)
        raise WrongCall(node.at, f"{name} takes {counts} arguments, not {given}")
    if function.takes:
        kinds.demand(node.at, args[0].kind, sorted(function.takes), name)
    cost = function.price + sum(arg.cost for arg in args)
    kind = function.gives or args[0].kind
    run = function.run
    if len(args) == 1:
        only = args[0].run
        return Part(lambda r: run(r, only(r)), kind, cost)
    runs = [arg.run for arg in args]
    return Part(lambda r: run(r, *(arg(r) for arg in runs)), kind, cost)


def _wrong_call(node: Call, function: Function) -> WrongCall:
    name = node.function
    right = f"{name}(x)" if function.is_global else f"x.{name}(...)"
    return WrongCall(node.at, f"{name} is called as {right}")


def _list(items: tuple[Part, ...]) -> Part:
    runs = [item.run for item in items]

    def make(run: Run) -> Value:
        return [_as_json(item(run), "an item of a list") for item in runs]

    return Part(make, LIST, 2 + sum(item.cost + 1 for item in items))


def _map(node: MapLiteral, entries: tuple[tuple[Part, Part], ...]) -> Part:
    known = set()
    for (key, _), (part, _) in zip(node.entries, entries, strict=True):
        kinds.demand(key.at, part.kind, (TEXT,), "a key of a map")
        if isinstance(key, Literal):
            if key.value in known:
                raise NotReadable(key.at, f"the key {key.value!r} stands here twice")
            known.add(key.value)
    runs = [(key.run, item.run) for key, item in entries]

    def make(run: Run) -> Value:
        made: dict[str, JsonValue] = {}
        for read_key, read in runs:
            key = read_key(run)
            if not isinstance(key, str):
                raise ExpressionFailed(f"a key of a map is {kind_of(key)}, not a text")
            if key in made:
                raise ExpressionFailed("a map has the same key twice")
            made[key] = _as_json(read(run), "a value of a map")
        return made

    cost = 2 + sum(key.cost + item.cost + 2 for key, item in entries)
    return Part(make, MAP, cost)


# -- operators -----------------------------------------------------------------------


def _unary(node: Unary, operand: Part) -> Part:
    read = operand.run
    if node.operator == "-":
        kinds.demand(node.at, operand.kind, (INT, kinds.DOUBLE), "'-'")
        return Part(lambda r: negate(read(r)), operand.kind, operand.cost + 3)
    kinds.demand(node.at, operand.kind, (BOOL,), "'!'")
    return Part(lambda r: not _truth(read(r), "'!'"), BOOL, operand.cost + 2)


def _truth(value: Value, who: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ExpressionFailed(f"{who} takes a boolean, not {kind_of(value)}")


_OPERATORS: Final[Mapping[str, Callable[[Run, Value, Value], Value]]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
    "==": is_same,
    "!=": lambda run, left, right: not is_same(run, left, right),
    "in": is_in,
    "<": lambda run, left, right: is_less(run, left, "<", right),
    "<=": lambda run, left, right: is_less(run, left, "<=", right),
    ">": lambda run, left, right: is_less(run, left, ">", right),
    ">=": lambda run, left, right: is_less(run, left, ">=", right),
}


def _chain(node: Chain, inner: Callable[[Node], Part]) -> Part:
    first = inner(node.first)
    kind, cost = first.kind, first.cost
    links: list[tuple[Callable[[Run, Value, Value], Value], Runner]] = []
    for link in node.links:
        operand = inner(link.operand)
        kind = kinds.kind_of_link(link.at, kind, link.operator, operand.kind)
        cost += operand.cost + 3
        links.append((_OPERATORS[link.operator], operand.run))
    read = first.run
    if len(links) == 1:
        operate, other = links[0]
        return Part(lambda r: operate(r, read(r), other(r)), kind, cost)

    def fold(run: Run) -> Value:
        value = read(run)
        for operate, operand in links:
            value = operate(run, value, operand(run))
        return value

    return Part(fold, kind, cost)


def _logic(node: Logic, operands: tuple[Part, ...]) -> Part:
    """One operand decides whatever the others are, so a failure of theirs is lost."""
    operator = f"{node.operator!r}"
    for part, operand in zip(operands, node.operands, strict=True):
        kinds.demand(operand.at, part.kind, (BOOL,), operator)
    runs = [operand.run for operand in operands]
    deciding = node.operator == "||"

    def logic(run: Run) -> Value:
        failure: ExpressionFailed | None = None
        for operand in runs:
            try:
                if _truth(operand(run), operator) is deciding:
                    return deciding
            except ExpressionFailed as failed:
                failure = failure or failed
        if failure is not None:
            raise failure
        return not deciding

    return Part(logic, BOOL, 1 + sum(operand.cost + 2 for operand in operands))


def _conditional(
    node: Conditional, condition: Part, then: Part, otherwise: Part
) -> Part:
    kinds.demand(node.at, condition.kind, (BOOL,), "'?'")
    ask, yes, no = condition.run, then.run, otherwise.run

    def choose(run: Run) -> Value:
        return yes(run) if _truth(ask(run), "'?'") else no(run)

    cost = 1 + condition.cost + then.cost + otherwise.cost
    return Part(choose, kinds.common(then.kind, otherwise.kind), cost)
