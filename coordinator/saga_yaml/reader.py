"""Reads YAML 1.2 safely: one pass, linear time, bounded depth and nodes.

General YAML libraries in Python take seconds for a hostile 256 KiB and minutes for
one of nested brackets, and they run aliases and tags before anybody can refuse
them. This reader knows the part of YAML 1.2 that describes data (block and flow
collections, the five scalar styles, comments, one document; JSON is included) and
notes a finding for the rest. Tests compare it with ruamel.yaml.

Aliases, anchors, tags, merge keys and duplicate keys are noted and passed over, so
that the checks behind go on; after an error of syntax nothing more is read.
"""

from typing import Final

from coordinator.saga_yaml.findings import Code, Findings
from coordinator.saga_yaml.flow import UNQUOTED_COLON, FlowReader
from coordinator.saga_yaml.patterns import (
    BLOCK_HEADER,
    COLON,
    DIRECTIVE,
    DOUBLE_QUOTED,
    END,
    GAP,
    INDENT,
    ITEM,
    MARKER,
    PLAIN_BLOCK,
    PLAIN_START_BLOCK,
    REST,
    SINGLE_QUOTED,
    TAIL,
    UNPRINTABLE,
    past,
)
from coordinator.saga_yaml.scalars import unfold_block
from coordinator.saga_yaml.tree import Broken, ListNode, MapNode, Node, Scalar

TEXT_BYTES_MAX: Final = 256 * 1024
LINES_MAX: Final = 20_000


def read(text: str, findings: Findings) -> Node | None:
    """The one document of the text, or ``None`` when it is empty.

    The text ends with a line break and has no other breaks than line feeds.
    Raises ``Halt`` when the text cannot be read on; ``findings`` says why.
    """
    if text.count("\n") > LINES_MAX:
        message = f"more than {LINES_MAX:,} lines; split the saga"
        findings.halt(0, Code.OVER_LIMIT, message)
    if bad := UNPRINTABLE.search(text):
        findings.halt(
            bad.start(),
            Code.NOT_YAML,
            f"not YAML 1.2: the character {bad[0]!r} is not allowed; in double quotes "
            "it can be written as an escape",
        )
    start, end = _document_bounds(text, findings)
    return _Reader(text[:end], findings).document(start)


def _document_bounds(text: str, findings: Findings) -> tuple[int, int]:
    """Where the document begins and ends, directives and markers left out."""
    start = directives_from = _line_of_content(text, 0)
    while directive := DIRECTIVE.match(text, start):
        words = directive[1].split()
        if words[:1] == ["TAG"]:
            findings.add(start, Code.ALIAS_OR_TAG, "tags are not used here; drop it")
        elif words[:2] != ["YAML", "1.2"]:
            message = "not YAML 1.2: the only directive here is %YAML 1.2; drop it"
            findings.halt(start, Code.NOT_YAML, message)
        start = _line_of_content(text, directive.end())
    if text.startswith("---", start) and MARKER.match(text, start):
        start += 3
    elif start > directives_from:
        message = "not YAML 1.2: a line '---' was expected behind the directive"
        findings.halt(start, Code.NOT_YAML, message)
    closing = MARKER.search(text, start)
    if closing is None:
        return start, len(text)
    tail = text[closing.end() :]
    if closing[0] == "---" or not TAIL.fullmatch(tail):
        message = "not one document: nothing may follow the first; put it in a file"
        findings.halt(closing.start(), Code.NOT_YAML, message)
    return start, closing.start()


def _line_of_content(text: str, pos: int) -> int:
    """The beginning of the next line that is neither blank nor a comment."""
    gap = GAP.match(text, pos)
    return gap.start(1) if gap else pos


