"""The fast way for plain paths: ``${steps.pay.output.id}``, read by one pattern.

Most expressions are plain paths, and to read one as CEL takes ten times as long. What
is read here is exactly what the parser of CEL would read; whatever is not certainly a
path that may stand here is left to it, with all that it has to say.
"""

import re
from dataclasses import dataclass

from coordinator.saga_yaml.cel import Facts, StepRead
from coordinator.saga_yaml.cel.facts import SAGA_NAMES, PathRead
from coordinator.saga_yaml.cel.nodes import LENGTH_MAX, PATH_PARTS_MAX

_NAME = r"\.[A-Za-z_][A-Za-z0-9_]*+"
_PLACE = r"\[[0-9]{1,9}+\]"
_TEXT = r"\['[^'\\\n]++'\]|\[\"[^\"\\\n]++\"\]"
_PART = re.compile(rf"{_NAME}|{_PLACE}|{_TEXT}")
_PATH = re.compile(
    r"\$\{[ \t\n]*+(?P<source>(?P<root>input|steps|saga|item|index)"
    rf"(?P<rest>(?>{_NAME}|{_PLACE}|{_TEXT})*+))[ \t\n]*+\}}"
)
# No capture inside what is repeated: Python 3.11 loses its place there.


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain path that was found in a text.

    Attributes:
        source: without the blanks around it.
        end: the place behind its closing brace.
    """

    path: tuple[str | int, ...]
    source: str
    facts: Facts
    end: int


def plain_path(text: str, start: int) -> Plain | None:
    """The plain path inside the ``${`` at ``start``, if there is one."""
    found = _PATH.match(text, start)
    if found is None or found.end() - start > LENGTH_MAX:
        return None
    root, at = found["root"], found.start("root")
    parts = list(_PART.finditer(text, found.start("rest"), found.end("rest")))
    path: tuple[str | int, ...] = (root, *(_part(part[0]) for part in parts))
    steps: tuple[StepRead, ...] = ()
    match path:
        case ("steps", str(step_id), "output", *_):
            steps = (StepRead(step_id, at, is_guarded=False),)
        case ("saga", name) if name in SAGA_NAMES:
            pass
        case ("input" | "item" | "index", *_):
            pass
        case _:
            return None
    if len(path) >= PATH_PARTS_MAX:
        return None
    places = (at, *(part.start() + 1 for part in parts))
    read = PathRead(path, places)
    facts = Facts(((root, at),), steps, frozenset(), (read,))
    return Plain(path, found["source"], facts, found.end())


def _part(written: str) -> str | int:
    if written[0] == ".":
        return written[1:]
    return written[2:-2] if written[1] in "'\"" else int(written[1:-1])
