"""Reads whose answer survives a crash, on InnoDB.

Theory. PostgreSQL, SQLite and the distributed databases show a transaction to others
when it is durable. InnoDB shows it earlier: a COMMIT first changes what all others see,
and then waits for the log's sync. If that wait is long (a slow disk, a sync that fails)
somebody else reads a decision which a crash takes back. Whoever acted on it, or told
it, was wrong.

The log is one sequence. So whoever reads, then writes anything and waits until that is
durable, knows that all it has read is durable as well. What is written is a row of
``nodes`` that is removed in the same transaction: nobody ever sees it.
"""

import secrets
from collections.abc import Callable, Collection
from typing import Final, TypeVar

from sqlalchemy import Connection, delete, insert
from sqlalchemy.exc import DBAPIError

from coordinator.storage.sql import tables
from coordinator.storage.sql.failure import code_of
from coordinator.storage.sql.flavour import Flavour

C = TypeVar("C", bound=Collection[object])

_READ_ONLY: Final = ("1290", "1836")


def durably(
    question: Callable[[Connection], C], flavour: Flavour
) -> Callable[[Connection], C]:
    """The same question, whose answer is given when no crash can take it back.

    Args:
        question: reads, and nothing else. An empty answer tells nothing.
    """
    if flavour is not Flavour.MYSQL:
        return question

    def ask(connection: Connection) -> C:
        found = question(connection)
        if found:
            _wait_for_the_log(connection)
        return found

    return ask


def leave_trace(connection: Connection) -> None:
    """Write something, so that the transaction's COMMIT waits for the log."""
    trace = f"~{secrets.token_hex(16)}"
    row = {"node_id": trace, "address": "", "heartbeat": 0}
    connection.execute(insert(tables.nodes).values(row))
    connection.execute(delete(tables.nodes).where(tables.nodes.c.node_id == trace))


def _wait_for_the_log(connection: Connection) -> None:
    try:
        leave_trace(connection)
    except DBAPIError as error:
        if code_of(error) not in _READ_ONLY:
            raise
        # A server that is made read only first waits for each COMMIT under way.
        connection.rollback()
    else:
        connection.commit()
