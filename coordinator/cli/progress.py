"""A saga on its way, on stderr: a live table on a terminal, else a line a change."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from coordinator.cli import output, view
from coordinator.cli.transaction import last_error
from protos.v1 import types_pb2

if TYPE_CHECKING:
    from rich.table import Table

Show = Callable[[types_pb2.Transaction], None]


@contextmanager
def progress() -> Iterator[Show]:
    """What shows each newer state of one transaction, while the block lasts."""
    if not output.is_pretty(sys.stderr):
        yield _Lines().show
        return
    from rich.live import Live

    with Live(console=output.console(sys.stderr), refresh_per_second=8) as live:
        yield lambda tx: live.update(_table(tx))


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


def _headline(tx: types_pb2.Transaction) -> str:
    reason = f" ({tx.reason_code})" if tx.reason_code else ""
    attention = (
        f", needs a person: {tx.attention_reason}" if tx.attention_since_ms else ""
    )
    paused = ", paused" if tx.paused_at_ms else ""
    return f"{view.status(tx)}{reason}{paused}{attention}"


def _table(tx: types_pb2.Transaction) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(output.visible(f"{tx.name} {tx.gid} {_headline(tx)}")),
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in ("step", "operation", "status", "attempts", "last error"):
        table.add_column(name, overflow="fold")
    for branch in tx.branches:
        shown = view.branch(branch)
        cells = (
            branch.branch_id,
            branch.operation,
            str(shown["status"]),
            str(branch.attempts),
            last_error(shown),
        )
        table.add_row(*(Text(output.visible(cell)) for cell in cells))
    return table
