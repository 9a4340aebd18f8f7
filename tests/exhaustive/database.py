"""The one row that the nodes share, and the statements on their way to it.

A write names the revision that it read and changes nothing when that is no longer the
row's (L1). A revision is modelled as "current or stale"; see ``engine.py``.
"""

from typing import NamedTuple

from tests.exhaustive.engine import GONE, Message, without


class Statement(NamedTuple):
    """On its way; of a dead node too.

    Attributes:
        kind: ``commit``, ``load`` or ``claim``.
        node: that hears how it went; ``GONE`` when it ended meanwhile.
        tx: that a commit writes.
        current: whether the guard will hold.
    """

    kind: str
    node: int
    owner: int
    tx: int = 0
    current: bool = False


class Row(NamedTuple):
    """What is durable, who wrote it last, and what is under way."""

    tx: int = 0
    owner: int = GONE
    statements: tuple[Statement, ...] = ()


class Carried(NamedTuple):
    """A statement carried out: the row after it, and what its node will hear."""

    label: str
    row: Row
    node: int
    answer: Message
    wrote: bool
    statement: Statement


def moves(row: Row) -> list[Carried]:
    """Every statement that may arrive next."""
    found = []
    for statement in dict.fromkeys(row.statements):
        rest = row._replace(statements=without(row.statements, statement))
        found.append(carry_out(rest, statement))
    return found


def carry_out(row: Row, statement: Statement) -> Carried:
    """What one statement does."""
    kind, node, owner, tx, _ = statement
    by = "a dead node" if node == GONE else f"n{node}"
    label = f"the {kind} of {by} arrives"
    answer: Message
    wrote = False
    if kind == "load":
        answer = ("loaded", row.tx, row.owner, True)
    elif not guard_holds(row, statement):
        answer = ("conflict",) if kind == "commit" else ("claimed", False)
        label += ": conflict"
    else:
        wrote = True
        answer = ("committed", True) if kind == "commit" else ("claimed", True)
        after = tx if kind == "commit" else row.tx
        others = tuple(sorted(s._replace(current=False) for s in row.statements))
        row = Row(after, owner, others)
    return Carried(label, row, node, answer, wrote, statement)


def guard_holds(row: Row, statement: Statement) -> bool:
    """Compare and set."""
    return statement.current


def mirrored(row: Row) -> Row:
    """The same with the two nodes' names exchanged."""
    statements = (
        s._replace(node=_mirror(s.node), owner=_mirror(s.owner)) for s in row.statements
    )
    return Row(row.tx, _mirror(row.owner), tuple(sorted(statements)))


def _mirror(node: int) -> int:
    return node if node == GONE else 1 - node


def buried(row: Row, gone: int) -> Row:
    """The same when a node has ended; what it sent may still arrive."""

    def name(node: int) -> int:
        return GONE if node == gone else node

    statements = (
        s._replace(node=name(s.node), owner=name(s.owner))
        for s in row.statements
        if s.kind != "load" or s.node != gone
    )
    return Row(row.tx, name(row.owner), tuple(sorted(statements)))
