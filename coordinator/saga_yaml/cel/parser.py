"""From text to tree: the grammar of CEL, without what JSON cannot hold.

Recursive, and bounded before it recurses: no text exhausts the stack.
"""

from typing import Final

from coordinator.core.definition import JsonScalar
from coordinator.saga_yaml.cel.functions import MACROS, check_function
from coordinator.saga_yaml.cel.nodes import (
    DEPTH_MAX,
    LENGTH_MAX,
    NODES_MAX,
    PATH_PARTS_MAX,
    Call,
    Chain,
    Conditional,
    Has,
    Index,
    Link,
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
    Unary,
    WrongCall,
)
from coordinator.saga_yaml.cel.tokens import INTEGER_MAX, Token, tokens

_RANKS: Final = (
    ("==", "!=", "<", "<=", ">", ">=", "in"),
    ("+", "-"),
    ("*", "/", "%"),
)
_RESERVED: Final = frozenset(
    {
        *("as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var"),
        *("void", "while"),
    }
)
_INSTEAD: Final = {"and": "&&", "or": "||", "not": "!", "is": "=="}
_MAP_ARGS: Final = (2, 3)


def parse(text: str, start: int = 0, closing: str = "") -> tuple[Node, int]:
    """The tree of the expression that begins at ``start``, and the place behind it.

    Args:
        closing: the sign that ends it, such as ``}``; empty = the end of the text.

    Raises ``Mistake``, and nothing else for any text.
    """
    return _Parser(text, start, closing).whole()


