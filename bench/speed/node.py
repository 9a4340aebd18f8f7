"""A node that counts what its database commits: ``python -m bench.speed.node FILE …``.

The rest of the command line is Tercet's own. Counted is what the driver was told to
do: a COMMIT after statements that wrote transactions, branches or journal, and the
rows that these statements say they wrote; or one statement that is all of it, and the
rows that it was given. Heartbeats and reads count for nothing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from bench.speed.counters import Counters
from bench.speed.sampler import sample_where_asked
from coordinator.storage.sql.at_once import AtOnce
from coordinator.storage.sql.database import Lane
from coordinator.storage.sql.rows import Row
from coordinator.storage.sql.server import ServerDatabase

TABLES = ("global_transactions", "branches", "journal")
_HEADERS = f" {TABLES[0]} "
_ROWS = "bench_rows"
_MOVES = "bench_moves"


def count_into(counters: Counters, tables: Sequence[str] = TABLES) -> None:
    """Count on every connection of this process.

    Args:
        tables: that count; a row of the first one is a move.
    """
    known: dict[str, str] = {}

    @event.listens_for(Engine, "after_cursor_execute")
    def executed(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        table = known.get(statement)
        if table is None:
            table = known[statement] = _written(statement, tables)
        if table:
            info = connection.info
            rows = max(cursor.rowcount, 0)
            info[_ROWS] = info.get(_ROWS, 0) + rows
            if table == tables[0]:
                info[_MOVES] = info.get(_MOVES, 0) + rows

    @event.listens_for(Engine, "commit")
    def committed(connection: Connection) -> None:
        rows = connection.info.pop(_ROWS, 0)
        moves = connection.info.pop(_MOVES, 0)
        if rows:
            counters.committed(rows, moves)

    @event.listens_for(Engine, "rollback")
    def rolled_back(connection: Connection) -> None:
        connection.info.pop(_ROWS, 0)
        connection.info.pop(_MOVES, 0)


def count_at_once(counters: Counters) -> None:
    """Count commits of one statement, which says nothing of its rows."""
    run = AtOnce.run

    async def counted(
        self: AtOnce, database: ServerDatabase, lane: Lane, *rows: Sequence[Row]
    ) -> bool:
        is_written = await run(self, database, lane, *rows)
        if is_written:
            of_tables = zip(rows, self.batches, strict=True)
            moves = sum(len(some) for some, b in of_tables if _HEADERS in b.text)
            counters.committed(sum(map(len, rows)), moves)
        return is_written

    AtOnce.run = counted  # type: ignore[method-assign] # as in all of this process


def _written(statement: str, tables: Sequence[str]) -> str:
    """The one of the tables that it writes; empty if none."""
    if not statement.startswith(("INSERT", "UPDATE")):
        return ""
    words = statement.split()
    return next((table for table in tables if table in words), "")


if __name__ == "__main__":
    from coordinator.cli.app import main as tercet

    sample_where_asked()
    counters = Counters.create(Path(sys.argv.pop(1)))
    count_into(counters)
    count_at_once(counters)
    tercet()
