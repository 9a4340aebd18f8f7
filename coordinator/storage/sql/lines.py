"""What the sweeper lists: who left something unfinished, and what is due of it.

Every statement here seeks a place in the index of what is unfinished and reads on from
there, as far as it was asked to; none looks at what comes before or sorts what comes
after. A condition such as ``(a, b, c) > (x, y, z)`` is a seek on some databases and a
walk on MySQL, so the next line is sought by one look-up for each column, and the first
answer counts; and there a place is sought in two steps as well.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    String,
    bindparam,
    select,
    tuple_,
    union_all,
)

from coordinator.core.model import Instant, Key
from coordinator.core.sweep import Ask, Gap, Line
from coordinator.ports import SweepRow
from coordinator.storage.sql import tables

_T = tables.global_transactions.c
_LINE = (_T.owner, _T.namespace, _T.takeovers)


def _by_line(statement: Select[Any]) -> Select[Any]:
    """Told which index, where a planner may take the key's for a better one."""
    table = tables.global_transactions
    forced = "FORCE INDEX (ix_global_transactions_open_lines)"
    return statement.with_hint(table, forced, "mysql").with_hint(
        table, forced, "mariadb"
    )


def _text(name: str) -> ColumnElement[str]:
    return bindparam(name, type_=String())


def _number(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger())


def _first_line(*where: ColumnElement[bool]) -> Select[Any]:
    first = _by_line(select(*_LINE).where(_T.finished_at.is_(None), *where))
    return select(first.order_by(*_LINE).limit(1).subquery())


def _next_line() -> Select[Any]:
    here, there = _T.owner == _text("owner"), _T.namespace == _text("namespace")
    arms = union_all(
        _first_line(here, there, _T.takeovers > _number("takeovers")),
        _first_line(here, _T.namespace > _text("namespace")),
        _first_line(_T.owner > _text("owner"), _T.owner < _text("below")),
    ).subquery()
    return select(arms).order_by(*arms.c).limit(1)


_NEXT_LINE = _next_line()

_ROW = (_T.namespace, _T.gid, _T.revision, _T.owner, _T.due_at, _T.takeovers)


def _due(*where: ColumnElement[bool]) -> Select[Any]:
    rows = select(*_ROW).where(
        _T.finished_at.is_(None),
        _T.owner == _text("owner"),
        _T.namespace == _text("namespace"),
        _T.takeovers == _number("takeovers"),
        *where,
    )
    return _by_line(rows).order_by(_T.due_at, _T.gid)


_FROM_THE_START = (
    _due(_T.due_at <= _number("due_before"))
    .limit(_number("limit"))
    .offset(_number("skip"))
)


def _behind() -> Select[Any]:
    last = tuple_(_number("last_due_at"), _text("last_gid"))
    return (
        _due(_T.due_at <= _number("due_before"), tuple_(_T.due_at, _T.gid) > last)
        .limit(_number("limit"))
        .offset(_number("skip"))
    )


def _behind_on_mysql() -> Select[Any]:
    last, many = _number("last_due_at"), _number("many")
    is_due = _T.due_at <= _number("due_before")
    as_late = _due(is_due, _T.due_at == last, _T.gid > _text("last_gid")).limit(many)
    later = _due(is_due, _T.due_at > last).limit(many)
    arms = union_all(select(as_late.subquery()), select(later.subquery())).subquery()
    return (
        select(arms)
        .order_by(arms.c.due_at, arms.c.gid)
        .limit(_number("limit"))
        .offset(_number("skip"))
    )


_BEHIND = _behind()
_BEHIND_ON_MYSQL = _behind_on_mysql()


def in_gaps(connection: Connection, gaps: Sequence[Gap], limit: int) -> list[Line]:
    """The lines that have anything unfinished, in order."""
    found: list[Line] = []
    for line, below in gaps:
        after: Line | None = line
        while after is not None and len(found) < limit:
            row = connection.execute(_NEXT_LINE, {**after._asdict(), "below": below})
            after = next((Line(*values) for values in row), None)
            if after is not None:
                found.append(after)
    return found


def unfinished(
    connection: Connection, asks: Sequence[Ask], due_before: Instant
) -> list[SweepRow]:
    """Rows that are due, line by line, the longest due first."""
    found: list[SweepRow] = []
    for line, after, skip, limit in asks:
        asked: dict[str, Any] = {
            **line._asdict(),
            "due_before": due_before,
            "skip": skip,
            "limit": limit,
        }
        statement = _FROM_THE_START
        if after is not None:
            asked |= {"last_due_at": after.due_at, "last_gid": after.gid}
            statement = _BEHIND
            if connection.dialect.name in ("mysql", "mariadb"):
                statement = _BEHIND_ON_MYSQL
                asked["many"] = skip + limit
        found += [
            SweepRow(Key(namespace, gid), *others)
            for namespace, gid, *others in connection.execute(statement, asked)
        ]
    return found
