"""What is wrong with a saga text: every finding has a code, a place and a way out."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final, NoReturn

from coordinator.core.errors import InvalidRequest

FINDINGS_MAX: Final = 100
"""More are not gathered: nobody reads them, and a hostile text could ask for many."""

_COMPARISON_BUDGET = 200_000
"""Products of the lengths that are compared: about 20 ms for a whole text."""
_SHOWN_MAX = 60


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
    UNKNOWN_OPERATION = "SAGA020"
    WRONG_KIND = "SAGA021"
    NO_COMPENSATION = "SAGA022"
    FOREIGN_COMPENSATION = "SAGA023"
    UNKNOWN_NEED = "SAGA030"
    CYCLE = "SAGA031"
    TIMEOUT_TOO_SHORT = "SAGA032"
    NOT_AN_EXPRESSION = "SAGA040"
    UNKNOWN_NAME = "SAGA041"
    NO_ANCESTOR = "SAGA042"
    COMPUTED_STEP = "SAGA044"
    TYPE_MISMATCH = "SAGA045"
    NO_SUCH_FIELD = "SAGA046"


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
    """

    code: str
    message: str
    source: str
    line: int
    column: int
    suggestion: str = ""

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
            column = at - starts[line - 1] + 1
            placed.append(
                Finding(code.value, message, source, line, column, suggestion)
            )
        return tuple(placed)


def shown(text: str) -> str:
    """A part of the text as a message shows it: escaped, and cut when it is long."""
    return repr(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}...")
