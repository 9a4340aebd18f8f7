"""One statement for many rows: how each database spells it.

SQLite takes as many rows as one statement may have parameters; see :mod:`.many_rows`.
PostgreSQL is handed one array a column, or one value, and opens them with ``unnest``.
MariaDB and MySQL take an INSERT of many rows, and an UPDATE of a table made out of one
JSON text. The text of these two never depends on the number of rows.

Databases that only speak the language of one of them have neither addresses of rows
nor ``JSON_TABLE``. They get the plain join by the key, of arrays or of as many SELECTs
as there are rows; which index it takes is for their planner to say.

Rows are tuples in the order that :mod:`.rows` gives them. They are sorted by key by
who calls, so that two batches lock what they share in the same order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Delete,
    Dialect,
    Insert,
    Integer,
    LargeBinary,
    String,
    Table,
    bindparam,
    delete,
    insert,
)

from coordinator.core.errors import InvariantViolated
from coordinator.storage.sql.flavour import Flavour
from coordinator.storage.sql.many_rows import ManyRowsInsert, ManyRowsUpdate
from coordinator.storage.sql.rows import Row
from coordinator.storage.sql.statement import Batch, is_prepended

STATEMENT_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of one statement's rows, unless a single row is longer: a fraction of the packet
that MariaDB admits by default."""

_SELECTS_MAX: Final = 256
"""In one statement that has a SELECT for each row; more would be planned no cheaper."""

T = TypeVar("T")

_encode_row = msgspec.json.Encoder().encode


def insert_batch(dialect: Dialect, table: Table) -> Batch:
    """Rows in the order of the table's columns."""
    if dialect.name == "postgresql":
        return UnnestInsert(table)
    if dialect.name == "sqlite":
        return ManyRowsInsert(table)
    return _ForEachRow(dialect, insert(table), [column.name for column in table.c])


def update_batch(
    flavour: Flavour, table: Table, to_set: Sequence[str], guard: Sequence[str]
) -> Batch:
    """Rows of what shall be, then of what must be (the key, and a revision)."""
    match flavour:
        case Flavour.SQLITE:
            return ManyRowsUpdate(table, to_set, guard)
        case Flavour.POSTGRESQL:
            return UnnestUpdate(table, to_set, guard)
        case Flavour.MYSQL:
            return _JsonUpdate(table, to_set, guard)
        case Flavour.TIDB:
            return _UnionUpdate(table, to_set, guard)
        case Flavour.COCKROACHDB | Flavour.YUGABYTEDB | Flavour.POSTGRESQL_LIKE:
            return _UnnestJoinUpdate(table, to_set, guard)


def delete_batch(
    dialect: Dialect, flavour: Flavour, table: Table, guard: Sequence[str]
) -> Batch:
    """Rows of what must be: a key or its beginning, and perhaps a revision."""
    match flavour:
        case Flavour.POSTGRESQL:
            return _UnnestDelete(table, guard)
        case Flavour.MYSQL:
            return _JsonDelete(table, guard)
        case Flavour.TIDB:
            return _UnionDelete(table, guard)
        case Flavour.COCKROACHDB | Flavour.YUGABYTEDB | Flavour.POSTGRESQL_LIKE:
            return _UnnestJoinDelete(table, guard)
    statement = delete(table)
    for name in guard:
        statement = statement.where(table.c[name] == bindparam(f"guard_{name}"))
    return _ForEachRow(dialect, statement, [f"guard_{name}" for name in guard])


class _ForEachRow(Batch):
    """A driver's ``executemany``."""

    def __init__(
        self, dialect: Dialect, statement: Insert | Delete, order: list[str]
    ) -> None:
        compiled = statement.compile(dialect=dialect)
        if compiled.positiontup is None:
            raise InvariantViolated("the driver takes no positional parameters")
        if compiled.positiontup != order:
            raise InvariantViolated(f"parameters stand as {compiled.positiontup}")
        self.text = str(compiled)

    def _run(self, connection: Connection, rows: Sequence[Row]) -> int:
        return connection.exec_driver_sql(self.text, list(rows)).rowcount


