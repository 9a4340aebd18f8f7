"""What is wrong with a saga text: every finding has a code, a place and a way out."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Final, NoReturn
from unicodedata import combining, east_asian_width

from coordinator.core.errors import InvalidRequest

FINDINGS_MAX: Final = 100
"""More are not gathered: nobody reads them, and a hostile text could ask for many."""

_COMPARISON_BUDGET = 200_000
"""Products of the lengths that are compared: about 20 ms for a whole text."""
_SHOWN_MAX = 60
_EXCERPT_MAX = 100
_BEFORE_CARET = 70


class Code(StrEnum):
    """The stable code of a kind of finding; ``docs/saga-checks.md`` explains each."""

    NOT_YAML = "SAGA001"
    ALIAS_OR_TAG = "SAGA002"
    DUPLICATE_KEY = "SAGA003"
    OVER_LIMIT = "SAGA004"
    UNQUOTED_EXPRESSION = "SAGA005"
    UNKNOWN_KEY = "SAGA010"
    WRONG_TYPE = "SAGA011"
    MISSING_KEY = "SAGA012"
    WRONG_VALUE = "SAGA013"
    WRONG_DURATION = "SAGA014"
    NOT_AVAILABLE = "SAGA015"
    DUPLICATE_STEP = "SAGA016"
    TWO_KINDS = "SAGA017"
    DOES_NOT_FIT = "SAGA018"
    UNKNOWN_OPERATION = "SAGA020"
    WRONG_KIND = "SAGA021"
    NO_COMPENSATION = "SAGA022"
    FOREIGN_COMPENSATION = "SAGA023"
    UNKNOWN_SAGA = "SAGA024"
    REACHES_ITSELF = "SAGA025"
    WRONG_INPUT = "SAGA026"
    UNKNOWN_NEED = "SAGA030"
    CYCLE = "SAGA031"
    TIMEOUT_TOO_SHORT = "SAGA032"
    UNREACHABLE = "SAGA033"
    EXPIRES_TOO_EARLY = "SAGA034"
    NOT_AN_EXPRESSION = "SAGA040"
    UNKNOWN_NAME = "SAGA041"
    NO_ANCESTOR = "SAGA042"
    MAY_BE_ABSENT = "SAGA043"
    COMPUTED_STEP = "SAGA044"
    TYPE_MISMATCH = "SAGA045"
    NO_SUCH_FIELD = "SAGA046"
    SECOND_PIVOT = "SAGA050"
    BESIDE_PIVOT = "SAGA051"
    WRONG_PIVOT = "SAGA052"
    UNDONE_AFTER_PIVOT = "SAGA053"
    BOUNDED_AFTER_PIVOT = "SAGA054"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: stable, such as ``SAGA010``.
        message: what is wrong, what was expected and what to do.
        source: the name of the text, usually a file.
        line: from 1.
        column: from 1, in characters.
        suggestion: what was probably meant, empty when nothing is likely.
        excerpt: the line of the text, cut when it is long, and below it a caret
            under the column.
    """

    code: str
    message: str
    source: str
    line: int
    column: int
    suggestion: str = ""
    excerpt: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion!r}?" if self.suggestion else ""
        place = f"{self.source}:{self.line}:{self.column}"
        return f"{place}: {self.code} {self.message}{hint}"


class SagaRefused(InvalidRequest):
    """The saga text is refused; ``findings`` says why."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        message = "\n".join(str(finding) for finding in self.findings)
        super().__init__(message, field="definition", reason="SAGA_REFUSED")


class Halt(Exception):
    """Nothing more can be found out about this text."""


class Findings:
    """Gathers findings at offsets of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[tuple[int, Code, str], str] = {}
        self._budget = _COMPARISON_BUDGET

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, at: int, code: Code, message: str, suggestion: str = "") -> None:
        """Note a finding; raises :class:`Halt` when there are enough of them."""
        self._found.setdefault((at, code, message), suggestion)
        if len(self._found) >= FINDINGS_MAX:
            raise Halt

    def halt(self, at: int, code: Code, message: str, suggestion: str = "") -> NoReturn:
        """Note a finding after which the text cannot be read on."""
        self.add(at, code, message, suggestion)
        raise Halt

    def nearest(self, word: str, known: Iterable[str]) -> str:
        """The known word that was probably meant, or empty."""
        known = list(known)
        cost = len(word) * sum(map(len, known))
        if len(word) > _SHOWN_MAX or cost > self._budget:
            return ""
        self._budget -= cost
        by_lower = {name.lower(): name for name in known if len(name) <= _SHOWN_MAX}
        close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
        return by_lower[close[0]] if close else ""

    def placed(self, source: str) -> tuple[Finding, ...]:
        """All findings with line and column, in the order of the text."""
        if not self._found:
            return ()
        starts = [0]
        newline = self._text.find("\n")
        while newline >= 0:
            starts.append(newline + 1)
            newline = self._text.find("\n", newline + 1)
        placed = []
        for (at, code, message), suggestion in sorted(self._found.items()):
            line = bisect_right(starts, at)
            start = starts[line - 1]
            excerpt = _excerpt(self._text, start, at)
            column = at - start + 1
            placed.append(
                Finding(code.value, message, source, line, column, suggestion, excerpt)
            )
        return tuple(placed)


def _excerpt(text: str, start: int, at: int) -> str:
    """The line that begins at ``start``, with a caret under ``at``."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    first = max(start, at - _BEFORE_CARET)
    last = min(end, first + _EXCERPT_MAX)
    before = ("..." if first > start else "") + _drawn(text[first:at])
    after = _drawn(text[at:last]) + ("..." if last < end else "")
    columns = sum(_columns(char) for char in before)
    return f"{before}{after}".rstrip() + f"\n{' ' * columns}^"


def _drawn(text: str) -> str:
    """Each character as something that can be seen, or as a space."""
    return "".join(
        char
        if char.isprintable()
        else " "
        if char == "\t"
        else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def _columns(char: str) -> int:
    """How wide a terminal draws it."""
    if combining(char):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def shown(text: str) -> str:
    """A part of the text as a message shows it: escaped, and cut when it is long."""
    return repr(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}...")
