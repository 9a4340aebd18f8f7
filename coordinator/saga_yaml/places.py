"""Where in the text of the file a character of a scalar's value stands.

Quoting, escapes, folding and indentation change nothing but white space, so the
characters that are none are counted: the n-th of the value is the n-th of the text.
"""

import re
from collections.abc import Iterator

from coordinator.saga_yaml.tree import Scalar

_HEADER = re.compile(r"[|>][^\n]*+\n")
_SOLID = re.compile(r"[^ \t\n]")
_SINGLE = re.compile(r"''|[^ \t\n']")
_DOUBLE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\.|[^ \t\n]",
    re.DOTALL,
)
_WHITE = re.compile(r"\\(?:[ nt\t\n]|x(?:20|09|0[aA])|u00(?:20|09|0[aA]))", re.DOTALL)


class Places:
    """Finds places in one text; remembers the scalar that it was asked for last."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._scalar: Scalar | None = None
        self._solid: list[int] = []

    def of(self, scalar: Scalar, position: int) -> int:
        """The offset in the text of the value's character at ``position``."""
        value = str(scalar.value)
        if self._scalar is not scalar:
            self._scalar = scalar
            count = len(value) - sum(map(value.count, " \t\n"))
            found = zip(range(count), self._characters(scalar.at), strict=False)
            self._solid = [at for _, at in found]
        before = value[:position]
        index = len(before) - sum(map(before.count, " \t\n"))
        if index < len(self._solid):
            return self._solid[index]
        return self._solid[-1] + 1 if self._solid else scalar.at

    def _characters(self, at: int) -> Iterator[int]:
        """The offsets of the characters that are not white, from a scalar on."""
        text = self._text
        quote = text[at : at + 1]
        if quote == "'":
            return (found.start() for found in _SINGLE.finditer(text, at + 1))
        if quote == '"':
            return (
                found.start()
                for found in _DOUBLE.finditer(text, at + 1)
                if not _WHITE.fullmatch(found[0])
            )
        header = _HEADER.match(text, at)
        start = header.end() if header else at
        return (found.start() for found in _SOLID.finditer(text, start))