class Unnest(Batch):
    """One array a column, or one value where all rows of the batch have the same.

    Most columns of a batch are of the second kind: a status, a version, nothing at all.
    A driver checks and encodes an array item by item: 256 new headers cost it 20 us
    each, and the server 12; so they cost 1.4 and 3. Each column comes as an array and
    as a value: where all rows agree the array is empty, ``unnest`` fills it up with
    nulls, and the value stands in for them. The text is the same whatever the rows are.

    Args:
        columns: in the order of the rows.
        names: what they are called in the statement.
    """

    text: str

    def __init__(self, columns: Sequence[Column[object]], names: Sequence[str]) -> None:
        # One array has an item for every row, so that there are as many rows: of a
        # column of the key, the last, in which rows differ.
        self._spine = max(n for n, column in enumerate(columns) if column.primary_key)
        count = len(columns)
        self._of_no_rows = (None,) * (2 * count)
        values = ", ".join(
            f"coalesce(u.{name}, ${count + n + 1}::{_type(column)}) AS {name}"
            for n, (name, column) in enumerate(zip(names, columns, strict=True))
        )
        arrays = ", ".join(f"${n}::{_type(c)}[]" for n, c in enumerate(columns, 1))
        self._rows = (
            f"(SELECT {values} FROM unnest({arrays})"  # noqa: S608 - names are our own
            f" AS u({', '.join(names)}))"
        )

    def parameters(self, rows: Sequence[Row]) -> Sequence[object]:
        """What the statement is given for these rows, which may be none."""
        if not rows:
            return self._of_no_rows
        arrays: list[Sequence[object] | None] = []
        values: list[object] = []
        for number, column in enumerate(zip(*rows, strict=True)):
            first = column[0]
            if number != self._spine and column.count(first) == len(column):
                # Not an empty one, which the driver would have to look at.
                arrays.append(None)
                values.append(first)
            else:
                arrays.append(column)
                values.append(None)
        return (*arrays, *values)

    def _run(self, connection: Connection, rows: Sequence[Row]) -> int:
        parameters = tuple(self.parameters(rows))
        return connection.exec_driver_sql(self.text, parameters).rowcount


class UnnestInsert(Unnest):
    """Rows in the order of the table's columns."""

    def __init__(self, table: Table) -> None:
        names = [column.name for column in table.c]
        super().__init__(table.c.values(), names)
        self.text = (
            f"INSERT INTO {table.name} ({', '.join(names)})"  # noqa: S608 - our own
            f" SELECT * FROM {self._rows} AS v"
        )


class UnnestUpdate(Unnest):
    """Finds each row by the key's index, then changes it where it stands.

    Joined directly, the planner walks through the whole table instead as soon as its
    statistics say that the table is empty, which they do after a purge. So the look-up
    is a subquery that nothing can be pulled out of, and the row is joined by its
    address, by which nothing can be sorted or hashed. What is not of the key, such as
    the revision, is compared once more at the row itself: another commit may have
    come between, and then this comparison alone is made again.
    """

    def __init__(
        self, table: Table, to_set: Sequence[str], guard: Sequence[str]
    ) -> None:
        super().__init__(*_columns(table, to_set, guard))
        values = ", ".join(_unnested(table.c[name]) for name in to_set)
        self.text = (
            f"UPDATE {table.name} AS t SET {values}"  # noqa: S608 - names are our own
            f" FROM {_found(table, self._rows, guard)}"
            f" WHERE t.ctid = v.row_id{_still(table, guard)}"
        )


class _UnnestDelete(Unnest):
    """Finds the rows as an update does, and removes them where they stand."""

    def __init__(self, table: Table, guard: Sequence[str]) -> None:
        super().__init__(*_columns(table, (), guard))
        self.text = (
            f"DELETE FROM {table.name} AS t"  # noqa: S608 - names are our own
            f" USING {_found(table, self._rows, guard)}"
            f" WHERE t.ctid = v.row_id{_still(table, guard)}"
        )


