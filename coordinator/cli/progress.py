"""A saga on its way, on stderr: a live tree on a terminal, else a line a change."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from coordinator.cli import output, view
from coordinator.cli.transaction import last_error
from protos.v1 import types_pb2

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

Show = Callable[[types_pb2.Transaction], None]

MEMBERS_SHOWN_MAX = 12
"""Items of one list on the screen: those that are under way or failed come first."""

_MARKS = {
    "SUCCEEDED": ("\N{CHECK MARK}", "green"),
    "TRIED": ("\N{CHECK MARK}", "green"),
    "CONFIRMED": ("\N{CHECK MARK}", "green"),
    "REFUSED": ("\N{MULTIPLICATION X}", "red"),
    "COMPENSATING": ("\N{LEFTWARDS ARROW WITH HOOK}", "yellow"),
    "CANCELLING": ("\N{LEFTWARDS ARROW WITH HOOK}", "yellow"),
    "COMPENSATED": ("\N{LEFTWARDS ARROW WITH HOOK}", "yellow"),
    "CANCELLED": ("\N{LEFTWARDS ARROW WITH HOOK}", "yellow"),
    "SKIPPED": ("-", "dim"),
    "ABANDONED": ("-", "dim"),
    "RESOLVED": ("\N{BALLOT BOX WITH CHECK}", "magenta"),
}
_BUSY = ("\N{BLACK RIGHT-POINTING SMALL TRIANGLE}", "cyan")
_DONE = frozenset({"SUCCEEDED", "TRIED", "CONFIRMED", "SKIPPED"})


@contextmanager
def progress() -> Iterator[Show]:
    """What shows each newer state of one transaction, while the block lasts."""
    if not output.is_pretty(sys.stderr):
        yield _Lines().show
        return
    from rich.live import Live

    tree = _LiveTree()
    with Live(
        console=output.console(sys.stderr),
        refresh_per_second=8,
        get_renderable=tree.drawn,
    ) as live:
        yield tree.show
        live.refresh()


class _Lines:
    """Says what is new since the state before."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def show(self, tx: types_pb2.Transaction) -> None:
        self._say(tx.gid, _headline(tx))
        for branch in tx.branches:
            shown = view.branch(branch)
            error = last_error(shown)
            attempts = f" after {branch.attempts} attempts" if branch.attempts else ""
            self._say(
                f"  {branch.branch_id}",
                f"{shown['status']}{attempts}{f' ({error})' if error else ''}",
            )

    def _say(self, name: str, news: str) -> None:
        if self._said.get(name) != news:
            self._said[name] = news
            output.note(f"{name} {news}")


class _LiveTree:
    """The newest state as a tree; drawn again and again, because time goes on."""

    def __init__(self) -> None:
        self._tx: types_pb2.Transaction | None = None

    def show(self, tx: types_pb2.Transaction) -> None:
        self._tx = tx

    def drawn(self) -> "Tree | str":
        return "" if self._tx is None else tree_of(self._tx, time.time() * 1000)


def tree_of(tx: types_pb2.Transaction, now_ms: float) -> "Tree":
    """A transaction and its branches, with state, attempts and time."""
    from rich.text import Text
    from rich.tree import Tree

    title = Text(output.visible(f"{tx.name} {tx.gid} "), style="bold")
    title.append(output.visible(_headline(tx)))
    title.append(f"  {_seconds(tx.created_at_ms, tx.finished_at_ms, now_ms)}", "dim")
    tree = Tree(title, guide_style="dim")
    members: dict[str, list[types_pb2.Branch]] = {}
    known = {branch.branch_id for branch in tx.branches}
    for branch in tx.branches:
        parent = branch.parent_branch_id
        members.setdefault(parent if parent in known else "", []).append(branch)
    _grow(tree, members, "", now_ms)
    if tx.branches_omitted:
        tree.add(f"and {tx.branches_omitted} that had no room", style="dim")
    return tree


def _grow(
    tree: "Tree",
    members: dict[str, list[types_pb2.Branch]],
    parent: str,
    now_ms: float,
) -> None:
    inside = members.pop(parent, [])
    shown = _worth_showing(inside)
    for branch in shown:
        twig = tree.add(_line(branch, now_ms))
        _grow(twig, members, branch.branch_id, now_ms)
    if hidden := len(inside) - len(shown):
        kept = {branch.branch_id for branch in shown}
        rest = Counter(_status(b) for b in inside if b.branch_id not in kept)
        counts = ", ".join(f"{count} {status}" for status, count in rest.items())
        tree.add(f"and {hidden} more: {counts}", style="dim")


def _worth_showing(branches: list[types_pb2.Branch]) -> list[types_pb2.Branch]:
    """All when they are few; else what is under way or failed, then the newest."""
    if len(branches) <= MEMBERS_SHOWN_MAX:
        return branches
    numbered = list(enumerate(branches))
    numbered.sort(key=lambda pair: (_status(pair[1]) in _DONE, -pair[0]))
    first = sorted(numbered[:MEMBERS_SHOWN_MAX], key=lambda pair: pair[0])
    return [branch for _, branch in first]


def _line(branch: types_pb2.Branch, now_ms: float) -> "Text":
    from rich.text import Text

    shown = view.branch(branch)
    status = _status(branch)
    mark, style = _MARKS.get(status, _BUSY)
    name = branch.branch_id.removeprefix(f"{branch.parent_branch_id}:")
    if branch.kind == types_pb2.KIND_SIGNAL:
        name = f"signal {branch.branch_id.rpartition(':')[2]}"
    line = Text(f"{mark} ", style=style)
    line.append(output.visible(name), "bold")
    if branch.operation:
        line.append(output.visible(f" {branch.operation}"), "dim")
    line.append(f" {status}", style)
    if branch.pending:
        line.append(" (pending)", style)
    if branch.attempts:
        line.append(f"  {branch.attempts} failed attempts")
    line.append(
        f"  {_seconds(branch.started_at_ms, branch.finished_at_ms, now_ms)}", "dim"
    )
    if error := last_error(shown):
        line.append(output.visible(f"  {error}"), "red")
    return line


def _status(branch: types_pb2.Branch) -> str:
    return view.word(types_pb2.BranchStatus, branch.status, "BRANCH_")


def _seconds(began_ms: int, ended_ms: int, now_ms: float) -> str:
    """How long it took, or takes; empty when nobody knows when it began."""
    if not began_ms:
        return ""
    return f"{max(0.0, (ended_ms or now_ms) - began_ms) / 1000:.1f} s"


def _headline(tx: types_pb2.Transaction) -> str:
    reason = f" ({tx.reason_code})" if tx.reason_code else ""
    attention = (
        f", needs a person: {tx.attention_reason}" if tx.attention_since_ms else ""
    )
    paused = ", paused" if tx.paused_at_ms else ""
    return f"{view.status(tx)}{reason}{paused}{attention}"
