"""For participants whose database is a SQLAlchemy ``AsyncEngine``.

Needs the extra ``tercet[async]`` and an async driver of your choice.
"""

from datetime import timedelta
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from participant_sdk.barrier.retention import BATCH_DEFAULT, KEEP_DEFAULT, Purge
from participant_sdk.barrier.table import TABLE
from participant_sdk.context import Context
from participant_sdk.sqlite import IMMEDIATE

__all__ = ["AsyncContext", "create_barrier_table", "purge_barrier"]

AsyncContext: TypeAlias = Context[AsyncSession, AsyncConnection]
"""What an ``async def`` handler gets: ``ctx.session`` and ``ctx.connection`` are
awaited, in the barrier's own transaction."""


async def create_barrier_table(engine: AsyncEngine) -> None:
    """Create the table unless it is there. For production use your migrations."""
    async with engine.begin() as connection:
        await connection.run_sync(TABLE.metadata.create_all)


async def purge_barrier(
    engine: AsyncEngine,
    *,
    older_than: timedelta = KEEP_DEFAULT,
    batch: int = BATCH_DEFAULT,
) -> int:
    """``participant_sdk.barrier.purge_barrier``, with the same promises."""
    purge = Purge(older_than, batch)
    while not purge.is_over:
        async with engine.connect() as connection:
            await connection.execution_options(**{IMMEDIATE: True})
            async with connection.begin():
                await connection.run_sync(purge.step)
    return purge.removed
