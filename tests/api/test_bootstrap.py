"""What a node does in which order when it starts."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from coordinator.api.server import ApiServer
from coordinator.bootstrap import running
from coordinator.config import ServeConfig
from coordinator.storage.sql import migrate


async def test_node_is_listed_before_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L1: who has no row has left, so peers take what it drives."""
    url = f"sqlite:///{tmp_path}/tercet.db"
    migrate.upgrade(url)
    listed: list[str] = []
    start = ApiServer.start

    async def noted(server: ApiServer) -> None:
        with create_engine(url).connect() as connection:
            listed.extend(connection.scalars(text("SELECT address FROM nodes")))
        await start(server)

    monkeypatch.setattr(ApiServer, "start", noted)
    config = ServeConfig(database_url=url, listen="127.0.0.1:0", drain_seconds=1)
    async with running(config) as address:
        assert listed == [address]
