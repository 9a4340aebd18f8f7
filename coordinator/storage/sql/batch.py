"""One statement for many rows: how each database spells it.

SQLite runs a prepared statement once for each row, in the process; that is its batch.
PostgreSQL is handed one array a column and opens them with ``unnest``. MariaDB and
MySQL take an INSERT of many rows, and an UPDATE of a table made out of one JSON text.
The text of a statement never depends on the number of rows, so it is compiled, and
where there is a server planned, once.

Rows are tuples in the order that :mod:`.rows` gives them. They are sorted by key by
who calls, so that two batches lock what they share in the same order.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

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
    Update,
    bindparam,
    delete,
    insert,
    update,
)

from coordinator.core.errors import InvariantViolated
from coordinator.storage.sql.rows import Row

JSON_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of one statement's rows, unless a single row is longer: a fraction of the packet
that MariaDB admits by default."""

_encode_row = msgspec.json.Encoder().encode


class Batch(ABC):
    """A statement that waits for its rows."""

    text: str

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """How many rows were changed. Raises what the database raises."""
        return self._run(connection, rows) if rows else 0

    @abstractmethod
    def _run(self, connection: Connection, rows: Sequence[Row]) -> int: ...


def insert_batch(dialect: Dialect, table: Table) -> Batch:
    """Rows in the order of the table's columns."""
    if dialect.name == "postgresql":
        return _UnnestInsert(table)
    return _ForEachRow(dialect, insert(table), [column.name for column in table.c])


def update_batch(
    dialect: Dialect, table: Table, to_set: Sequence[str], guard: Sequence[str]
) -> Batch:
    """Rows of what shall be, then of what must be (the key, and a revision)."""
    if dialect.name == "postgresql":
        return _UnnestUpdate(table, to_set, guard)
    if dialect.name in ("mysql", "mariadb"):
        return _JsonUpdate(table, to_set, guard)
    statement = update(table).values({name: bindparam(name) for name in to_set})
    for name in guard:
        statement = statement.where(table.c[name] == bindparam(f"guard_{name}"))
    order = [*to_set, *(f"guard_{name}" for name in guard)]
    return _ForEachRow(dialect, statement, order)


def delete_batch(dialect: Dialect, table: Table, guard: Sequence[str]) -> Batch:
    """Rows of what must be: a key or its beginning, and perhaps a revision."""
    if dialect.name == "postgresql":
        return _UnnestDelete(table, guard)
    if dialect.name in ("mysql", "mariadb"):
        return _JsonDelete(table, guard)
    statement = delete(table)
    for name in guard:
        statement = statement.where(table.c[name] == bindparam(f"guard_{name}"))
    return _ForEachRow(dialect, statement, [f"guard_{name}" for name in guard])


class _ForEachRow(Batch):
    """A driver's ``executemany``."""

    def __init__(
        self, dialect: Dialect, statement: Insert | Update | Delete, order: list[str]
    ) -> None:
        compiled = statement.compile(dialect=dialect)
        if compiled.positiontup is None:
            raise InvariantViolated("the driver takes no positional parameters")
        if compiled.positiontup != order:
            raise InvariantViolated(f"parameters stand as {compiled.positiontup}")
        self.text = str(compiled)

    def _run(self, connection: Connection, rows: Sequence[Row]) -> int:
        return connection.exec_driver_sql(self.text, list(rows)).rowcount


class _Unnest(Batch):
    """One array a column."""

    def _run(self, connection: Connection, rows: Sequence[Row]) -> int:
        columns = tuple(zip(*rows, strict=True))
        return connection.exec_driver_sql(self.text, columns).rowcount


class _UnnestInsert(_Unnest):
    def __init__(self, table: Table) -> None:
        names = ", ".join(column.name for column in table.c)
        self.text = (
            f"INSERT INTO {table.name} ({names})"  # noqa: S608 - names are our own
            f" SELECT * FROM {_unnest(table.c.values())}"
        )


class _UnnestUpdate(_Unnest):
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
        names = [f"new_{name}" for name in to_set] + [f"old_{name}" for name in guard]
        columns = [table.c[name] for name in (*to_set, *guard)]
        values = ", ".join(f"{name} = v.new_{name}" for name in to_set)
        self.text = (
            f"UPDATE {table.name} AS t SET {values}"  # noqa: S608 - names are our own
            f" FROM {_found(table, columns, names, guard)}"
            f" WHERE t.ctid = v.row_id{_still(table, guard)}"
        )


class _UnnestDelete(_Unnest):
    """Finds the rows as an update does, and removes them where they stand."""

    def __init__(self, table: Table, guard: Sequence[str]) -> None:
        names = [f"old_{name}" for name in guard]
        columns = [table.c[name] for name in guard]
        self.text = (
            f"DELETE FROM {table.name} AS t"  # noqa: S608 - names are our own
            f" USING {_found(table, columns, names, guard)}"
            f" WHERE t.ctid = v.row_id{_still(table, guard)}"
        )


def _found(
    table: Table,
    columns: Sequence[Column[object]],
    names: Sequence[str],
    guard: Sequence[str],
) -> str:
    """The rows that are asked for, each with the address where it stands."""
    # Without it the comparison would mix two collations, and be refused.
    found = " AND ".join(
        f"k.{name} = v.old_{name}" + _collation(table.c[name]) for name in guard
    )
    return (
        f"(SELECT v.*, f.row_id FROM {_unnest(columns)} AS v"  # noqa: S608 - our own
        f"({', '.join(names)}) CROSS JOIN LATERAL (SELECT k.ctid AS row_id"
        f" FROM {table.name} AS k WHERE {found} OFFSET 0) AS f) AS v"
    )


def _still(table: Table, guard: Sequence[str]) -> str:
    return "".join(
        f" AND t.{name} = v.old_{name}"
        for name in guard
        if not table.c[name].primary_key
    )


def _unnest(columns: Sequence[Column[object]]) -> str:
    arrays = (f"${n}::{_array(column)}[]" for n, column in enumerate(columns, 1))
    return f"unnest({', '.join(arrays)})"


def _array(column: Column[object]) -> str:
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
            f"t.{name} = {_json_value(table.c[name])}" for name in to_set
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
    texts: list[bytes] = []
    size = 0
    for row in rows:
        text = _encode_row(row)
        if texts and size + len(text) > JSON_BYTES_MAX:
            yield _json_list(texts)
            texts, size = [], 0
        texts.append(text)
        size += len(text) + 1
    yield _json_list(texts)


def _json_list(texts: Sequence[bytes]) -> str:
    return f"[{b','.join(texts).decode()}]"
