"""A process that writes what has no point: it must not come far."""

import asyncio
from multiprocessing.connection import Connection
from pathlib import Path

from coordinator.storage.sql import migrate, store
from tests.e2e.failpoint.node import observe
from tests.e2e.failpoint.points import Armed
from tests.e2e.failpoint.trigger import Ready, Trigger, write_to


def run(
    control: Connection, armed: Armed | None, database: Path, listen: str, log: Path
) -> None:
    """Write past the store, and say so if that was possible."""
    write_to(log)
    trigger = Trigger(control, armed)
    observe(trigger)
    url = f"sqlite:///{database}"
    migrate.upgrade(url)
    asyncio.run(_stray(url))
    trigger.say(Ready())


async def _stray(url: str) -> None:
    opened = await store.open_store(url)
    await opened._database.write(lambda _: None)
