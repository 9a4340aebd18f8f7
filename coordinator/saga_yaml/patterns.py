"""The tokens of YAML 1.2, as patterns that take linear time on any text.

Possessive throughout: no pattern ever goes back to try another way. A group that is
repeated so is an atomic one, ``(?>ab?c)*+``: before Python 3.11.5 (Debian 12 has
3.11.2) ``(?:ab?c)*+`` may stop in the middle of the group
(https://github.com/python/cpython/issues/106052).
"""

import re

END = "\0"
"""Stands behind the text, so that looking at the next character never fails."""

UNPRINTABLE = re.compile(
    "[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
MARKER = re.compile(r"^(?:---|\.\.\.)(?=[ \t\n])", re.MULTILINE)
DIRECTIVE = re.compile(r"%([^\n]*+)\n")

GAP = re.compile(r"(?>[ \t]*+(?>#[^\n]*+)?+\n)*+( *+)")
BLANKS = re.compile(r"[ \t]*+")
REST = re.compile(r"[ \t]*+(?>(?<=[ \t\n])#[^\n]*+)?+\n")
TAIL = re.compile(r"(?>[ \t]*+(?>(?<=[ \t\n])#[^\n]*+)?+\n|\.\.\.(?=[ \t\n]))*+")
FLOW_GAP = re.compile(r"(?>[ \t\n]++|(?<=[ \t\n])#[^\n]*+)*+")
SPACE = re.compile(r"[ \t\n]*+")
INDENT = re.compile(r" *+")

_PLAIN_FIRST = r"(?:[^\x00 \t\n\-?:,\[\]{}#&*!|>'\"%@`]"
PLAIN_BLOCK = re.compile(
    r"(?>[^\x00 \t\n:#]++|:(?=[^ \t\n])|(?<=[^ \t\n])#"
    r"|[ \t]++(?=[^ \t\n#:]|:[^ \t\n]))*+"
)
PLAIN_FLOW = re.compile(
    r"(?>[^\x00 \t\n:#,\[\]{}]++|:(?=[^ \t\n,\[\]{}])|(?<=[^ \t\n,\[\]{}])#"
    r"|[ \t]++(?=[^ \t\n#:,\[\]{}]|:[^ \t\n,\[\]{}]))*+"
)
WORD_FLOW = re.compile(r"[A-Za-z_][A-Za-z0-9_./@-]*+(?=[,\]}])")
"""The usual: one word that ends there. What it reads, PLAIN_FLOW reads as well."""
PLAIN_START_BLOCK = re.compile(_PLAIN_FIRST + r"|[-?:](?=[^ \t\n]))")
PLAIN_START_FLOW = re.compile(_PLAIN_FIRST + r"|[-?:](?=[^ \t\n,\[\]{}]))")
DOUBLE_QUOTED = re.compile(r'"((?>[^"\\\x00]++|\\.)*+)"', re.DOTALL)
SINGLE_QUOTED = re.compile(r"'((?>[^'\x00]++|'')*+)'")
COLON = re.compile(r"[ \t]*+:(?=[ \t\n])")
ITEM = re.compile(r"-(?=[ \t\n])")
PROPERTY = re.compile(r"[&!*][^ \t\n,\[\]{}]*+")
BLOCK_HEADER = re.compile(
    r"([|>])(?:([1-9])([-+]?)|([-+]?)([1-9]?))(?=[ \t\n])"
    r"[ \t]*+(?>(?<=[ \t])#[^\n]*+)?+\n"
)
UNQUOTED = re.compile(r"\{[^{}\n]*+\}?+[^ \t\n,\[\]{}]*+")


def past(pattern: re.Pattern[str], text: str, pos: int) -> int:
    """The place behind what the pattern matches here, which may be nothing."""
    found = pattern.match(text, pos)
    return found.end() if found else pos
