"""A connection that fails while it is made, without a server."""

import pytest
from sqlalchemy.dialects.mysql.asyncmy import MySQLDialect_asyncmy

from coordinator.core.errors import StoreUnavailable
from coordinator.storage.sql.store import open_store


async def test_a_connection_that_ends_while_it_is_made_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F16: a server that resets a connection right after it accepted it is away, and
    no fault of ours; MariaDB's driver has a RuntimeError for that.
    """
    asked = []

    def connect(*_: object, **__: object) -> None:
        asked.append(1)
        raise RuntimeError("Transport does not expose socket instance")

    monkeypatch.setattr(MySQLDialect_asyncmy, "connect", connect)

    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await open_store("mysql://tercet:secret@127.0.0.1:1/tercet")
    assert asked