class _Parser:
    def __init__(self, text: str, start: int, closing: str) -> None:
        if not closing and len(text) - start > LENGTH_MAX:
            raise _too_long(start)
        self._end = min(len(text), start + LENGTH_MAX + 1)
        self._is_cut = self._end < len(text)
        self._start = start
        self._closing = closing
        self._tokens = tokens(text, start, self._end)
        self._count = 0
        self._depth = 0
        self._token = Token("end", start, "")
        self._next()

    def whole(self) -> tuple[Node, int]:
        token = self._token
        if self._ends(token):
            raise NotReadable(token.at, "an expression was expected here")
        node = self._expression()
        token = self._token
        if not self._ends(token):
            raise self._unexpected("an operator")
        if self._closing and token.kind == "end":
            message = f"no {self._closing!r} closes the expression that begins here"
            raise NotReadable(max(self._start - 2, 0), message)
        return node, token.at + len(token.text)

    def _ends(self, token: Token) -> bool:
        if token.kind == "end":
            return True
        return bool(self._closing) and token.text == self._closing != ""

    # -- tokens ------------------------------------------------------------------

    def _next(self) -> Token:
        """The token that stood here; goes on to the next."""
        token = self._token
        self._token = next(self._tokens)
        if self._token.kind == "end" and self._is_cut:
            raise _too_long(self._start)
        return token

    def _is(self, *signs: str) -> bool:
        token = self._token
        return token.kind != "literal" and token.text in signs

    def _accept(self, sign: str) -> bool:
        if not self._is(sign):
            return False
        self._next()
        return True

    def _expect(self, sign: str, opened: int = -1) -> None:
        if self._accept(sign):
            return
        if opened >= 0 and self._ends(self._token):
            raise NotReadable(opened, f"no {sign!r} closes what begins here")
        raise self._unexpected(f"{sign!r}")

    def _unexpected(self, expected: str) -> NotReadable:
        token = self._token
        found = repr(token.text[:40]) if token.text else "the end"
        instead = _INSTEAD.get(token.text, "")
        message = f"{expected} was expected here, not {found}"
        return NotReadable(token.at, message, instead)

    def _made(self, node: Node) -> Node:
        self._count += 1
        if self._count > NODES_MAX:
            message = f"more than {NODES_MAX:,} parts; make the expression smaller"
            raise OverLimit(self._start, message)
        return node

    def _deepen(self, levels: int) -> None:
        self._depth += levels
        if self._depth > DEPTH_MAX:
            message = f"nested deeper than {DEPTH_MAX} levels; make it flatter"
            raise OverLimit(self._token.at, message)

    # -- operators ---------------------------------------------------------------

    def _expression(self) -> Node:
        self._deepen(1)
        condition = self._logic("||", "&&")
        at = self._token.at
        if self._accept("?"):
            then = self._logic("||", "&&")
            self._expect(":")
            otherwise = self._expression()
            condition = self._made(Conditional(at, condition, then, otherwise))
        self._depth -= 1
        return condition

    def _logic(self, operator: str, tighter: str = "") -> Node:
        operands = []
        at = self._token.at
        while True:
            operands.append(self._logic(tighter) if tighter else self._chain(0))
            if not self._accept(operator):
                break
        if len(operands) == 1:
            return operands[0]
        return self._made(Logic(at, operator, tuple(operands)))

    def _chain(self, rank: int) -> Node:
        if rank == len(_RANKS):
            return self._unary()
        first = self._chain(rank + 1)
        links = []
        while self._is(*_RANKS[rank]):
            token = self._next()
            links.append(Link(token.at, token.text, self._chain(rank + 1)))
        if not links:
            return first
        self._count += len(links) - 1
        return self._made(Chain(links[0].at, first, tuple(links)))

    def _unary(self) -> Node:
        signs: list[Token] = []
        while self._is("!", "-"):
            if signs and self._token.text != signs[-1].text:
                raise self._unexpected("a value")
            signs.append(self._next())
        token = self._token
        if not signs:
            return self._checked(self._member())
        depth = len(signs)
        self._deepen(depth)
        if signs[-1].text == "-" and type(token.value) in (int, float):
            # A sign before a number belongs to the number.
            sign = signs.pop()
            self._token = Token("literal", sign.at, token.text, -token.value)  # type: ignore[operator]
        node = self._checked(self._member())
        for sign in reversed(signs):
            node = self._made(Unary(sign.at, sign.text, node))
        self._depth -= depth
        return node

    def _checked(self, node: Node) -> Node:
        value = node.value if isinstance(node, Literal) else None
        if type(value) is int and value > INTEGER_MAX:
            message = "an integer beyond 64 bits is not kept exactly"
            raise NotReadable(node.at, message)
        return node

    # -- values ------------------------------------------------------------------

    def _member(self) -> Node:
        node = self._primary()
        parts = 0
        while True:
            opened = self._token.at
            if self._accept("."):
                node = self._selected(node)
            elif self._accept("["):
                at = self._token.at
                index = self._expression()
                self._expect("]", opened)
                if isinstance(index, Literal) and _is_negative(index.value):
                    raise NotReadable(at, "the items of a list are counted from 0")
                node = self._made(Index(at, node, index))
            else:
                return node
            parts += 1
            if parts >= PATH_PARTS_MAX:
                message = f"a path of more than {PATH_PARTS_MAX} parts"
                raise OverLimit(self._token.at, message)

    def _selected(self, operand: Node) -> Node:
        token = self._token
        if not token.text[:1].isidentifier() or token.text[-1:] in "\"'":
            raise self._unexpected("the name of a field")
        self._next()
        opened = self._token.at
        if not self._accept("("):
            return self._made(Select(token.at, operand, token.text))
        if token.text in MACROS:
            return self._macro(token, operand, opened)
        check_function(token.at, token.text)
        args = self._items(")", opened)
        return self._made(Call(token.at, token.text, operand, args))

    def _macro(self, name: Token, target: Node, opened: int) -> Node:
        variable = self._token
        args = self._items(")", opened)
        known = isinstance(args[0], Name) if args else False
        wanted = _MAP_ARGS if name.text == "map" else (2,)
        if not known or len(args) not in wanted:
            message = (
                f"{name.text} takes the name of a variable and an expression with it, "
                f"such as .{name.text}(x, x > 0)"
            )
            raise WrongCall(name.at, message)
        body, condition = args[-1], args[1] if len(args) == _MAP_ARGS[1] else None
        macro = Macro(name.at, name.text, target, variable.text, body, condition)
        return self._made(macro)

    def _items(self, closing: str, opened: int) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._is(closing):
            items.append(self._expression())
            if not self._accept(","):
                break
        self._expect(closing, opened)
        return tuple(items)

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "literal":
            self._next()
            return self._made(Literal(token.at, token.value))
        if token.kind == "name" and token.text != "in":
            return self._named()
        if self._accept("("):
            node = self._expression()
            self._expect(")", token.at)
            return node
        if self._accept("["):
            return self._made(ListLiteral(token.at, self._items("]", token.at)))
        if self._accept("{"):
            return self._made(self._map(token.at))
        raise self._unexpected("a value")

    def _named(self) -> Node:
        token = self._next()
        if token.text in _RESERVED:
            message = f"{token.text!r} is a reserved word; it cannot be a name"
            raise NotReadable(token.at, message)
        opened = self._token.at
        if not self._accept("("):
            return self._made(Name(token.at, token.text))
        if token.text != "has":
            check_function(token.at, token.text)
        args = self._items(")", opened)
        if token.text != "has":
            return self._made(Call(token.at, token.text, None, args))
        if len(args) != 1 or not isinstance(args[0], Select):
            message = "has takes one field, such as has(input.customer.name)"
            raise WrongCall(token.at, message)
        return self._made(Has(token.at, args[0]))

    def _map(self, opened: int) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self._is("}"):
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression()))
            if not self._accept(","):
                break
        self._expect("}", opened)
        return MapLiteral(opened, tuple(entries))


def _too_long(at: int) -> OverLimit:
    return OverLimit(at, f"an expression of more than {LENGTH_MAX:,} characters")


def _is_negative(value: JsonScalar) -> bool:
    return type(value) is int and value < 0
