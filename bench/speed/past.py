"""Transactions that have finished long ago, as a database has them after months.

Copies of one that was run, with its branches and its journal, made by the database
itself: the same columns with other gids, which sort by time as real ones do.
"""

from collections.abc import Callable

from coordinator.storage.sql import tables
from tests.servers import Server

CHUNK = 50_000
"""In one statement."""

COUNT_MAX = 10_000_000

_TABLES = (tables.global_transactions, tables.branches, tables.journal)
_GID = "lpad(to_hex(n), 12, '0') || '-' || substr(md5(n::text), 1, 24)"


def fill(server: Server, database: str, count: int, say: Callable[[str], None]) -> None:
    """Make so many of one that has finished there.

    Raises:
        ValueError: none has.
    """
    query = (
        "SELECT gid FROM global_transactions WHERE finished_at IS NOT NULL"
        " ORDER BY gid LIMIT 1"
    )
    found = server.run(query, database=database)
    if not found:
        raise ValueError("nothing has finished there yet")
    (template,) = found[0]
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count) - 1
        statements = [_copies(table.name, template, first, last) for table in _TABLES]
        server.run(*statements, database=database)
        say(f"{last + 1} of {count} finished ones are there")
    server.run("VACUUM ANALYZE", database=database)


def _copies(table: str, template: object, first: int, last: int) -> str:
    names = [column.name for column in tables.METADATA.tables[table].c]
    values = ", ".join(_GID if name == "gid" else name for name in names)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {values}"  # noqa: S608 - own
        f" FROM {table}, generate_series({first}, {last}) AS n WHERE gid = '{template}'"
    )
