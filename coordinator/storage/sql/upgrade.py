"""Carries a server's upgrade out, statement by statement, whatever interrupts it.

Theory. PostgreSQL undoes an interrupted upgrade; there it is one transaction.
MariaDB, MySQL and distributed databases commit at each change of a table. So the
number of a statement is stored before it is carried out, with its revision; who comes
after a kill goes on at that number. Whether that very statement had taken effect
cannot be known, so there, and only there, "exists already" means that it had.
Statements that move data must therefore bear being run twice.

Who upgrades holds the lock of one row, on a connection of its own, from before it
looks at the tables until the end: the server lets go of it when that connection is
gone, so nobody has to clean up after a kill. Others wait for the row.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.schema import CreateTable

from coordinator.storage.sql.failure import Failure, classify, code_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_PROGRESS: Final = Table(
    "tercet_upgrade",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", String(16), nullable=False),
    Column("statement", Integer, nullable=False),
)
"""Two rows: the lock of the first is the right to upgrade, the second is how far that
has come.
"""

_LOCK_ID: Final = 1
_PROGRESS_ID: Final = 2

_REVISION: Final = re.compile(r"^-- Running upgrade .*-> (\w+)", re.MULTILINE)
_EXISTS_ALREADY: Final = frozenset(
    {
        "1050",  # table
        "1060",  # column
        "1061",  # index
        "1062",  # row, such as the version's first one
        "1091",  # nothing to drop
        "1051",
        "1054",
        "42P07",  # table or index
        "42701",  # column
        "42710",
        "23505",  # row
        "42704",  # nothing to drop
        "42P01",
        "42703",
    }
)


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a migration; the last one of each stores its revision."""

    revision: str
    number: int
    statement: str


def steps_of(text: str) -> list[Step]:
    """What Alembic wrote down, in order."""
    first = _REVISION.search(text)
    revision = first[1] if first else ""
    number = 0
    steps = []
    for piece in text.split(";\n\n"):
        found = _REVISION.search(piece)
        if found and found[1] != revision:
            revision, number = found[1], 0
        lines = [line for line in piece.splitlines() if not line.startswith("--")]
        statement = "\n".join(lines).strip()
        if statement and statement not in ("BEGIN", "COMMIT"):
            number += 1
            steps.append(Step(revision, number, statement))
    return steps


@asynccontextmanager
async def sole_runner(engine: "AsyncEngine") -> AsyncIterator[None]:
    """Return when nobody else upgrades, and keep it so."""
    async with engine.connect() as connection:
        await connection.run_sync(_prepare_progress)
        await connection.execute(_select_row(_LOCK_ID).with_for_update())
        yield
        # Nothing was written, so there is nothing to commit, which could fail.
        await connection.rollback()


def run_as_one(connection: Connection, steps: Sequence[Step]) -> None:
    """Carry all of it out, or nothing."""
    with connection.begin():
        for step in steps:
            connection.exec_driver_sql(step.statement)


def run_one_by_one(connection: Connection, steps: Sequence[Step]) -> None:
    """Carry out what is not done yet; each statement is its own transaction."""
    began = _begun(connection)
    for step in steps:
        position = (step.revision, step.number)
        if began[0] == step.revision and began > position:
            continue
        _note(connection, step)
        _run_one(connection, step, was_begun=position == began)


def _run_one(connection: Connection, step: Step, *, was_begun: bool) -> None:
    try:
        with connection.begin():
            connection.exec_driver_sql(step.statement)
    except DBAPIError as error:
        if was_begun and code_of(error) in _EXISTS_ALREADY:
            return
        if classify(error) is Failure.OTHER:
            # It was refused, so it has not begun: what is in its way is not ours.
            _note(connection, replace(step, number=step.number - 1))
        raise


def _prepare_progress(connection: Connection) -> None:
    try:
        with connection.begin():
            connection.execute(CreateTable(_PROGRESS, if_not_exists=True))
    except DBAPIError:
        pass  # Another runner made it meanwhile; if not, the next statement says so.
    for row_id in (_LOCK_ID, _PROGRESS_ID):
        try:
            with connection.begin():
                if connection.execute(_select_row(row_id)).first() is None:
                    row = {"id": row_id, "revision": "", "statement": 0}
                    connection.execute(insert(_PROGRESS), row)
        except IntegrityError:
            pass  # Another runner did it meanwhile.


def _select_row(row_id: int) -> Select[Any]:
    return select(_PROGRESS).where(_PROGRESS.c.id == row_id)


def _begun(connection: Connection) -> tuple[str, int]:
    """The statement that was begun last."""
    with connection.begin():
        row = connection.execute(_select_row(_PROGRESS_ID)).one()
    return row.revision, row.statement


def _note(connection: Connection, step: Step) -> None:
    position = {"revision": step.revision, "statement": step.number}
    with connection.begin():
        connection.execute(
            update(_PROGRESS).where(_PROGRESS.c.id == _PROGRESS_ID).values(position)
        )
