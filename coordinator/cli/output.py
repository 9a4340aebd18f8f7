"""What is written, and how: pretty on a terminal, plain anywhere else.

Results go to stdout, everything about them to stderr. Texts that come from elsewhere
are shown with their control characters escaped, so that nobody's error text can
move a cursor or forge a line.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

NOTHING = "-"
"""Stands where a table has no value."""


def is_pretty(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def console(stream: TextIO) -> "Console":
    """A rich console on ``stream``; honours NO_COLOR, guesses no highlights."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def visible(text: str) -> str:
    """The text on one line, with whatever cannot be seen escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def instant(at_ms: int) -> str | None:
    """An instant as ISO 8601 in UTC; ``None`` for 0, which means "not"."""
    if at_ms == 0:
        return None
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(text: str, *, style: str = "") -> None:
    """One line of the result; ``style`` is how it looks on a terminal."""
    if style and is_pretty(sys.stdout):
        from rich.text import Text

        console(sys.stdout).print(Text(visible(text), style=style), soft_wrap=True)
        return
    _write(sys.stdout, f"{visible(text)}\n")


def text(whole: str) -> None:
    """A result of many lines that stands for itself, such as a file's content."""
    _write(sys.stdout, whole)


def note(text: str) -> None:
    """One line about the result."""
    _write(sys.stderr, f"{visible(text)}\n")


def can_ask() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str) -> bool:
    """Whether the answer is yes; anything else, and no answer, is no."""
    _write(sys.stderr, f"{visible(question)} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def document(value: Mapping[str, object]) -> None:
    """The result as one JSON object; ASCII, so that no locale can break it."""
    _write(sys.stdout, f"{json.dumps(value, indent=2)}\n")


def error(text: str) -> None:
    """What went wrong: a panel on a terminal, else one line, on stderr."""
    text = "; ".join(part.strip() for part in text.splitlines() if part.strip())
    if is_pretty(sys.stderr):
        from rich.panel import Panel
        from rich.text import Text

        console(sys.stderr).print(
            Panel(
                Text(visible(text)),
                title="error",
                title_align="left",
                border_style="red",
            )
        )
    else:
        note(f"error: {text}")


def panel(title: str, lines: Sequence[str]) -> None:
    """A few lines that belong together."""
    shown = [visible(text) for text in lines]
    if is_pretty(sys.stdout):
        from rich.panel import Panel
        from rich.text import Text

        body = Text("\n".join(shown))
        console(sys.stdout).print(
            Panel(body, title=title, title_align="left", expand=False)
        )
    else:
        _write(sys.stdout, "\n".join([title, *shown, ""]))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; in columns of equal width, nothing cut, where there is no terminal."""
    cells = [[_cell(value) for value in row] for row in rows]
    if is_pretty(sys.stdout):
        from rich import box
        from rich.table import Table
        from rich.text import Text

        pretty = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for name in columns:
            pretty.add_column(name, overflow="fold")
        for row in cells:
            pretty.add_row(*(Text(cell, style=_style(cell)) for cell in row))
        console(sys.stdout).print(pretty)
        return
    header = [name.upper() for name in columns]
    widths = [max(map(_width, column)) for column in zip(header, *cells, strict=True)]
    for row in [header, *cells]:
        padded = (
            cell + " " * (width - _width(cell))
            for cell, width in zip(row, widths, strict=True)
        )
        _write(sys.stdout, "  ".join(padded).rstrip() + "\n")


def record(pairs: Mapping[str, object]) -> None:
    """Names and values, a line each; those without a value are left out."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        if (cell := _cell(value)) != NOTHING:
            _write(sys.stdout, f"{name.ljust(width)}  {cell}\n")


def _cell(value: object) -> str:
    match value:
        case None | "":
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return visible(", ".join(str(item) for item in value)) or NOTHING
    return visible(str(value))


_STYLES = {
    "CONFIRMED": "green",
    "COMPLETED": "green",
    "SUCCEEDED": "green",
    "CANCELLED": "yellow",
    "COMPENSATED": "yellow",
    "REFUSED": "yellow",
    "COMPENSATING": "yellow",
    "CANCELLING": "yellow",
    "RESOLVED": "magenta",
}


def _style(cell: str) -> str:
    return _STYLES.get(cell, "")


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(c)
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        # Whoever read has enough, as `head` does. The command goes on, so that its
        # exit code still tells how it ended.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