class _UnnestJoinUpdate(Unnest):
    """Joined by the key; nothing in it is one database's own."""

    def __init__(
        self, table: Table, to_set: Sequence[str], guard: Sequence[str]
    ) -> None:
        super().__init__(*_columns(table, to_set, guard))
        values = ", ".join(_unnested(table.c[name]) for name in to_set)
        self.text = (
            f"UPDATE {table.name} AS t SET {values}"  # noqa: S608 - names are our own
            f" FROM {self._rows} AS v WHERE {_same(guard)}"
        )


class _UnnestJoinDelete(Unnest):
    """The same join; what it finds is removed."""

    def __init__(self, table: Table, guard: Sequence[str]) -> None:
        super().__init__(*_columns(table, (), guard))
        self.text = (
            f"DELETE FROM {table.name} AS t"  # noqa: S608 - names are our own
            f" USING {self._rows} AS v WHERE {_same(guard)}"
        )


def _columns(
    table: Table, to_set: Sequence[str], guard: Sequence[str]
) -> tuple[list[Column[object]], list[str]]:
    names = [f"new_{name}" for name in to_set] + [f"old_{name}" for name in guard]
    return [table.c[name] for name in (*to_set, *guard)], names


def _unnested(column: Column[object]) -> str:
    """How an UPDATE sets it, joined as PostgreSQL does it."""
    name = column.name
    before = f" || t.{name}" if is_prepended(column) else ""
    return f"{name} = v.new_{name}{before}"


def _same(guard: Sequence[str]) -> str:
    return " AND ".join(f"t.{name} = v.old_{name}" for name in guard)


def _found(table: Table, rows: str, guard: Sequence[str]) -> str:
    """The rows that are asked for, each with the address where it stands."""
    # Without it the comparison would mix two collations, and be refused.
    found = " AND ".join(
        f"k.{name} = v.old_{name}" + _collation(table.c[name]) for name in guard
    )
    return (
        f"(SELECT v.*, f.row_id FROM {rows} AS v"  # noqa: S608 - names are our own
        f" CROSS JOIN LATERAL (SELECT k.ctid AS row_id"
        f" FROM {table.name} AS k WHERE {found} OFFSET 0) AS f) AS v"
    )


def _still(table: Table, guard: Sequence[str]) -> str:
    return "".join(
        f" AND t.{name} = v.old_{name}"
        for name in guard
        if not table.c[name].primary_key
    )


def _type(column: Column[object]) -> str:
    match column.type:
        case BigInteger():
            return "bigint"
        case Integer():
            return "integer"
        case Boolean():
            return "boolean"
        case LargeBinary():
            return "bytea"
        case String():
            return "text"
    raise InvariantViolated(f"column {column.name} has no array type")


def _collation(column: Column[object]) -> str:
    return ' COLLATE "C"' if isinstance(column.type, String) else ""


class _JsonUpdate(Batch):
    """A table made out of JSON, which leads the join: a plan that nothing can flip."""

    def __init__(
        self, table: Table, to_set: Sequence[str], guard: Sequence[str]
    ) -> None:
        values = ", ".join(
            _joined(table.c[name], _json_value(table.c[name])) for name in to_set
        )
        joined = _json_join(table, to_set, guard)
        self.text = f"UPDATE {joined} SET {values}"  # noqa: S608 - names are our own

    def _run(self, connection: Connection, rows: Sequence[Row]) -> int:
        return sum(
            connection.exec_driver_sql(self.text, (text,)).rowcount
            for text in _json_texts(rows)
        )


class _JsonDelete(_JsonUpdate):
    """The same join; what it finds is removed."""

    def __init__(self, table: Table, guard: Sequence[str]) -> None:
        self.text = f"DELETE t FROM {_json_join(table, (), guard)}"


def _joined(column: Column[object], value: str) -> str:
    """How an UPDATE sets it, joined as MySQL does it."""
    name = f"t.{column.name}"
    if is_prepended(column):
        value = f"CONCAT({value}, {name})"
    return f"{name} = {value}"


