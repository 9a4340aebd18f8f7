"""Connections kept at hand: promises of ``Spare``."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from coordinator.storage.sql.spare import Spare


@dataclass(eq=False)
class Connection:
    is_valid: bool = True
    is_in_pool: bool = False

    def close(self) -> None:
        self.is_in_pool = True


class Engine:
    def __init__(self) -> None:
        self.handed_out: list[Any] = []
        self.has_one = asyncio.Event()
        self.has_one.set()

    async def raw_connection(self) -> Any:
        await self.has_one.wait()
        self.handed_out.append(Connection())
        return self.handed_out[-1]


def spare() -> tuple[Spare, Engine]:
    engine: Any = Engine()
    return Spare(engine, seconds_max=5.0), engine


async def test_a_connection_is_used_again_without_the_pool() -> None:
    """Once its statement was answered."""
    at_hand, engine = spare()
    first = await at_hand.take()
    at_hand.put(first, is_kept=True)

    assert await at_hand.take() is first
    assert await at_hand.take() is not first
    assert len(engine.handed_out) == 2


@pytest.mark.parametrize(("is_kept", "is_valid"), [(False, True), (True, False)])
async def test_what_may_be_broken_goes_to_the_pool(
    is_kept: bool, is_valid: bool
) -> None:
    """The pool looks at it, resets it or makes another one."""
    at_hand, _ = spare()
    connection: Any = await at_hand.take()
    connection.is_valid = is_valid
    at_hand.put(connection, is_kept=is_kept)

    assert connection.is_in_pool
    assert await at_hand.take() is not connection


async def test_others_find_the_whole_pool() -> None:
    """What was at hand before, and what is put back meanwhile (F22)."""
    at_hand, engine = spare()
    idle, busy = await at_hand.take(), await at_hand.take()
    at_hand.put(idle, is_kept=True)
    with at_hand.released():
        at_hand.put(busy, is_kept=True)
        assert all(connection.is_in_pool for connection in engine.handed_out)

    again: Any = await at_hand.take()
    at_hand.put(again, is_kept=True)
    assert not again.is_in_pool


async def test_none_outlives_the_store() -> None:
    """Neither what is at hand nor what is still used."""
    at_hand, engine = spare()
    idle, busy = await at_hand.take(), await at_hand.take()
    at_hand.put(idle, is_kept=True)
    at_hand.close()
    at_hand.put(busy, is_kept=True)

    assert all(connection.is_in_pool for connection in engine.handed_out)


async def test_nothing_is_kept_from_who_waits_for_the_pool() -> None:
    """A statement more than there are connections gets the one that is free first."""
    at_hand, engine = spare()
    busy: Any = await at_hand.take()
    engine.has_one.clear()
    waiting = asyncio.create_task(at_hand.take())
    await asyncio.sleep(0)
    at_hand.put(busy, is_kept=True)
    assert busy.is_in_pool

    engine.has_one.set()
    assert await waiting is not busy
