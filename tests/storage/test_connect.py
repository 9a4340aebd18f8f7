"""A connection that fails while it is made, without a server."""

import asyncio
import socket

import asyncmy
import pytest

from coordinator.core.errors import StoreUnavailable
from coordinator.storage.sql.migrate import state
from coordinator.storage.sql.store import open_store


async def test_a_connection_that_ends_while_it_is_made_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F16: a server that resets a connection right after it accepted it is away, and
    no fault of ours; MariaDB's driver has a RuntimeError for that.
    """
    asked = []

    async def connect(*_: object, **__: object) -> None:
        asked.append(1)
        raise RuntimeError("Transport does not expose socket instance")

    monkeypatch.setattr(asyncmy, "connect", connect)

    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await open_store("mysql://tercet:secret@127.0.0.1:1/tercet")
    assert asked


async def test_a_server_that_accepts_and_says_nothing_is_unavailable() -> None:
    """A frozen server's host still accepts; its silence does not stop us for ever, not
    even where the tables are looked at before anything is served.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts
        port = silent.getsockname()[1]
        for scheme in ("mysql", "postgresql"):
            url = f"{scheme}://tercet:secret@127.0.0.1:{port}/tercet"
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await asyncio.to_thread(state, url)
