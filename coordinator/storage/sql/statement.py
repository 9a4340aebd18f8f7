"""What every batch of rows is, whichever database takes it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from sqlalchemy import Column, Connection

from coordinator.storage.sql.rows import Row


class Batch(ABC):
    """A statement that waits for its rows."""

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """How many rows were changed. Raises what the database raises."""
        return self._run(connection, rows) if rows else 0

    @abstractmethod
    def _run(self, connection: Connection, rows: Sequence[Row]) -> int: ...


def is_prepended(column: Column[object]) -> bool:
    """Whether an update puts its value before what stands there."""
    return "is_prepended" in column.info
