"""Connections that wait outside of their pool for the next statement.

What SQLAlchemy's pool does to hand out a connection and to take it back was half of
what a commit of one change took a node (see docs/speed.md). So a connection whose
statement was answered is kept at hand. The pool counts it as taken; whoever wants one
from the pool gets all of them back first, and none is kept while somebody does.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import PoolProxiedConnection


class Spare:
    """Those of one engine.

    Args:
        seconds_max: for which one of the pool is waited for, connecting included.
    """

    def __init__(self, engine: "AsyncEngine", *, seconds_max: float) -> None:
        self._engine = engine
        self._seconds_max = seconds_max
        self._kept: list[PoolProxiedConnection] = []
        self._others = 0

    async def take(self) -> "PoolProxiedConnection":
        """One that is at hand, or one of the pool. Raises what the pool raises, or
        ``TimeoutError``.
        """
        if self._kept:
            return self._kept.pop()
        with self.released():
            async with asyncio.timeout(self._seconds_max):
                return await self._engine.raw_connection()

    def put(self, connection: "PoolProxiedConnection", *, is_kept: bool) -> None:
        """It is not needed any more.

        Args:
            is_kept: nothing is under way on it, and it may be used again.
        """
        if is_kept and connection.is_valid and not self._others:
            self._kept.append(connection)
        else:
            connection.close()

    @contextmanager
    def released(self) -> Iterator[None]:
        """All are in the pool, or will be when their statement is answered."""
        self.release()
        self._others += 1
        try:
            yield
        finally:
            self._others -= 1

    def close(self) -> None:
        """Keep none from now on."""
        self._others += 1
        self.release()

    def release(self) -> None:
        """Give all that are at hand back to the pool."""
        while self._kept:
            self._kept.pop().close()
