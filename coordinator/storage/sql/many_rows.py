"""SQLite: one statement for many rows, so that the node works beside its database.

Theory. The driver lets go of Python's lock while SQLite runs a statement, and has to
get it back from the thread of the event loop before it can give the next one its
values. Run once for each row, as ``executemany`` does, database and node take turns.
So a statement carries as many rows as it may have parameters, and their number is
filled up to a power of two with rows of nothing but nulls, which are passed over: a
dozen texts in place of a hundred, so that each is parsed once.

Giving values is what needs the lock, and most columns of a batch have one value. That
is given once; :class:`.batch.Unnest` does so too.

An UPDATE of a table that is joined will not do. SQLite takes the table that is changed
first in the join, and then looks through the new rows for each row of *it*, as soon as
its statistics say that it has one row. Here is no join that could be planned: each new
row asks for the row it is to change, which can only be found by the key. What was
found is inserted under its own row number, and so collides with itself and is changed
in its place.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, compress
from typing import Final, cast

from sqlalchemy import Column, Connection, Table

from coordinator.storage.sql.rows import Row
from coordinator.storage.sql.statement import Batch, is_prepended

PARAMETER_MAX: Final = 999
"""Of one statement; SQLite before 3.32 takes no more."""

BYTES_MAX: Final = 128 * 1024
"""Of one statement's rows, unless a single row is longer: the driver keeps 128
statements, each with what it was given last."""

_TEXT_MAX: Final = 256
"""Kept of one batch; a text is made again in a few microseconds."""


class ManyRows(Batch):
    """A statement that is written anew for each number of rows.

    Args:
        columns: in the order of the rows.
        names: what they are called in the statement.
    """

    def __init__(self, columns: Sequence[Column[object]], names: Sequence[str]) -> None:
        self._names = names
        # By this column rows are told from what fills them up: of the key, the last.
        self._spine = max(n for n, column in enumerate(columns) if column.primary_key)
        self._lonely = tuple(n == self._spine for n in range(len(names)))
        self._text_of = lru_cache(_TEXT_MAX)(self._written)

    def _run(self, connection: Connection, rows: Sequence[Row]) -> int:
        if len(rows) == 1:
            return self._run_one(connection, rows[0])
        differs, own, shared = self._told_apart(rows)
        row_max = (PARAMETER_MAX - len(shared)) // len(own)
        count = 0
        for start in range(0, len(rows), row_max):
            piece = rows[start : start + row_max]
            columns = [column[start : start + row_max] for column in own]
            if sum(map(_weight, columns)) > BYTES_MAX:
                middle = (len(piece) + 1) // 2
                for half in (piece[:middle], piece[middle:]):
                    count += self.run(connection, half)
                continue
            size = min(row_max, 1 << (len(piece) - 1).bit_length())
            nothing = (None,) * ((size - len(piece)) * len(own))
            given = chain.from_iterable(zip(*columns, strict=True))
            text = self._text_of(differs, size)
            values = (*given, *nothing, *shared)
            count += connection.exec_driver_sql(text, values).rowcount
        return count

    def _told_apart(
        self, rows: Sequence[Row]
    ) -> tuple[tuple[bool, ...], list[Sequence[object]], list[object]]:
        """Which columns have more than one value, those columns, and the values of
        the others.
        """
        differs: list[bool] = []
        own: list[Sequence[object]] = []
        shared: list[object] = []
        for number, column in enumerate(zip(*rows, strict=True)):
            first = column[0]
            is_own = number == self._spine or column.count(first) < len(column)
            differs.append(is_own)
            if is_own:
                own.append(column)
            else:
                shared.append(first)
        return tuple(differs), own, shared

    def _run_one(self, connection: Connection, row: Row) -> int:
        """Of which nobody needs to ask in what others differ from it."""
        spine = self._spine
        values = (row[spine], *row[:spine], *row[spine + 1 :])
        text = self._text_of(self._lonely, 1)
        return connection.exec_driver_sql(text, values).rowcount

    def _written(self, differs: tuple[bool, ...], size: int) -> str:
        """The text for so many rows that have these columns of their own."""
        own = list(compress(self._names, differs))
        row = f"({', '.join('?' * len(own))})"
        values = ", ".join([row] * size)
        given = [
            f"v.{name}" if is_own else "?"
            for name, is_own in zip(self._names, differs, strict=True)
        ]
        return self._statement(f"v({', '.join(own)}) AS (VALUES {values})", given)

    @abstractmethod
    def _statement(self, rows: str, given: Sequence[str]) -> str:
        """Around the rows, which are called ``v``; ``given`` are the columns' values.
        Those that are parameters stand in the text in this order, behind the rows.
        """


class ManyRowsInsert(ManyRows):
    """Rows in the order of the table's columns."""

    def __init__(self, table: Table) -> None:
        names = [column.name for column in table.c]
        super().__init__(table.c.values(), names)
        self._into = f"{table.name} ({', '.join(names)})"

    def _statement(self, rows: str, given: Sequence[str]) -> str:
        spine = given[self._spine]
        return (
            f"INSERT INTO {self._into} WITH {rows}"  # noqa: S608 - names are our own
            f" SELECT {', '.join(given)} FROM v WHERE {spine} IS NOT NULL"
        )


class ManyRowsUpdate(ManyRows):
    """Rows of what shall be, then of what must be (the key, and a revision)."""

    def __init__(
        self, table: Table, to_set: Sequence[str], guard: Sequence[str]
    ) -> None:
        columns = [table.c[name] for name in (*to_set, *guard)]
        names = [f"new_{name}" for name in to_set] + [f"old_{name}" for name in guard]
        super().__init__(columns, names)
        self._table, self._to_set, self._guard = table.name, to_set, guard
        self._changed = [
            f"{column.name} = excluded.{column.name}"
            + (f" || {table.name}.{column.name}" if is_prepended(column) else "")
            for column in columns[: len(to_set)]
        ]
        # They keep their values, but no row may be inserted without one.
        self._demanded = [
            column.name
            for column in table.c
            if column.name not in to_set
            and not column.nullable
            and column.server_default is None
        ]

    def _statement(self, rows: str, given: Sequence[str]) -> str:
        count = len(self._to_set)
        found = " AND ".join(
            f"k.{name} = {value}"
            for name, value in zip(self._guard, given[count:], strict=True)
        )
        new = ", ".join(
            f"{value} AS {name}"
            for name, value in zip(self._to_set, given[:count], strict=True)
        )
        named = ", ".join([*self._to_set, *self._demanded])
        put = ", ".join([*self._to_set, *("''" for _ in self._demanded)])
        changed = ", ".join(self._changed)
        # The limit keeps the look-up from being moved to where it would be made twice.
        return (
            f"INSERT INTO {self._table} (rowid, {named})"  # noqa: S608 - our own
            f" WITH {rows}, f AS (SELECT {new}, (SELECT k.rowid FROM {self._table} AS k"
            f" WHERE {found}) AS row_id FROM v LIMIT -1)"
            f" SELECT row_id, {put} FROM f WHERE row_id IS NOT NULL"
            f" ON CONFLICT (rowid) DO UPDATE SET {changed}"
        )


def _weight(column: Sequence[object]) -> int:
    """Bytes of text and payloads; the columns of either are never null."""
    if not isinstance(column[0], str | bytes):
        return 0
    return sum(map(len, cast("Sequence[str | bytes]", column)))