def _json_join(table: Table, to_set: Sequence[str], guard: Sequence[str]) -> str:
    columns = [(f"new_{name}", table.c[name]) for name in to_set]
    columns += [(f"old_{name}", table.c[name]) for name in guard]
    paths = ", ".join(
        f"{name} {_json_type(column)} PATH '$[{n}]' ERROR ON ERROR"
        for n, (name, column) in enumerate(columns)
    )
    guards = " AND ".join(f"t.{name} = v.old_{name}" for name in guard)
    return (
        f"JSON_TABLE(%s, '$[*]' COLUMNS ({paths})) AS v"
        f" STRAIGHT_JOIN {table.name} AS t FORCE INDEX (PRIMARY) ON {guards}"
    )


def _json_type(column: Column[object]) -> str:
    match column.type:
        case BigInteger() | Integer():
            return "BIGINT"
        case Boolean():
            return "TINYINT"
        case LargeBinary():
            return "LONGTEXT CHARACTER SET ascii"
        case String():
            length = column.type.length
            return (
                f"VARCHAR({length}) CHARACTER SET ascii COLLATE ascii_bin"
                if length
                else "LONGTEXT CHARACTER SET utf8mb4"
            )
    raise InvariantViolated(f"column {column.name} has no JSON type")


def _json_value(column: Column[object]) -> str:
    value = f"v.new_{column.name}"
    return f"FROM_BASE64({value})" if isinstance(column.type, LargeBinary) else value


def _json_texts(rows: Sequence[Row]) -> Iterator[str]:
    """JSON lists of rows, bytes as base64; each text is bounded."""
    for texts in _pieces(map(_encode_row, rows), len, len(rows)):
        yield f"[{b','.join(texts).decode()}]"


class _UnionUpdate(Batch):
    """A table made out of one SELECT a row, which leads the join."""

    def __init__(
        self, table: Table, to_set: Sequence[str], guard: Sequence[str]
    ) -> None:
        joined = _union_join(table, guard)
        values = ", ".join(_joined(table.c[name], f"v.new_{name}") for name in to_set)
        names = [f"new_{name}" for name in to_set] + [f"old_{name}" for name in guard]
        self._first = f"SELECT {', '.join(f'%s AS {name}' for name in names)}"
        self._other = f" UNION ALL SELECT {', '.join('%s' for _ in names)}"
        self.text = f"UPDATE ({{rows}}) {joined} SET {values}"  # noqa: S608 - our own

    def _run(self, connection: Connection, rows: Sequence[Row]) -> int:
        return sum(
            connection.exec_driver_sql(
                self.text.format(rows=self._first + self._other * (len(piece) - 1)),
                tuple(chain.from_iterable(piece)),
            ).rowcount
            for piece in _pieces(rows, _row_size, _SELECTS_MAX)
        )


class _UnionDelete(_UnionUpdate):
    """The same join; what it finds is removed."""

    def __init__(self, table: Table, guard: Sequence[str]) -> None:
        super().__init__(table, (), guard)
        self.text = f"DELETE t FROM ({{rows}}) {_union_join(table, guard)}"


def _union_join(table: Table, guard: Sequence[str]) -> str:
    guards = " AND ".join(
        f"t.{name} = {_ascii(table.c[name], f'v.old_{name}')}" for name in guard
    )
    return f"AS v STRAIGHT_JOIN {table.name} AS t FORCE INDEX (PRIMARY) ON {guards}"


def _ascii(column: Column[object], value: str) -> str:
    """As the key's index has it; else every key would be converted in its place."""
    is_text = isinstance(column.type, String)
    return f"CONVERT({value} USING ascii) COLLATE ascii_bin" if is_text else value


def _row_size(row: Row) -> int:
    return sum(len(value) for value in row if isinstance(value, str | bytes))


def _pieces(
    rows: Iterable[T], size_of: Callable[[T], int], rows_max: int
) -> Iterator[list[T]]:
    """The rows of one statement after another."""
    piece: list[T] = []
    size = 0
    for row in rows:
        row_size = size_of(row) + 1
        if piece and (size + row_size > STATEMENT_BYTES_MAX or len(piece) == rows_max):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += row_size
    yield piece
