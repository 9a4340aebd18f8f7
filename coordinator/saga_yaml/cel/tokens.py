"""The tokens of CEL: possessive patterns, linear time on any text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from coordinator.core.definition import JsonScalar
from coordinator.saga_yaml.cel.nodes import NotReadable

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1

_GAP = re.compile(r"(?>[ \t\n\f\r]++|//[^\n]*+)*+")
_TOKEN = re.compile(
    r"(?P<text>(?P<prefix>[rRbB]{0,2}+)(?:"
    r"'''(?P<long1>(?>[^'\\]++|\\.|'(?!''))*+)'''"
    r'|"""(?P<long2>(?>[^"\\]++|\\.|"(?!""))*+)"""'
    r"|'(?!'')(?P<short1>(?>[^'\\\n]++|\\.)*+)'"
    r'|"(?!"")(?P<short2>(?>[^"\\\n]++|\\.)*+)"))'
    r"|(?P<double>(?:[0-9]++\.[0-9]++(?>[eE][-+]?+[0-9]++)?+"
    r"|[0-9]++[eE][-+]?+[0-9]++|\.[0-9]++(?>[eE][-+]?+[0-9]++)?+))"
    r"|(?P<hex>0x[0-9a-fA-F]++)|(?P<int>[0-9]++)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*+)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])",
    re.DOTALL,
)
_RAW = re.compile(
    r"(?P<text>[rR](?:"
    r"'''(?P<long1>(?>[^']++|'(?!''))*+)'''"
    r'|"""(?P<long2>(?>[^"]++|"(?!""))*+)"""'
    r"|'(?!'')(?P<short1>[^'\n]*+)'"
    r'|"(?!"")(?P<short2>[^"\n]*+)"))',
)
_EMPTY = re.compile(r"[rR]?+(?:''(?!')|\"\"(?!\"))")
_ESCAPE = re.compile(
    r"\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})"
    r"|([0-3][0-7]{2})|(.))",
    re.DOTALL,
)
_ESCAPES: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "?": "?",
    '"': '"',
    "'": "'",
    "`": "`",
}
_INSTEAD: Final = {"=": "==", "&": "&&", "|": "||", "~": "!", "^": ""}
_POINT_MAX = 0x10FFFF
_NUMBER_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: ``literal``, ``name``, ``sign`` or ``end``.
        text: as written; of a sign the sign itself.
        value: of a literal.
    """

    kind: str
    at: int
    text: str
    value: JsonScalar = None


def tokens(text: str, pos: int, end: int) -> Iterator[Token]:
    """The tokens from ``pos`` on, and at ``end`` one of kind ``end`` again and again.

    They are read one by one, so that what stands behind a closing brace is never
    looked at.
    """
    while True:
        pos = _GAP.match(text, pos, end).end()  # type: ignore[union-attr]
        if pos >= end:
            yield Token("end", end, "")
            continue
        token, pos = _token(text, pos, end)
        yield token


def _token(text: str, pos: int, end: int) -> tuple[Token, int]:
    if empty := _EMPTY.match(text, pos, end):
        return Token("literal", pos, empty[0], ""), empty.end()
    found = _RAW.match(text, pos, end) or _TOKEN.match(text, pos, end)
    if found is None:
        raise _unreadable(text, pos)
    written = found[0]
    match found.lastgroup:
        case "name":
            if written in _WORDS:
                token = Token("literal", pos, written, _WORDS[written])
            else:
                token = Token("name", pos, written)
        case "sign":
            token = Token("sign", pos, written)
        case "int" | "hex" | "double":
            token = Token("literal", pos, written, _number(found, text, pos))
        case _:
            token = Token("literal", pos, written, _text(found, pos))
    return token, found.end()


_WORDS: Final[dict[str, JsonScalar]] = {"true": True, "false": False, "null": None}


def _number(found: re.Match[str], text: str, pos: int) -> int | float:
    written = found[0]
    behind = text[found.end() : found.end() + 1]
    if behind in ("u", "U"):
        message = "there are no unsigned numbers, because JSON has none; drop the 'u'"
        raise NotReadable(found.end(), message)
    if behind.isalnum() or behind == "_":
        raise NotReadable(found.end(), f"{behind!r} cannot follow a number")
    if len(written) > _NUMBER_LENGTH_MAX:
        raise NotReadable(pos, "a number this long is not kept exactly")
    if found["double"]:
        value = float(written)
        if value in (float("inf"), float("-inf")):
            raise NotReadable(pos, "a number this large is not kept exactly")
        return value
    # One more than the largest: the minus of the smallest stands before it.
    whole = int(written, 16 if found["hex"] else 10)
    if whole > INTEGER_MAX + 1:
        raise NotReadable(pos, "an integer beyond 64 bits is not kept exactly")
    return whole


def _text(found: re.Match[str], pos: int) -> str:
    groups = found.groupdict()
    if "b" in (groups.get("prefix") or "").lower():
        raise NotReadable(
            pos, "there are no bytes, because JSON has none; drop the 'b'"
        )
    parts = (groups[name] for name in ("long1", "long2", "short1", "short2"))
    inner = next(part for part in parts if part is not None)
    if found.re is _RAW or "\\" not in inner:
        return inner
    return _ESCAPE.sub(lambda escape: _unescape(escape, pos), inner)


def _unescape(found: re.Match[str], pos: int) -> str:
    if short := found[5]:
        if short not in _ESCAPES:
            message = f"there is no escape {found[0]!r}; write a backslash as '\\\\'"
            raise NotReadable(pos, message)
        return _ESCAPES[short]
    if octal := found[4]:
        return chr(int(octal, 8))
    point = int(found[1] or found[2] or found[3], 16)
    if point > _POINT_MAX or 0xD800 <= point <= 0xDFFF:
        raise NotReadable(pos, f"there is no character {found[0]!r}")
    return chr(point)


def _unreadable(text: str, pos: int) -> NotReadable:
    char = text[pos]
    if char in "\"'":
        return NotReadable(pos, f"the text that begins here has no closing {char}")
    instead = _INSTEAD.get(char)
    if instead is None:
        return NotReadable(pos, f"{char!r} has no meaning here")
    hint = f"; use {instead!r}" if instead else ""
    return NotReadable(pos, f"{char!r} is no operator{hint}", instead)