class _Reader(FlowReader):
    """Reads one document. After each block node ``pos`` and ``col`` are at the next."""

    def document(self, start: int) -> Node | None:
        rest = REST.match(self._text, start)
        if rest or not start or self._text[start - 1] == "\n":
            self._to_line(rest.end() if rest else start)
            if self._text[self._pos] == END:
                return None
            node = self._block_node(self._pos, self._col, -1, 1)
        else:
            # On the line of the document's marker: no block collection may begin.
            node = self._inline(self._blanks(start), -1, 1)
        if self._text[self._pos] != END:
            self._fail(self._pos, "this fits nothing above; check the indentation")
        return node

    # -- places ------------------------------------------------------------------

    def _to_line(self, pos: int) -> None:
        """Go to the next content, from the beginning of a line."""
        self._pos = past(GAP, self._text, pos)
        self._col = self._pos - 1 - self._text.rfind("\n", 0, self._pos)
        if self._text[self._pos] == "\t":
            self._fail(self._pos, "a tab does not indent; use spaces")
        if self._text[self._pos] == END:
            self._col = -1

    def _end_line(self, pos: int) -> None:
        """Nothing but a comment may follow on this line; go to the next content."""
        rest = REST.match(self._text, pos)
        if rest is None:
            at = self._blanks(pos)
            if self._text[at] == ":":
                self._refuse_unquoted(at)
                hint = "a key is not possible here; check the indentation, or quote it"
                self._fail(at, hint)
            self._fail(at, f"{self._here(at)} follows a value; quote the whole value")
        self._to_line(rest.end())

    def _refuse_unquoted(self, colon: int) -> None:
        """Say it better when the colon stands inside ``${ }``."""
        line = self._text.rfind("\n", 0, colon) + 1
        opened = self._text.rfind("${", line, colon)
        if opened >= 0 and "}" not in self._text[opened:colon]:
            self._findings.halt(opened, Code.UNQUOTED_EXPRESSION, UNQUOTED_COLON)

    # -- block style -------------------------------------------------------------

    def _block_node(self, pos: int, col: int, parent: int, depth: int) -> Node:
        """The node that begins here, first on its line or behind ``- ``."""
        text = self._text
        char = text[pos]
        if char == "-" and ITEM.match(text, pos):
            return self._block_list(pos, col, depth)
        if char in "&!*":
            behind = self._property(pos)
            if char == "*":
                if not COLON.match(text, behind):
                    self._count(pos, depth)
                    self._end_line(behind)
                    return Broken(pos)
            else:
                behind = self._blanks(behind)
                if rest := REST.match(text, behind):
                    self._to_line(rest.end())
                    node = self._below(pos, parent, depth)
                elif self._key_ahead(behind):
                    return self._block_map(pos, col, depth)
                else:
                    node = self._block_node(behind, col, parent, depth)
                return Broken(pos) if isinstance(node, Scalar) else node
        if self._key_ahead(pos):
            return self._block_map(pos, col, depth)
        return self._inline(pos, parent, depth)

    def _below(self, at: int, parent: int, depth: int) -> Node:
        """The node on the lines below, when they are indented; else nothing."""
        if self._col > parent:
            return self._block_node(self._pos, self._col, parent, depth)
        if self._col == parent and ITEM.match(self._text, self._pos):
            # A list may stand at the indentation of its key.
            return self._block_list(self._pos, self._col, depth)
        self._count(at, depth)
        return Scalar(at, None)

    def _block_list(self, pos: int, col: int, depth: int) -> ListNode:
        node = ListNode(pos)
        self._count(pos, depth)
        while True:
            behind = pos + 1
            if rest := REST.match(self._text, behind):
                self._to_line(rest.end())
                if self._col > col:
                    item = self._block_node(self._pos, self._col, col, depth + 1)
                else:
                    self._count(pos, depth + 1)
                    item = Scalar(pos, None)
            else:
                start = self._blanks(behind)
                if "\t" in self._text[behind:start]:
                    item = self._inline(start, col, depth + 1)
                else:
                    inner = col + start - pos
                    item = self._block_node(start, inner, col, depth + 1)
            node.items.append(item)
            pos = self._pos
            if self._col != col or not ITEM.match(self._text, pos):
                break
        if self._col > col:
            self._fail(self._pos, "this fits nothing above; check the indentation")
        return node

    def _block_map(self, pos: int, col: int, depth: int) -> MapNode:
        node = MapNode(pos)
        self._count(pos, depth)
        while True:
            key_pos = pos
            while self._text[pos] in "&!":
                pos = self._blanks(self._property(pos))
            key, behind = self._key(pos)
            colon = COLON.match(self._text, behind)
            if colon is None:
                self._fail(key_pos, "a key and a colon were expected here")
            value = self._value(colon.end(), key_pos, col, depth + 1)
            self._enter(node, key, value)
            pos = self._pos
            if self._col != col:
                break
        if self._col > col:
            self._fail(self._pos, "this fits nothing above; check the indentation")
        return node

    def _value(self, pos: int, key_at: int, parent: int, depth: int) -> Node:
        """What stands behind a colon, on its line or below."""
        if rest := REST.match(self._text, pos):
            self._to_line(rest.end())
            return self._below(key_at, parent, depth)
        pos = self._blanks(pos)
        if self._text[pos] in "&!":
            behind = self._blanks(self._property(pos))
            node = self._value(behind, pos, parent, depth)
            return Broken(pos) if isinstance(node, Scalar) else node
        return self._inline(pos, parent, depth)

    def _key_ahead(self, pos: int) -> bool:
        """Whether a key and its colon stand here, on one line."""
        text = self._text
        char = text[pos]
        if char == '"':
            found = DOUBLE_QUOTED.match(text, pos)
        elif char == "'":
            found = SINGLE_QUOTED.match(text, pos)
        elif char == "?" and text[pos + 1] in " \t\n":
            self._fail(pos, "'?' keys are not used here; write 'key: value'")
        elif PLAIN_START_BLOCK.match(text, pos):
            found = PLAIN_BLOCK.match(text, pos)
        else:
            return False
        if found is None or not COLON.match(text, found.end()):
            return False
        return "\n" not in found[0]

    def _key(self, pos: int) -> tuple[Node, int]:
        """The key that begins here, and the place behind it."""
        text = self._text
        char = text[pos]
        self._count(pos, 0)
        if char == "*":
            return Broken(pos), self._property(pos)
        if char in "\"'":
            node, behind = self._quoted(pos)
        elif PLAIN_START_BLOCK.match(text, pos):
            behind = past(PLAIN_BLOCK, text, pos)
            node = self._plain(pos, text[pos:behind])
        else:
            self._fail(pos, f"a key was expected here, not {self._here(pos)}")
        return node, behind

    # -- one value ---------------------------------------------------------------

    def _inline(self, pos: int, parent: int, depth: int) -> Node:
        """A scalar or flow collection; goes to the next line's content."""
        text = self._text
        char = text[pos]
        if char in "|>":
            return self._block_scalar(pos, parent, depth)
        if char in "[{":
            node = self._flow_node(pos, depth)
            self._end_line(self._pos)
            return node
        if char in "&!*":
            return self._inline_property(pos, parent, depth)
        self._count(pos, depth)
        if char in "\"'":
            node, behind = self._quoted(pos)
            self._end_line(behind)
            return node
        if not PLAIN_START_BLOCK.match(text, pos):
            if char == "-":
                self._fail(pos, "a list begins on a line of its own")
            self._fail(pos, f"a value cannot begin with {self._here(pos)}; quote it")
        return self._plain_lines(pos, parent)

    def _inline_property(self, pos: int, parent: int, depth: int) -> Node:
        behind = self._property(pos)
        if self._text[pos] == "*" or REST.match(self._text, behind):
            self._count(pos, depth)
            self._end_line(behind)
            return Broken(pos)
        node = self._inline(self._blanks(behind), parent, depth + 1)
        return Broken(pos) if isinstance(node, Scalar) else node

    def _plain_lines(self, pos: int, parent: int) -> Node:
        """Unquoted text, with the more indented lines that continue it."""
        text = self._text
        end = past(PLAIN_BLOCK, text, pos)
        parts = [text[pos:end]]
        while text[behind := self._blanks(end)] == "\n":
            self._to_line_of_plain(behind)
            if self._col <= parent or text[self._pos] in f"#{END}":
                break
            end = past(PLAIN_BLOCK, text, self._pos)
            if end == self._pos:
                break
            parts += self._continued(behind, end)
        self._end_line(end)
        return self._plain(pos, "".join(parts))

    def _block_scalar(self, pos: int, parent: int, depth: int) -> Node:
        text = self._text
        self._count(pos, depth)
        header = BLOCK_HEADER.match(text, pos)
        if header is None:
            self._fail(pos, f"{text[pos]!r} begins a block of text; quote it if not")
        digit = header[2] or header[5]
        indent = max(parent, 0) + int(digit) if digit else 0
        lines: list[str] = []
        start = header.end()
        longest_blank = 0
        while text[start] != END:
            end = text.index("\n", start)
            content = past(INDENT, text, start)
            if not indent and content != end:
                indent = max(content - start, parent + 1)
                if longest_blank > indent:
                    self._fail(start, "a blank line above is indented deeper")
            if content == end and not indent:
                longest_blank = max(longest_blank, content - start)
                lines.append("")
            elif content == end or content - start >= indent:
                lines.append(text[start + indent : end] if end > start + indent else "")
            else:
                break
            start = end + 1
        self._to_line(start)
        chomping = header[3] or header[4] or ""
        return Scalar(
            pos, unfold_block(lines, folded=header[1] == ">", chomping=chomping)
        )
