"""Reads YAML's flow style: what stands between brackets, and JSON."""

from typing import Final, NoReturn

from coordinator.saga_yaml.findings import Code, Findings, shown
from coordinator.saga_yaml.patterns import (
    BLANKS,
    DOUBLE_QUOTED,
    END,
    FLOW_GAP,
    INDENT,
    PLAIN_FLOW,
    PLAIN_START_FLOW,
    PROPERTY,
    SINGLE_QUOTED,
    SPACE,
    UNQUOTED,
    WORD_FLOW,
    past,
)
from coordinator.saga_yaml.scalars import fold_breaks, resolve_plain, unquote_double
from coordinator.saga_yaml.tree import Broken, ListNode, MapNode, Node, Scalar

DEPTH_MAX: Final = 32
NODES_MAX: Final = 20_000
KEY_LENGTH_MAX: Final = 1024

UNQUOTED_COLON: Final = (
    "quote the expression: YAML reads ': ' as the end of a key; or write it without a "
    "blank behind the colon"
)

_WHAT = {"&": "an anchor", "*": "an alias", "!": "a tag"}


class FlowReader:
    """Reads what stands between brackets, and all scalars but the block ones.

    ``_pos`` is the place behind what was read last.
    """

    def __init__(self, text: str, findings: Findings) -> None:
        self._text = text + END
        self._findings = findings
        self._nodes = 0
        self._pos = 0
        self._col = 0

    def _fail(self, at: int, message: str) -> NoReturn:
        self._findings.halt(at, Code.NOT_YAML, f"not YAML 1.2: {message}")

    def _count(self, at: int, depth: int) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            message = f"more than {NODES_MAX:,} values; split the saga"
            self._findings.halt(at, Code.OVER_LIMIT, message)
        if depth > DEPTH_MAX:
            message = f"nested deeper than {DEPTH_MAX} levels; make it flatter"
            self._findings.halt(at, Code.OVER_LIMIT, message)

    def _blanks(self, pos: int) -> int:
        return past(BLANKS, self._text, pos)

    def _here(self, at: int) -> str:
        char = self._text[at]
        return {END: "the end of the text", "\n": "the end of the line"}.get(
            char, repr(char)
        )

    def _plain(self, at: int, text: str) -> Node:
        try:
            value = resolve_plain(text)
        except ValueError as error:
            message = f"{error}; quote it to make it text: {shown(text)}"
            self._findings.add(at, Code.WRONG_VALUE, message)
            return Broken(at)
        return Scalar(at, value, text)

    def _quoted(self, pos: int) -> tuple[Node, int]:
        char = self._text[pos]
        pattern = DOUBLE_QUOTED if char == '"' else SINGLE_QUOTED
        found = pattern.match(self._text, pos)
        if found is None:
            self._fail(pos, f"the quotation that begins here has no closing {char}")
        if char == "'":
            return Scalar(pos, fold_breaks(found[1]).replace("''", "'")), found.end()
        try:
            value = unquote_double(found[1])
        except ValueError as error:
            self._fail(pos, f"{error}; in single quotes a backslash is plain")
        return Scalar(pos, value), found.end()

    def _to_line_of_plain(self, pos: int) -> None:
        """Over blank lines only; the column counts spaces."""
        text = self._text
        end = past(SPACE, text, pos)
        line = text.rfind("\n", pos, end) + 1
        self._pos = end
        self._col = INDENT.match(text, line).end() - line  # type: ignore[union-attr]

    def _continued(self, behind: int, end: int) -> tuple[str, str]:
        """How a further line of plain text joins the one that ended at ``behind``."""
        breaks = self._text.count("\n", behind, self._pos)
        joint = " " if breaks == 1 else "\n" * (breaks - 1)
        return joint, self._text[self._pos : end]

    def _enter(self, node: MapNode, key: Node, value: Node) -> None:
        """Put an entry into a map, unless its key may not be there."""
        at = key.at
        if not isinstance(key, Scalar):
            return
        if not isinstance(key.value, str):
            message = f"a key is text; quote it: {shown(key.raw)}"
            self._findings.add(at, Code.WRONG_TYPE, message)
        elif len(key.value) > KEY_LENGTH_MAX:
            message = f"a key longer than {KEY_LENGTH_MAX:,} characters"
            self._findings.add(at, Code.OVER_LIMIT, message)
        elif key.raw == "<<":
            message = "a merge key is not used here; write the entries out"
            self._findings.add(at, Code.ALIAS_OR_TAG, message)
        elif key.value in node.entries:
            message = f"the key {shown(key.value)} stands here twice; drop one"
            self._findings.add(at, Code.DUPLICATE_KEY, message)
        else:
            node.entries[key.value] = value
            node.key_at[key.value] = at

    # -- flow style --------------------------------------------------------------

    def _flow_node(self, pos: int, depth: int) -> Node:
        """A value inside brackets, or brackets; ``pos`` is right behind it then."""
        text = self._text
        char = text[pos]
        self._count(pos, depth)
        if char == "{":
            return self._flow_map(pos, depth)
        if char == "[":
            return self._flow_list(pos, depth)
        if char in "\"'":
            node, self._pos = self._quoted(pos)
            return node
        if char in "&!*":
            behind = self._flow_gap(self._property(pos))
            self._pos = behind
            if char != "*" and text[behind] not in ",]}:":
                inner = self._flow_node(behind, depth + 1)
                if not isinstance(inner, Scalar):
                    return inner
            return Broken(pos)
        return self._flow_plain(pos)

    def _flow_gap(self, pos: int) -> int:
        text = self._text
        if text[pos] == " ":
            pos += 1
        if text[pos] in " \t\n" or (text[pos] == "#" and text[pos - 1] in " \t\n"):
            return past(FLOW_GAP, text, pos)
        return pos

    def _flow_plain(self, pos: int) -> Node:
        text = self._text
        if word := WORD_FLOW.match(text, pos):
            self._pos = word.end()
            return self._plain(pos, word[0])
        if not PLAIN_START_FLOW.match(text, pos):
            self._fail(pos, f"a value was expected here, not {self._here(pos)}")
        end = past(PLAIN_FLOW, text, pos)
        parts = [text[pos:end]]
        if text[end] == "{" and text[end - 1] == "$":
            return self._unquoted_expression(pos, end)
        if text[end] in ",]}:":
            self._pos = end
            return self._plain(pos, parts[0])
        while text[behind := self._blanks(end)] == "\n":
            self._to_line_of_plain(behind)
            line_end = past(PLAIN_FLOW, text, self._pos)
            if text[self._pos] == "#" or line_end == self._pos:
                break
            end = line_end
            parts += self._continued(behind, end)
        self._pos = end
        return self._plain(pos, "".join(parts))

    def _unquoted_expression(self, pos: int, behind: int) -> Broken:
        self._pos = past(UNQUOTED, self._text, behind)
        message = (
            "an expression inside { } or [ ] must be quoted, because YAML reads its "
            f'braces: "{self._text[pos : self._pos][:80]}"'
        )
        self._findings.add(pos, Code.UNQUOTED_EXPRESSION, message)
        return Broken(pos)

    def _flow_list(self, pos: int, depth: int) -> ListNode:
        text = self._text
        node = ListNode(pos)
        here = self._flow_entry(pos + 1, pos)
        while text[here] != "]":
            item = self._flow_node(here, depth + 1)
            behind = self._flow_gap(self._pos)
            if text[behind] == ":" and isinstance(item, Scalar):
                # One pair without braces: [key: value].
                pair = MapNode(item.at)
                value, behind = self._flow_value(behind, depth + 2)
                self._enter(pair, item, value)
                item = pair
            node.items.append(item)
            here = self._flow_next(behind, pos, "]")
        self._pos = here + 1
        return node

    def _flow_map(self, pos: int, depth: int) -> MapNode:
        text = self._text
        node = MapNode(pos)
        here = self._flow_entry(pos + 1, pos)
        while text[here] != "}":
            if text[here] == "?" and text[here + 1] in " \t\n":
                self._fail(here, "'?' keys are not used here; write 'key: value'")
            key = self._flow_node(here, depth + 1)
            behind = self._flow_gap(self._pos)
            value: Node = Scalar(here, None)
            if isinstance(key, ListNode | MapNode):
                self._fail(here, "a key is text, not a list or map")
            if text[behind] == ":":
                value, behind = self._flow_value(behind, depth + 1)
            self._enter(node, key, value)
            here = self._flow_next(behind, pos, "}")
        self._pos = here + 1
        return node

    def _flow_value(self, colon: int, depth: int) -> tuple[Node, int]:
        """What stands behind a colon in brackets, and the place of what follows."""
        pos = self._flow_gap(colon + 1)
        if self._text[pos] in ",]}":
            self._count(pos, depth)
            return Scalar(pos, None), pos
        node = self._flow_node(pos, depth)
        return node, self._flow_gap(self._pos)

    def _flow_next(self, pos: int, opened: int, closing: str) -> int:
        """Over a comma, to the next entry or the closing bracket."""
        char = self._text[pos]
        if char == closing:
            return pos
        if char == ",":
            return self._flow_entry(pos + 1, opened)
        if char == END:
            self._unclosed(opened)
        found = self._here(pos)
        return self._fail(pos, f"',' or {closing!r} was expected here, not {found}")

    def _flow_entry(self, pos: int, opened: int) -> int:
        """The place where the next entry begins, or the closing bracket stands."""
        here = self._flow_gap(pos)
        if self._text[here] == END:
            self._unclosed(opened)
        return here

    def _unclosed(self, opened: int) -> NoReturn:
        bracket = self._text[opened]
        closing = "]" if bracket == "[" else "}"
        self._fail(opened, f"{bracket!r} is never closed by {closing!r}")

    def _property(self, pos: int) -> int:
        """Note an anchor, alias or tag; the place behind it."""
        end = past(PROPERTY, self._text, pos)
        written = self._text[pos:end]
        what = _WHAT[written[0]]
        message = f"{what} is not used here: {shown(written)}; write the value out"
        self._findings.add(pos, Code.ALIAS_OR_TAG, message)
        return end
