"""How long nobody was served, and what nodes say of rejected writes."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.chaos.history import ANSWERS, Line

CONFLICTED = "commit_conflicted"
"""A node's write hit no row, because another node had written meanwhile."""

BROKEN = ("transaction_stopped", "node_failed")
"""Events that say that a node has found itself at fault."""


def unavailable_seconds(lines: Iterable[Line], begin: float, end: float) -> int:
    """The whole seconds from ``begin`` to ``end`` in which no call succeeded."""
    served = {
        math.floor(line.at - begin)
        for line in lines
        if line.word in ANSWERS and begin <= line.at < end
    }
    return math.floor(end - begin) - len(served & set(range(math.floor(end - begin))))


def events_of(path: Path) -> Iterator[dict[str, object]]:
    """What a node logged; lines that are not its own are left out."""
    for text in path.read_text(errors="replace").splitlines():
        if text.startswith("{"):
            try:
                yield json.loads(text)
            except ValueError:
                continue  # cut off by a kill


def rejected_writes(paths: Iterable[Path]) -> int:
    """How many writes of nodes the guard has rejected."""
    return sum(
        int(str(event.get("count", 0)))
        for path in paths
        for event in events_of(path)
        if event.get("event") == CONFLICTED
    )
