"""Scalars of YAML 1.2: quoting, folding, and what a plain word means.

Pure functions over text. Every pattern is possessive or free of ambiguity, so that
none takes more than linear time on any text.
"""

import math
import re
from typing import Final

from coordinator.core.definition import JsonScalar

_INTEGER_MAX: Final = 2**63 - 1

_WORDS: Final[dict[str, JsonScalar]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER = re.compile(
    r"(?P<int>[-+]?[0-9]+)\Z"
    r"|0o(?P<oct>[0-7]+)\Z"
    r"|0x(?P<hex>[0-9a-fA-F]+)\Z"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)\Z"
    r"|(?P<odd>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_NUMBER_MAX = 40

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_ESCAPES: Final = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "\t": "\t",
    "n": "\n",
    "v": "\v",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
    " ": " ",
    '"': '"',
    "/": "/",
    "\\": "\\",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


def resolve_plain(text: str) -> JsonScalar:
    """What an unquoted word means. Raises ``ValueError`` for what JSON cannot hold."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if len(text) > _NUMBER_MAX:
        if text.strip("+-0123456789"):
            return text
        raise ValueError("a number this long is not kept exactly")
    number = _NUMBER.match(text)
    if number is None:
        return text
    digits = number[number.lastgroup or 0]
    match number.lastgroup:
        case "int":
            value = int(digits)
        case "oct":
            value = int(digits, 8)
        case "hex":
            value = int(digits, 16)
        case "float":
            if math.isfinite(real := float(digits)):
                return real
            raise ValueError("a number this large is not kept exactly")
        case _:
            raise ValueError("JSON has no such number")
    if abs(value) > _INTEGER_MAX:
        raise ValueError("an integer beyond 64 bits is not kept exactly")
    return value


def fold_breaks(text: str) -> str:
    """Line breaks inside plain or single-quoted text: one is a space, more are kept."""
    if "\n" not in text:
        return text
    first, *middle, last = text.split("\n")
    lines = [line.strip(" \t") for line in middle]
    lines = [first.rstrip(" \t"), *lines, last.lstrip(" \t")]
    return _joined(lines, escapes=False)


def unquote_double(text: str) -> str:
    r"""The text between double quotes. Raises ``ValueError`` for a bad escape."""
    if "\\" not in text:
        return fold_breaks(text)
    if "\n" in text:
        first, *others = text.split("\n")
        lines = [first, *(line.lstrip(" \t") for line in others)]
        lines[:-1] = map(_right_stripped, lines[:-1])
        text = _joined(lines, escapes=True)
    unescaped = _ESCAPE.sub(_unescape, text)
    if _SURROGATE.search(unescaped):
        # JSON writes a character beyond the first plane as two escapes.
        try:
            unescaped = unescaped.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise ValueError("half of a surrogate pair") from None
    return unescaped


def _right_stripped(line: str) -> str:
    stripped = line.rstrip(" \t")
    if len(stripped) < len(line) and _ends_in_escape(stripped):
        return line[: len(stripped) + 1]
    return stripped


def _ends_in_escape(line: str) -> bool:
    return bool((len(line) - len(line.rstrip("\\"))) % 2)


def _joined(lines: list[str], *, escapes: bool) -> str:
    """Lines of one flow scalar: a break is a space, and escaped it is nothing."""
    parts = [lines[0]]
    breaks = 0
    for number, line in enumerate(lines[1:], start=2):
        breaks += 1
        if line or number == len(lines):
            fold = "" if breaks > 1 else " "
            if escapes and _ends_in_escape(parts[-1]):
                parts[-1], fold = parts[-1][:-1], ""
            parts += ["\n" * (breaks - 1) + fold, line]
            breaks = 0
    return "".join(parts)


def _unescape(found: re.Match[str]) -> str:
    if short := found[4]:
        if short not in _ESCAPES:
            raise ValueError(f"no such escape: {found[0]}")
        return _ESCAPES[short]
    point = int(found[1] or found[2] or found[3], 16)
    if point > 0x10FFFF:
        raise ValueError(f"no such character: {found[0]}")
    return chr(point)


def unfold_block(lines: list[str], *, folded: bool, chomping: str) -> str:
    """The text of a block scalar from its lines, their indentation taken away."""
    last = len(lines)
    while last and not lines[last - 1]:
        last -= 1
    trailing = len(lines) - last
    body = _fold_lines(lines[:last]) if folded else "\n".join(lines[:last])
    if chomping == "-" or (chomping != "+" and not last):
        return body
    if chomping == "+":
        return body + "\n" * (trailing + (1 if last else 0))
    return body + "\n"


def _fold_lines(lines: list[str]) -> str:
    parts: list[str] = []
    empty = 0
    previous_kept: bool | None = None
    for line in lines:
        if not line:
            empty += 1
            continue
        kept = line[0] in " \t"
        if previous_kept is None:
            parts.append("\n" * empty)
        elif previous_kept or kept:
            parts.append("\n" * (empty + 1))
        else:
            parts.append("\n" * empty or " ")
        parts.append(line)
        previous_kept, empty = kept, 0
    return "".join(parts)
